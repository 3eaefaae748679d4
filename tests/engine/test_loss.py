"""Which loss an example has."""

from pathlib import Path

import pytest
import torch

from lossviz.config.loss import CrossEntropy, OwnLoss, SquaredError
from lossviz.engine.loss import loss_name, per_example
from lossviz.engine.outputs import cross_entropy, ignored_label, squared_error
from lossviz.errors import RequestError
from lossviz.user_code.permissions import NOBODY, Allowed, parse_allowed


def test_the_targets_suggest_it_and_the_configuration_may_name_it() -> None:
    assert per_example(None, False, NOBODY) is cross_entropy
    assert per_example(None, True, NOBODY) is squared_error
    assert per_example(CrossEntropy(name="cross-entropy"), False, NOBODY) is cross_entropy
    assert per_example(SquaredError(name="squared-error"), True, NOBODY) is squared_error


def test_the_name_is_that_of_the_loss_that_is_used() -> None:
    own = OwnLoss(name="own", target="mine.py:huber")
    assert [loss_name(None, regression) for regression in (False, True)] == ["cross-entropy", "squared-error"]
    assert [loss_name(own, regression) for regression in (False, True)] == ["own", "own"]
    assert loss_name(CrossEntropy(name="cross-entropy"), False) == "cross-entropy"
    assert loss_name(SquaredError(name="squared-error"), True) == "squared-error"


def test_a_named_loss_must_fit_the_targets() -> None:
    with pytest.raises(RequestError, match=r"^loss\.name = cross-entropy: the targets of the data are vectors\n"):
        per_example(CrossEntropy(name="cross-entropy"), True, NOBODY)
    with pytest.raises(RequestError, match=r"^loss\.name = squared-error: the targets of the data are classes\n"):
        per_example(SquaredError(name="squared-error"), False, NOBODY)


@pytest.fixture(name="allowed")
def _allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Allowed:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def huber(outputs, targets, delta=1.0):\n    return delta * (outputs - targets).abs()\n"
    )
    return parse_allowed(["mine.py"])


@pytest.mark.parametrize("regression", [True, False])
def test_a_function_of_one_s_own(allowed: Allowed, regression: bool) -> None:
    loss = per_example(OwnLoss(name="own", target="mine.py:huber", args={"delta": 2}), regression, allowed)
    assert loss(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])).tolist() == [4.0, 2.0]
    with pytest.raises(RequestError, match=r"add --allow mine\.py"):
        per_example(OwnLoss(name="own", target="mine.py:huber"), regression, NOBODY)
    with pytest.raises(RequestError, match="unexpected keyword argument 'beta'"):
        per_example(OwnLoss(name="own", target="mine.py:huber", args={"beta": 2}), regression, allowed)


def test_which_class_a_function_of_one_s_own_ignores_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is one of its arguments."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def loss(outputs, targets, ignore_index=-100):\n    return outputs[:, 0]\n")
    allowed = parse_allowed(["mine.py"])
    plain = OwnLoss(name="own", target="mine.py:loss")
    given = OwnLoss(name="own", target="mine.py:loss", args={"ignore_index": 3})
    assert [ignored_label(per_example(each, False, allowed)) for each in (plain, given)] == [-100, 3]
