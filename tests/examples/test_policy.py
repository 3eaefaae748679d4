"""Policy and value on recorded transitions, against their formulas one transition at a time."""

import math
from pathlib import Path

import pytest
import torch

from lossviz.seeding import seeded
from tests.examples.example import copied, run_page, scanned


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_terms_are_those_of_an_actor_and_its_critic() -> None:
    code = copied("policy")
    scan = scanned("policy")
    model = scan.at(code.model(), 1, -1)
    with seeded(torch.device("cpu"), 0, "own data"):
        train, _ = code.data()
    policy, value = [], []
    for i in range(len(train)):
        left, right, worth = model(train[i]["state"].double()).tolist()
        *_, worth_after = model(train[i]["after"].double()).tolist()
        surprise = float(train[i]["reward"]) + 0.9 * worth_after - worth
        chosen = (left, right)[int(train[i]["action"])]
        policy.append(-surprise * 2 * math.exp(chosen) / (math.exp(left) + math.exp(right)))
        value.append(surprise**2)
    count = len(train)
    assert scan.loss(1, -1, "_policy") == pytest.approx(sum(policy) / count, rel=1e-4)
    assert scan.loss(1, -1, "_value") == pytest.approx(sum(value) / count, rel=1e-4)
    assert scan.loss(1, -1) == pytest.approx((sum(policy) + sum(value)) / count, rel=1e-4)


def test_python_of_the_page() -> None:
    copied("policy")
    torch.manual_seed(0)
    run_page("policy")
