"""Principal directions against scikit-learn and a dense singular value decomposition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from lossviz.errors import RequestError
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions import pca
from lossviz.surface.directions.pca import gram, principal_directions
from lossviz.surface.subspace import Subspace
from tests.surface.networks import flat, flat_state, network, save

PARAMETERS = ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]


def path_of(count: int) -> list[dict[str, Tensor]]:
    """States that drift away from network(0), each with a part of its own."""
    here, there = network(0).state_dict(), network(1).state_dict()
    return [
        {
            name: tensor + (count - i) / count * (there[name] - tensor) + 0.1 * (noise[name] - tensor)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in here.items()
        }
        for i in range(count)
        for noise in [network(10 + i).state_dict()]
    ]


def saved(folder: Path, states: list[dict[str, Tensor]]) -> list[Checkpoint]:
    return [save(folder / f"net{i}.safetensors", state) for i, state in enumerate(states)]


@pytest.mark.parametrize("block", [1, 10**6, 8 * 91 * 3])
def test_against_sklearn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Directions (up to sign), shares of the variance and positions, however many checkpoints fit in memory."""
    monkeypatch.setattr(pca, "BLOCK_BYTES", block)
    model, states = network(0), path_of(7)
    subspace = Subspace.of(model, statistics=True)
    rows = np.stack([flat_state(state, PARAMETERS) for state in states]) - flat(list(model.parameters()))
    reference = PCA(2).fit(rows)
    found = principal_directions(subspace, saved(tmp_path, states), 2)
    for i, direction in enumerate(found.directions):
        mine, theirs = flat(subspace.parameters(direction)), reference.components_[i]
        np.testing.assert_allclose(mine * np.sign(mine @ theirs), theirs, atol=1e-10)
        np.testing.assert_allclose(found.positions[:, i], rows @ mine, atol=1e-10)
        assert found.positions[np.abs(found.positions[:, i]).argmax(), i] > 0
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_, rtol=1e-9)


def test_statistics_go_with_the_same_combination(tmp_path: Path) -> None:
    """The direction as a combination of differences, found from the parameters, holds for the statistics too."""
    model, states = network(0), path_of(5)
    subspace = Subspace.of(model, statistics=True)
    names = [each.name for each in subspace.tensors]
    rows = np.stack([flat_state(state, names) for state in states]) - flat(subspace.theta)
    (direction,) = principal_directions(subspace, saved(tmp_path, states), 1).directions
    size = flat(list(model.parameters())).size
    weights, *_ = np.linalg.lstsq(rows[:, :size].T, flat(direction)[:size])
    np.testing.assert_allclose(flat(direction)[size:], (weights @ rows)[size:], atol=1e-9)
    assert np.abs(flat(direction)[size:]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(flat(direction)[:size]), 1, rtol=1e-12)


def test_only_what_is_moved_counts(tmp_path: Path) -> None:
    model, states = network(0), path_of(5)
    moved = {"4.weight", "0.bias"}
    subspace = Subspace.of(model).only(moved)
    rows = np.stack([flat_state(state, ["0.bias", "4.weight"]) for state in states])
    found = principal_directions(subspace, saved(tmp_path, states), 2)
    for direction, theirs in zip(found.directions, PCA(2).fit(rows).components_, strict=True):
        by_name = {each.name: part for each, part in zip(subspace.tensors, direction, strict=True)}
        np.testing.assert_allclose(abs(flat([by_name["0.bias"], by_name["4.weight"]]) @ theirs), 1, rtol=1e-9)
        assert {name for name, part in by_name.items() if part.any()} == moved


def test_float32_networks(tmp_path: Path) -> None:
    """The matrix of inner products squares the condition; in float64 it costs float32 directions nothing."""
    model = network(0, torch.float32)
    states = [{name: t.float() if t.is_floating_point() else t for name, t in s.items()} for s in path_of(6)]
    rows = np.stack([flat_state(state, PARAMETERS) for state in states]) - flat(list(model.parameters()))
    found = principal_directions(Subspace.of(model), saved(tmp_path, states), 2)
    for direction, theirs in zip(found.directions, PCA(2).fit(rows).components_, strict=True):
        mine = flat(direction)
        np.testing.assert_allclose(mine * np.sign(mine @ theirs), theirs, atol=1e-6)
        assert {part.dtype for part in direction} == {torch.float32}


@pytest.mark.parametrize("at_once", [1, 2, 5, 9])
def test_gram(at_once: int) -> None:
    """Every pair, and only as many rows as were promised."""
    rows = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    asked = []

    def row(i: int) -> Tensor:
        asked.append(i)
        return rows[i]

    np.testing.assert_allclose(gram(row, 5, at_once), (rows @ rows.T).numpy(), rtol=1e-13)
    blocks = [range(start, min(start + at_once, 5)) for start in range(0, 5, at_once)]
    assert len(asked) == sum(5 - block[0] for block in blocks)


@pytest.mark.parametrize(("rows", "count"), [(2, 2), (1, 1), (0, 2)])
def test_too_few_checkpoints(tmp_path: Path, rows: int, count: int) -> None:
    model = network(0)
    with pytest.raises(RequestError, match=rf"needs {count + 1} checkpoints or more .* {rows}\n.*checkpoint_every"):
        principal_directions(Subspace.of(model), saved(tmp_path, path_of(rows)), count)


def test_checkpoints_on_a_line_span_no_plane(tmp_path: Path) -> None:
    here, there = network(0).state_dict(), network(1).state_dict()
    states = [
        {
            name: tensor + i * (there[name] - tensor) if tensor.is_floating_point() else tensor
            for name, tensor in here.items()
        }
        for i in range(1, 5)
    ]
    model = network(0)
    with pytest.raises(RequestError, match="lie on one line"):
        principal_directions(Subspace.of(model), saved(tmp_path, states), 2)
    line = principal_directions(Subspace.of(model), saved(tmp_path, states), 1)
    np.testing.assert_allclose(line.explained, [1], rtol=1e-12)
    with pytest.raises(RequestError, match="the same"):
        principal_directions(Subspace.of(model), saved(tmp_path, states[:1] * 3), 1)


def test_a_checkpoint_that_is_not_finite_is_named(tmp_path: Path) -> None:
    states, model = path_of(4), network(0)
    states[2]["0.weight"][0] = float("nan")
    with pytest.raises(RequestError, match=r"net2\.safetensors has weights that are not finite"):
        principal_directions(Subspace.of(model), saved(tmp_path, states), 2)
