"""What a scan says about its centre: whether it is the checkpoint, and the lowest point."""

import numpy as np
import pytest

from lossviz.results import NOT_FINITE, TO_DO
from lossviz.surface.sanity import facts, findings
from tests.surface.bowl import (
    AGREE,
    CENTRE,
    FINITE,
    LOWEST,
    at,
    bowl,
    said,
)


@pytest.mark.parametrize(("x", "y"), [(slice(1, None, 2), slice(None)), (slice(None), slice(None, None, 2))])
def test_no_centre(x: slice, y: slice) -> None:
    """Of an even number of points, none is the checkpoint; nothing can be said of a minimum then."""
    assert said(bowl().isel(x=x, y=y)) == {CENTRE}


def test_a_centre_that_is_still_to_do() -> None:
    results = bowl()
    at(results, 0, 0, "status")[...] = TO_DO
    at(results, 0, 0)[...] = np.nan
    assert said(results) == set()


@pytest.mark.parametrize(
    ("precision", "within", "beyond"),
    [("float32", 9e-6, 1.2e-5), ("float64", 9e-11, 2e-10), ("bfloat16", 0.015, 0.03), ("tf32", 0.015, 0.03)],
)
def test_the_centre_is_the_checkpoint(precision: str, within: float, beyond: float) -> None:
    """To what fast paths may differ by; of the scan's own checkpoint, not of another."""
    for off, expected in ((within, set()), (beyond, {AGREE})):
        results = bowl(precision=precision, trajectory=0)
        results.checkpoint_loss[2] = 1 + off
        assert said(results) == expected


def test_a_centre_of_too_few_digits_has_the_statistics_of_its_own_scan() -> None:
    """ResNet-56 without shortcuts: 0.342 in bfloat16, 0.136 in float32; other statistics would not help."""
    results = bowl(precision="bfloat16", trajectory=0, batch_norm="frozen")
    results.checkpoint_distance[2], results.checkpoint_plane_loss[2] = 0.0, 2.5
    results.checkpoint_loss[2] = 0.5
    assert said(results) == {AGREE}


def test_a_tiny_loss_is_judged_by_the_rounding_of_the_outputs_behind_it() -> None:
    """ResNet-56 of Li et al.'s: 2.60065e-4 in float32, 2.6008e-4 in float64, from outputs of about 15."""
    results = bowl(trajectory=0)
    results.checkpoint_loss[2], at(results, 0, 0)[...] = 2.6008e-4, 2.60065e-4
    assert said(results) == {AGREE}  # an older file
    results["checkpoint_outputs"] = ("checkpoint", [15.0, 15.0, 15.0])
    assert said(results) == set()
    assert said(results.assign_attrs(precision="float64")) == {AGREE}
    for off, expected in ((1.7e-6, set()), (1.9e-6, {AGREE})):
        at(results, 0, 0)[...] = 2.6008e-4 + off
        assert said(results) == expected
    assert "agree to 1.8e-06 and differ by 1.9e-06, 0.00019 of the standard error" in findings(results)[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("outputs", [np.nan, np.inf])
def test_a_diverged_checkpoint_is_its_own_centre(outputs: float) -> None:
    """Without numpy's warning about a tolerance that is no number, which commands would print."""
    results = bowl(trajectory=0)
    results.checkpoint_loss[2] = at(results, 0, 0)[...] = np.nan
    results["checkpoint_outputs"] = ("checkpoint", [15.0, 15.0, outputs])
    at(results, 0, 0, "status")[...] = NOT_FINITE
    assert AGREE not in said(results)
    results.checkpoint_loss[2] = 1.0
    assert AGREE in said(results)


def test_float32_rounds_a_tiny_loss_as_the_report_allows() -> None:
    """Cross-entropy of large outputs, by numpy in both precisions."""
    outputs = np.random.default_rng(0).normal(scale=1.0, size=(1000, 10))
    outputs[:, 0] += 18
    losses = {}
    for name, kind in (("float32", np.float32), ("float64", np.float64)):
        z = outputs.astype(np.float32).astype(kind)
        highest = z.max(axis=1, keepdims=True)
        sums = np.log(np.exp(z - highest).sum(axis=1, dtype=kind)) + highest[:, 0]
        losses[name] = float((sums - z[:, 0]).astype(np.float64).mean())
    assert losses["float64"] < 1e-5
    results = bowl(trajectory=0)
    results.checkpoint_loss[2], at(results, 0, 0)[...] = losses["float64"], losses["float32"]
    assert said(results) == {AGREE}
    results["checkpoint_outputs"] = ("checkpoint", [abs(outputs).max(axis=1).mean()] * 3)
    assert said(results) == set()


def test_a_checkpoint_whose_loss_is_nan_agrees_with_its_centre() -> None:
    results = bowl(trajectory=0)
    results.checkpoint_loss[2] = np.nan
    assert said(results) == {AGREE}
    at(results, 0, 0)[...] = np.nan
    at(results, 0, 0, "status")[...] = NOT_FINITE
    assert said(results) == {FINITE}


def test_a_lower_point_beside_the_centre() -> None:
    """All points have the same examples, so any lower one counts; the lowest is named."""
    results = bowl()
    at(results, -0.5, 0.5)[...] = 1 - 0.001
    at(results, 0.5, 0)[...] = 1 - 0.0005
    assert said(results) == {LOWEST}
    (line,) = findings(results)
    assert "0.001 lower beside it, at x = -0.5, y = 0.5." in line
    assert "the centre is no local minimum of the grid" in facts(results)


def test_a_lower_point_elsewhere_is_another_minimum() -> None:
    results = bowl()
    at(results, 1, 0.5)[...] = 0.5
    assert LOWEST not in said(results)
    assert "the centre is a local minimum of the grid" in facts(results)


def test_a_lower_point_on_a_line() -> None:
    results = bowl().isel(y=1, drop=True)
    results.loss[3] = 0.5
    (line,) = findings(results)
    assert "0.5 lower beside it, at x = 0.5." in line


@pytest.mark.parametrize("status", [TO_DO, NOT_FINITE])
def test_only_points_that_are_done_are_lower(status: int) -> None:
    results = bowl()
    at(results, 0.5, 0.5)[...] = -np.inf
    at(results, 0.5, 0.5, "status")[...] = status
    assert LOWEST not in said(results)


@pytest.mark.parametrize(("batch_norm", "words"), [("batch", "its minibatches'"), ("recalibrate", "re-estimated")])
def test_statistics_of_the_scan_are_those_of_the_checkpoint_that_it_is_compared_with(
    batch_norm: str, words: str
) -> None:
    """Computed at every point, they have a rounding of their own."""
    results = bowl(batch_norm=batch_norm, trajectory=0)
    assert words in facts(results)[0]
    for off, expected in ((9e-5, set()), (1.2e-4, {AGREE})):
        results.checkpoint_loss[2] = 1 + off
        assert said(results) == expected
    assert words in findings(results)[0]


def test_a_checkpoint_in_a_precision_of_its_own() -> None:
    results = bowl()
    assert "of the checkpoint in float64" in facts(results)[0]
    results.checkpoint_loss.attrs["precision"] = "its own precision"
    assert "of the checkpoint in its own precision" in facts(results)[0]


def test_a_lower_point_of_a_sampled_scan_is_lower_by_two_standard_errors_of_the_difference() -> None:
    """Errors of 0.1 at one neighbour alone: 0.05 lower there is chance, and 0.01 elsewhere, without any, is not."""
    deviations = np.zeros((3, 5, 32))
    counts = (("y", "x"), np.full((3, 5), 100))
    results = bowl(examples=1000).assign(loss_deviation=(("y", "x", "group"), deviations))
    results = results.assign(examples=counts, precise_examples=counts)
    at(results, -0.5, 0)[...] = 1 - 0.05
    at(results, -0.5, 0, "loss_deviation")[0] = 0.1
    assert LOWEST not in said(results)
    assert "the centre is a local minimum of the grid" in facts(results)
    at(results, 0.5, 0)[...] = 1 - 0.01
    (line,) = findings(results)
    assert "0.01 lower beside it, at x = 0.5, y = 0." in line
    at(results, -0.5, 0, "loss_deviation")[0] = 0.02
    (line,) = findings(results)
    assert "0.05 lower beside it, at x = -0.5, y = 0." in line
