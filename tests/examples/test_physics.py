"""Terms of a physics-informed network, against its derivatives from forward mode."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from lossviz.seeding import seeded
from tests.examples.example import copied, run_page, scanned


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def residuals(model: nn.Module, x: Tensor, k: int) -> Tensor:
    """-u'' - k^2 sin(k x), (N,)."""

    def solution(place: Tensor) -> Tensor:
        result: Tensor = model(place[None])[0]
        return result

    bend: Tensor = vmap(jacfwd(jacfwd(solution)))(x[:, 0])
    return -bend - k**2 * torch.sin(k * x[:, 0])


def test_each_term_is_the_mean_square_of_its_residual() -> None:
    code = copied("physics")
    scan = scanned("physics", "four-waves")
    model = scan.at(code.model(), 1, -1)
    with seeded(torch.device("cpu"), 0, "own data"):
        (inside, _), _ = code.data()
    pde = residuals(model, inside.double(), k=4).square().mean().item()
    boundary = model(torch.tensor([[0.0], [math.pi]], dtype=torch.float64)).square().mean().item()
    assert scan.loss(1, -1, "_pde") == pytest.approx(pde, rel=1e-5)
    assert scan.loss(1, -1, "_boundary") == pytest.approx(boundary, rel=1e-5)
    assert scan.loss(1, -1) == pytest.approx(pde + 10 * boundary, rel=1e-5)


def test_python_of_the_page() -> None:
    copied("physics")
    surface = run_page("physics")["surface"]
    assert torch.allclose(
        torch.tensor(surface.loss.values), torch.tensor((surface.loss_pde + 10 * surface.loss_boundary).values)
    )
