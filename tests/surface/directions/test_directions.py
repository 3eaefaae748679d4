"""The plane that a configuration means, for every kind of direction."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lossviz.config import read
from lossviz.engine.checkpoint import fit, save_tensors
from lossviz.engine.objective import Objective
from lossviz.engine.point import move
from lossviz.errors import RequestError
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.surface.checkpoints import run_checkpoints
from lossviz.surface.directions.sources import DirectionSet
from lossviz.surface.plan import ScanPlan
from lossviz.surface.projection import project
from lossviz.surface.subspace import Subspace
from tests.surface.networks import flat

STEPS = (0, 10, 20, 30, 40)
SMALL = ("model.width=0.0625", "train.precision=float64", "train.lr=0.2", "surface.y=[auto, auto, 5]")


def setup_of(out: Path, *settings: str) -> Setup:
    config = read("quickstart", (*SMALL, *settings), ("batchnorm",))[0]
    return prepare(config, run_of(config, out), "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder whose checkpoints wander off, weights and statistics."""
    out = tmp_path_factory.mktemp("runs")
    setup, draws = setup_of(out), torch.Generator().manual_seed(0)
    state = setup.model().state_dict()
    for i, step in enumerate(STEPS):
        save_tensors(setup.run.checkpoint_file(step), state)
        for tensor in state.values():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=draws, dtype=torch.float64)
                tensor.add_(0.1 * noise + 0.01 * i)
    return out


def found(out: Path, *settings: str, statistics: bool = False) -> tuple[DirectionSet, Setup, Objective, Subspace]:
    """The directions of a scan, which leave its network as it was."""
    setup = setup_of(out, *settings, *(["surface.batch_norm=interpolate"] if statistics else []))
    plan = ScanPlan(setup)
    before = flat(plan.subspace.theta)
    directions = plan.directions()
    np.testing.assert_array_equal(flat(plan.subspace.theta), before)
    for vector in directions.vectors.values():
        assert [part.shape for part in vector] == [each.shape for each in plan.subspace.theta]
    return directions, setup, plan.objective, plan.subspace


def loss_of(setup: Setup) -> Callable[[Objective], float]:
    return lambda objective: objective.evaluate(setup.data.train.choose(64, "first", 0).batches(64)).loss


TOWARD = "surface.directions={kind: toward, checkpoints: [10, 20]}"
ORTHONORMAL = "surface.directions={kind: toward, checkpoints: [20, 10], orthonormalize: true}"
LINE = "surface.directions={kind: toward, checkpoints: [10]}"
PCA = "surface.directions={kind: pca}"
HESSIAN = "surface.directions={kind: hessian, eigenvectors: [1, -1], examples: 60, parameters: {include: [classifier]}}"
GRADIENT = "surface.directions={kind: gradient, examples: 100}"


def test_random(trained: Path) -> None:
    plane, *_ = found(trained)
    assert list(plane.vectors) == ["x", "y"]
    assert plane.ranges == {}
    assert (plane.facts, plane.waypoints, plane.is_path) == ({}, [], False)
    line, *_ = found(trained, "surface.y=null")
    assert list(line.vectors) == ["x"]
    np.testing.assert_array_equal(flat(line.vectors["x"]), flat(plane.vectors["x"]))


def test_toward_reproduces_three_losses(trained: Path) -> None:
    plane, setup, objective, subspace = found(trained, TOWARD, statistics=True)
    assert [each.name for each in plane.waypoints] == ["step 10", "step 20"]
    assert plane.ranges == {"x": (-0.5, 1.5), "y": (-0.5, 1.5)}
    assert not plane.is_path
    tensors, loss = [each.detach() for each in subspace.theta], loss_of(setup)
    origin = [tensor.clone() for tensor in tensors]
    for step, place in {10: (1, 0), 20: (0, 1), 40: (0, 0)}.items():
        move(tensors, origin, *zip(place, plane.vectors.values(), strict=True))
        other = setup.objective()
        (checkpoint,) = (each for each in run_checkpoints(setup.run) if each.step == step)
        fit(other.model, checkpoint.load(other.model), checkpoint.path)
        np.testing.assert_allclose(loss(objective), loss(other), rtol=1e-12)


def test_toward_orthonormalised_holds_all_three(trained: Path) -> None:
    """auto shows the third network with the margin of the others, wherever it lies."""
    plane, _, objective, subspace = found(trained, ORTHONORMAL, statistics=True)
    x, y = (flat(subspace.parameters(vector)) for vector in plane.vectors.values())
    np.testing.assert_allclose([x @ y, y @ y], [0, x @ x], atol=1e-12 * (x @ x))
    theta = subspace.theta
    places = [project(subspace, theta, plane.vectors, each.load(objective.model)) for each in plane.waypoints]
    for _, distance in places:
        assert distance < 1e-12 * np.linalg.norm(x)
    for axis in "xy":
        seen = [0.0, *(place[axis] for place, _ in places)]
        low, high = min(seen), max(seen)
        margin = 0.5 * (high - low)
        assert high > 1 or axis == "y"  # else -0.5 to 1.5 would do
        np.testing.assert_allclose(plane.ranges[axis], (low - margin, high + margin), atol=1e-9)


def test_toward_on_a_line(trained: Path) -> None:
    plane, *_ = found(trained, LINE, "surface.y=null")
    assert list(plane.vectors) == ["x"]
    assert plane.ranges["x"] == (-0.5, 1.5)


def test_pca(trained: Path) -> None:
    """Unit vectors; auto holds the whole path with a fifth on either side; the path has the scan's own checkpoint."""
    plane, _, objective, subspace = found(trained, PCA, statistics=True)
    assert [each.name for each in plane.waypoints] == [f"step {step}" for step in STEPS]
    assert plane.is_path
    assert 1 > plane.facts["x_explained_variance"] > plane.facts["y_explained_variance"] > 0
    theta, directions = subspace.theta, plane.vectors
    places = [project(subspace, theta, directions, each.load(objective.model))[0] for each in plane.waypoints]
    for axis, vector in directions.items():
        np.testing.assert_allclose(np.linalg.norm(flat(subspace.parameters(vector))), 1, rtol=1e-12)
        seen = [place[axis] for place in places]
        low, high = min(0, *seen), max(0, *seen)
        expected = (low - 0.2 * (high - low), high + 0.2 * (high - low))
        np.testing.assert_allclose(plane.ranges[axis], expected, atol=1e-9)
    assert seen[-1] == 0


def test_pca_of_rows_without_the_scans_own(trained: Path) -> None:
    """theta - theta is no row, whichever checkpoint is scanned: centred, a row of zeros would turn the plane."""
    plane, setup, objective, subspace = found(trained, PCA, "surface.checkpoint=20")
    theta = flat(subspace.theta)
    states = [each.load(objective.model) for each in run_checkpoints(setup.run) if each.step != 20]
    rows = np.stack([flat([state[each.name] for each in subspace.tensors]) for state in states]) - theta
    _, values, vectors = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    for i, vector in enumerate(plane.vectors.values()):
        np.testing.assert_allclose(abs(flat(vector) @ vectors[i]), 1, rtol=1e-9)
    shares = values**2 / (values**2).sum()
    np.testing.assert_allclose(list(plane.facts.values()), shares[:2], rtol=1e-9)


def test_pca_of_some_checkpoints(trained: Path) -> None:
    some = "surface.directions={kind: pca, checkpoints: [0, 10, 30]}"
    plane, *_ = found(trained, some)
    assert [each.name for each in plane.waypoints] == ["step 0", "step 10", "step 30"]
    with pytest.raises(RequestError, match=r"surface\.directions\.checkpoints = 7: .*"):
        found(trained, some.replace("30", "7"))
    with pytest.raises(RequestError, match="step 10 and step 10 are one file"):
        found(trained, some.replace("30", "10, 20"))
    with pytest.raises(RequestError, match="needs 3 checkpoints or more beside the scan's own"):
        found(trained, some.replace("30", "last"))


def test_hessian(trained: Path) -> None:
    """Eigenvectors stay eigenvectors: H d = lambda d over what moves, unit length over all of it."""
    plane, setup, objective, subspace = found(trained, HESSIAN)
    moved = [each for each in subspace.tensors if "classifier" in each.name]
    assert {each.name for each in moved} == plane.subspace.moved
    examples = setup.data.train.choose(60, "stratified", 0)
    ((inputs, targets),) = examples.batches(60)
    objective.model.eval()
    loss = objective.losses(objective.model)((inputs, targets)).mean
    tensors = [each.tensor for each in moved]
    gradient = torch.autograd.grad(loss, tensors, create_graph=True)
    for axis, vector in plane.vectors.items():
        parts = [part for part, each in zip(vector, subspace.tensors, strict=True) if each.name in plane.subspace.moved]
        value = plane.facts[f"{axis}_eigenvalue"]
        along = torch.stack([(g * part).sum() for g, part in zip(gradient, parts, strict=True)]).sum()
        image = torch.autograd.grad(along, tensors, retain_graph=True)
        largest = max(abs(each) for each in plane.facts.values())
        np.testing.assert_allclose(flat(image), value * flat(parts), atol=1e-2 * largest)
        np.testing.assert_allclose(np.linalg.norm(flat(vector)), 1, rtol=1e-9)
    assert plane.facts["x_eigenvalue"] > plane.facts["y_eigenvalue"]
    assert plane.ranges == {}


def test_gradient(trained: Path) -> None:
    """Minus the gradient as it is: the loss falls by |g|^2 a unit of x. The range is in learning rates."""
    plane, setup, objective, subspace = found(trained, GRADIENT)
    assert plane.ranges["x"] == pytest.approx((-0.2, 0.8))
    assert "y" not in plane.ranges
    ((inputs, targets),) = setup.data.train.choose(100, "stratified", 0).batches(100)
    objective.model.eval()
    loss = objective.losses(objective.model)((inputs, targets)).mean
    gradient = torch.autograd.grad(loss, objective.parameters)
    np.testing.assert_allclose(flat(subspace.parameters(plane.vectors["x"])), -flat(gradient), atol=1e-12)
    other, *_ = found(trained, "surface.directions={kind: random, ignore: []}")
    np.testing.assert_array_equal(flat(plane.vectors["y"]), flat(other.vectors["y"]))


def test_the_gradient_of_an_experiment_without_training(trained: Path) -> None:
    checkpoint = f"surface.checkpoint={setup_of(trained).run.checkpoint_file(40)}"
    plane, *_ = found(trained, "surface.directions={kind: gradient, examples: 10}", checkpoint, "train=null")
    assert plane.ranges["x"] == pytest.approx((-0.1, 0.4))


def test_file(trained: Path, tmp_path: Path) -> None:
    """The directions of one scan, at another checkpoint: what they move is what is not zero."""
    plane, _, _, subspace = found(trained, TOWARD.replace("]}", "], parameters: {include: [classifier]}}"))
    path = tmp_path / "directions-main.safetensors"
    save_tensors(path, subspace.to_tensors(plane.vectors))
    again, *_ = found(trained, f"surface.directions={{kind: file, path: {path}}}", "surface.checkpoint=0")
    for axis, vector in plane.vectors.items():
        np.testing.assert_array_equal(flat(again.vectors[axis]), flat(vector))
    assert again.subspace.moved == plane.subspace.moved
    assert again.ranges == {}


def test_selection(trained: Path) -> None:
    for kind in ("toward, checkpoints: [0, 10]", "pca", "gradient, examples: 10", "random"):
        plane, *_, subspace = found(
            trained, f"surface.directions={{kind: {kind}, parameters: {{include: [classifier]}}}}"
        )
        for axis, vector in plane.vectors.items():
            moved = {each.name for each, part in zip(subspace.tensors, vector, strict=True) if part.any()}
            assert moved <= plane.subspace.moved, (kind, axis)
            assert all("classifier" in name for name in plane.subspace.moved)


def test_trajectory(trained: Path, tmp_path: Path) -> None:
    """The run's path in order of step, after checkpoints that are not of it."""
    steps = [f"step {step}" for step in STEPS]
    random, *_ = found(trained, "surface.trajectory=true")
    assert ([each.name for each in random.waypoints], random.is_path) == (steps, True)
    toward, setup, *_ = found(trained, TOWARD, "surface.trajectory=true")
    assert [each.name for each in toward.waypoints] == steps
    elsewhere = tmp_path / "mine.safetensors"
    elsewhere.write_bytes(setup.run.checkpoint_file(0).read_bytes())
    mixed, *_ = found(trained, TOWARD.replace("10", str(elsewhere)), "surface.trajectory=true")
    assert [each.name for each in mixed.waypoints] == [str(elsewhere), *steps]
    without, *_ = found(trained, PCA, "surface.trajectory=false")
    assert (without.waypoints, without.is_path) == ([], False)
    with pytest.raises(RequestError, match=r"surface\.trajectory = true: .* no checkpoint of its own"):
        found(tmp_path, f"surface.checkpoint={elsewhere}", "surface.trajectory=true")


@pytest.mark.parametrize("kind", ["random", "gradient, examples: 10"])
def test_a_direction_of_zero_is_refused(tmp_path: Path, kind: str) -> None:
    """A network of zeros: filters without norm, and a gradient in the last bias alone."""
    setup = setup_of(tmp_path)
    path = tmp_path / "zeros.safetensors"
    save_tensors(path, {name: torch.zeros_like(tensor) for name, tensor in setup.model().state_dict().items()})
    directions = f"surface.directions={{kind: {kind}, parameters: {{include: [weight]}}}}"
    with pytest.raises(RequestError, match="direction of x is zero"):
        found(tmp_path, directions, f"surface.checkpoint={path}")
