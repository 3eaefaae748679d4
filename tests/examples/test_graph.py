"""A graph network, against dense matrices."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.examples.example import copied, run_page, scanned

pytest.importorskip("torch_geometric", reason="torch_geometric is not installed: pip install '.[examples]'")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scores(model: nn.Module, features: Tensor, edges: Tensor) -> Tensor:
    """A X W + b, twice, with A = D^-1/2 (E + I) D^-1/2 (Kipf & Welling 2017, equation 2)."""
    adjacent = torch.eye(len(features), dtype=torch.float64)
    adjacent[edges[0], edges[1]] = 1
    degree = adjacent.sum(dim=1)
    adjacent = adjacent / (degree[:, None] * degree[None]).sqrt()
    weights = dict(model.named_parameters())
    hidden = (adjacent @ features @ weights["convs.0.lin.weight"].T + weights["convs.0.bias"]).relu()
    return adjacent @ hidden @ weights["convs.1.lin.weight"].T + weights["convs.1.bias"]


def test_losses_are_those_of_dense_matrices_over_the_labelled_nodes() -> None:
    code = copied("graph")
    scan = scanned("graph", batch_size=1)
    model = scan.at(code.model(), 1, -1)
    for variable, count, part in zip(("loss", "test_loss"), (4, 30), code.data(), strict=True):
        graph, labelled = part[0], part[0].train_mask
        assert int(labelled.sum()) == count
        found = scores(model, graph.x.double(), graph.edge_index)
        expected = float(cross_entropy(found[labelled], graph.y[labelled]))
        assert float(scan.file[variable].sel(x=1, y=-1)) == pytest.approx(expected, rel=1e-5)


def test_python_of_the_page() -> None:
    copied("graph")
    torch.manual_seed(0)
    run_page("graph")
