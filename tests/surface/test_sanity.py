"""What a scan says about itself: each finding where it belongs, and silence where all is well."""

import numpy as np
import pytest

from lossviz.results import NOT_FINITE, TO_DO
from lossviz.surface.sanity import facts, findings
from tests.surface.bowl import (
    ANGLE,
    DATA,
    FINITE,
    LEFT,
    LENGTH,
    NOISE,
    OTHERS,
    PATH,
    STATISTICS,
    ZERO,
    at,
    bowl,
    said,
)


def test_a_bowl_is_silent() -> None:
    assert findings(bowl()) == []
    assert findings(bowl().isel(y=1, drop=True).drop_attrs().assign_attrs(bowl().attrs)) == []


@pytest.mark.parametrize(("cosine", "expected"), [(0.49, set()), (0.51, {ANGLE}), (-0.9, {ANGLE})])
def test_directions_that_are_nearly_parallel(cosine: float, expected: set[str]) -> None:
    assert said(bowl(cosine=cosine)) == expected


@pytest.mark.parametrize(("norms", "expected"), [((1, 9.9), set()), ((1, 10.1), {LENGTH}), ((300, 20), {LENGTH})])
def test_directions_of_different_lengths(norms: tuple[float, float], expected: set[str]) -> None:
    assert said(bowl(x_norm=norms[0], y_norm=norms[1])) == expected


def test_points_that_are_not_finite() -> None:
    """Their share of those that are known."""
    results = bowl()
    for x, y, status in ((1, 0.5, NOT_FINITE), (1, -0.5, NOT_FINITE), (-1, 0.5, TO_DO)):
        at(results, x, y)[...] = np.nan
        at(results, x, y, "loss_stderr")[...] = np.nan
        at(results, x, y, "status")[...] = status
    assert said(results) == {FINITE}
    assert findings(results)[0].startswith("2 of 14 points (14.3%)")


@pytest.mark.parametrize(("batch_norm", "recalibrated"), [("frozen", False), ("interpolate", True)])
def test_variances_that_became_negative(batch_norm: str, recalibrated: bool) -> None:
    results = bowl(batch_norm=batch_norm, trajectory=0)
    at(results, 1, 0.5, "status")[...] = NOT_FINITE
    (line,) = findings(results)
    assert ("surface.batch_norm: recalibrate" in line) == recalibrated


@pytest.mark.parametrize(
    ("smallest", "largest", "points"), [(-2e-5, 1.0, 0), (-1e-9, 1.0, 15), (-1.0, 1e-9, 15), (0.0, 0.0, 0)]
)
def test_eigenvalues_that_cannot_be_told_from_zero(smallest: float, largest: float, points: int) -> None:
    results = bowl().assign(hessian_min=smallest + 0 * bowl().loss, hessian_max=largest + 0 * bowl().loss)
    assert said(results) == ({ZERO} if points else set())
    assert all(line.startswith(f"at {points} points") for line in findings(results))


@pytest.mark.parametrize(("value", "expected"), [(-2e-5, set()), (-1e-9, {ZERO})])
def test_a_direction_whose_eigenvalue_cannot_be_told_from_zero(value: float, expected: set[str]) -> None:
    assert said(bowl(x_eigenvalue=1.0, y_eigenvalue=value)) == expected


@pytest.mark.parametrize(("stderr", "expected"), [(0.24, set()), (0.26, {NOISE})])
def test_noise(stderr: float, expected: set[str]) -> None:
    """Heights above the lowest point: 2 of 0.25, 4 of 0.5, 2 of 1, 4 of 1.25 and 2 of 0.25; the median is 0.5."""
    results = bowl()
    results.loss_stderr[...] = stderr
    assert said(results) == expected


@pytest.mark.parametrize(("sampled", "key"), [(False, "surface.data.examples"), (True, "surface.accuracy")])
def test_noise_is_made_smaller_by_what_the_scan_has(sampled: bool, key: str) -> None:
    results = bowl()
    results.loss_stderr[...] = 0.26
    if sampled:
        results["loss_deviation"] = ("y", "x", "group"), np.zeros((3, 5, 32))
        counts = ("y", "x"), np.full((3, 5), 100)
        results = results.assign(examples=counts, precise_examples=counts).assign_attrs(examples=1000)
    (line,) = findings(results)
    assert f" {key}" in line.replace("(", " ")


def test_a_few_noisy_points_are_no_finding() -> None:
    results = bowl()
    at(results, 1, 0.5, "loss_stderr")[...] = 10.0
    assert said(results) == set()


@pytest.mark.parametrize(("directions", "better"), [("toward", "interpolate"), ("random", "recalibrate")])
def test_a_checkpoint_in_the_plane_with_statistics_of_its_own(directions: str, better: str) -> None:
    """Its distance does not explain what the scan has there; of a path, that is not said a second time."""
    for trajectory in (0, 1):
        results = bowl(batch_norm="frozen", directions=directions, trajectory=trajectory)
        results.checkpoint_distance[1], results.checkpoint_plane_loss[1] = 0.0029, 11.3
        assert said(results) == {STATISTICS}
        (line,) = findings(results)
        assert line.startswith("at step 2 the scan has loss 11.3, and the network itself 1.5: ")
        assert line.endswith(f"try surface.batch_norm: {better}")
        results.checkpoint_distance[1] = 0.0031
        assert said(results) == ({PATH} if trajectory else set())
    assert said(results.assign_attrs(batch_norm="interpolate")) == {PATH}


@pytest.mark.parametrize("batch_norm", ["interpolate", "recalibrate", "batch"])
def test_a_checkpoint_in_the_plane_that_differs_in_what_does_not_move(batch_norm: str) -> None:
    """Buffers of a layer of one's own, say."""
    results = bowl(batch_norm=batch_norm)
    results.checkpoint_distance[1], results.checkpoint_plane_loss[1] = 0.0029, 11.3
    assert said(results) == {OTHERS}


def test_a_tiny_loss_of_a_checkpoint_may_be_rounding() -> None:
    results = bowl(batch_norm="frozen")
    results.checkpoint_distance[1], results.checkpoint_loss[1], results.checkpoint_plane_loss[1] = 1e-6, 3e-8, 0.0
    assert said(results) == {STATISTICS}  # a file that does not know its outputs
    results["checkpoint_outputs"] = ("checkpoint", [25.0, 25.0, 25.0])
    assert said(results) == set()


def test_a_path_beside_the_plane_names_distance_and_statistics() -> None:
    results = bowl(batch_norm="frozen")
    results.checkpoint_plane_loss[0] = 2.5
    (line,) = findings(results)
    assert "up to 0.5 away from the plane, or have BatchNorm statistics of their own" in line
    assert "BatchNorm" not in findings(results.assign_attrs(batch_norm="recalibrate"))[0]


def test_statistics_that_the_file_moves_and_the_scan_does_not() -> None:
    assert said(bowl(unused_statistics=12.0, batch_norm="frozen")) == {LEFT}


@pytest.mark.parametrize(("changed", "expected"), [("", set()), ("train", {DATA}), ("train, test", {DATA})])
def test_data_that_changed_since_the_training(changed: str, expected: set[str]) -> None:
    results = bowl(changed_data=changed)
    assert said(results) == expected
    assert all(f"the data ({changed}) are" in line for line in findings(results))


@pytest.mark.parametrize(
    ("examples", "choose", "classes", "advice"),
    [
        (40, "first", 2, "surface.data.choose: stratified"),
        (20, "first", 19, "surface.data.choose: stratified"),
        (19, "first", 1, "surface.data.choose: stratified and more surface.data.examples"),
        (19, "stratified", 19, "more surface.data.examples"),
        (1000, "stratified", 18, "more surface.data.examples"),
        (40, "first", 20, None),
        (40, "stratified", 20, None),
    ],
)
@pytest.mark.parametrize(("prefix", "where"), [("", ""), ("test_", " of the test split")])
def test_classes_that_no_example_is_of(
    examples: int, choose: str, classes: int, advice: str | None, prefix: str, where: str
) -> None:
    """Each split has classes of its own; a share of a rare class may be none."""
    complete = {"classes": 20, "classes_of_split": 20}
    results = bowl(examples=examples, choose=choose, **complete)
    results = results.assign_attrs({f"{prefix}classes": classes, f"{prefix}classes_of_split": 20})
    expected = (
        [] if advice is None else [f"{examples:,} examples are of {classes} of the 20 classes{where}; try {advice}"]
    )
    assert findings(results) == expected


def test_a_direction_that_is_zero() -> None:
    assert findings(bowl(y_norm=0.0)) == ["a direction is zero: along it nothing changes"]


def test_a_flat_surface_has_no_range() -> None:
    results = bowl(trajectory=0)
    results.loss[...] = 1.0
    assert said(results) == set()
    assert not any("standard error" in line for line in facts(results))


@pytest.mark.parametrize(("plane", "trajectory", "expected"), [(2.19, 1, set()), (2.21, 1, {PATH}), (2.21, 0, set())])
def test_the_path_leaves_the_plane(plane: float, trajectory: int, expected: set[str]) -> None:
    results = bowl(trajectory=trajectory)
    results.checkpoint_plane_loss[0] = plane
    assert said(results) == expected


def test_how_far_the_path_leaves_the_plane() -> None:
    results = bowl()
    results.checkpoint_plane_loss[0] = 2.5
    (line,) = findings(results)
    assert "differs by up to 25%" in line
    assert "up to 0.5 away" in line


def test_facts() -> None:
    results = bowl(x_norm=12.34567, y_norm=3.0, cosine=-0.01234)
    at(results, 1, 0.5, "status")[...] = NOT_FINITE
    assert facts(results) == [
        "loss at the centre 1, of the checkpoint in float64 1",
        "the centre is a local minimum of the grid",
        "|d_x| = 12.35, |d_y| = 3, cosine between them -0.0123",
        "1 of 15 points (6.7%) not finite",
        "largest standard error 0.80% of the range of the loss",
    ]


def test_the_checkpoint_of_a_sampled_scan_is_compared_on_the_same_examples() -> None:
    """Its centre is an estimate of the mean over all; in float64 the checkpoint is evaluated on some."""
    results = bowl()
    results["loss_deviation"] = (*results.loss.dims, "group"), np.zeros((*results.loss.shape, 32))
    for name in ("examples", "precise_examples"):
        results[name] = results.loss.dims, np.full(results.loss.shape, 20.0)
    results.attrs["examples"] = 20
    results.checkpoint_plane_loss[-1], results.checkpoint_loss[-1] = 1.01, 1.02
    assert (
        facts(results)[0] == "loss at the centre 1; of some of the examples 1.01, and of the checkpoint in float64 1.02"
    )


def test_facts_of_a_line_without_its_centre() -> None:
    results = bowl().isel(y=1, x=slice(1, None, 2), drop=True)
    del results.attrs["cosine"]
    assert facts(results)[0] == "|d_x| = 2"
    assert facts(results)[1] == "0 of 2 points (0.0%) not finite"
