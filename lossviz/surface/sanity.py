"""Is my plot right? The report of a finished scan about itself, in words that a student understands."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from lossviz.results import DONE, NOT_FINITE, TO_DO, SurfaceResults
from lossviz.surface.centre import beside_centre, lower_than_centre

# The fast paths (folded, compiled, other batches) agree with the plain one in float64 to this of the loss, and to one
# rounding of the outputs: of a tiny loss, such as log(1 + 1e-4), float32 keeps no more.
SAME = {"float32": 1e-5, "float64": 1e-10}
EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "tf32": 2.0**-10, "bfloat16": 2.0**-7}
SAME_IN_SHORT_NUMBERS = 2e-2
# Statistics that are computed at every point carry their own rounding.
SAME_WITH_STATISTICS = {**SAME, "float32": 1e-4}
MOVES_STATISTICS = ("toward", "pca", "file")
STATISTICS = {"batch": " with its minibatches' statistics", "recalibrate": " with statistics re-estimated"}
# Random directions of n numbers have a cosine of about 1 / sqrt(n): 0.001 for a million.
NEARLY_PARALLEL = 0.5
NOISY = 0.5
FAR_FROM_THE_PLANE = 0.1
# Of the largest eigenvalue in size: products with the Hessian in float32 are 1e-7 to 1e-6 of it off.
RESOLVED = 1e-5
# Of the longer direction; weights in float32 are rounded to far less.
IN_THE_PLANE = 1e-3


def facts(results: xr.Dataset) -> list[str]:
    """The report's facts about every scan: centre, directions, points, standard errors."""
    lines = []
    at_centre = SurfaceResults(results).centre
    if at_centre is not None and "checkpoint_loss" in results:
        own = _own(results)
        sampled = "loss_deviation" in results
        some = f"; of some of the examples {float(own.checkpoint_plane_loss):.6g}, and" if sampled else ","
        checkpoint = f"of the checkpoint{_statistics(results)} in {_precision(results)}"
        loss = f"{float(at_centre.loss):.6g}{some}"
        lines.append(f"loss at the centre {loss} {checkpoint} {float(own.checkpoint_loss):.6g}")
    beside = beside_centre(results)
    if at_centre is not None and beside is not None:
        lower = bool(lower_than_centre(results, at_centre, beside).notnull().any())
        lines.append(f"the centre is {'no' if lower else 'a'} local minimum of the grid")
    norms = [f"|d_{axis}| = {results.attrs[f'{axis}_norm']:.4g}" for axis in ("x", "y") if axis in results.dims]
    angle = f", cosine between them {results.attrs['cosine']:.3g}" if "cosine" in results.attrs else ""
    lines.append(", ".join(norms) + angle)
    bad, total = int((results.status == NOT_FINITE).sum()), results.status.size
    lines.append(f"{bad:,} of {total:,} points ({bad / total:.1%}) not finite")
    if "hessian_error" in results.attrs:
        step, error = (float(results.attrs[f"hessian_{name}"]) for name in ("step", "error"))
        way = f"{results.attrs['hessian_products']} of gradients, {step:.2g} to either side"
        lines.append(f"products with the Hessian by {way}: {error:.1g} of the largest off")
    spread = _spread(results)
    if spread is not None:
        lines.append(f"largest standard error {spread:.2%} of the range of the loss")
    return lines


def findings(results: xr.Dataset) -> list[str]:
    """The warnings about a scan; none if all is well.

    Args:
        results: the contents of a surface-<name>.nc, complete or not.
    """
    judges = (
        *(_batches, _data, _classes, _centre, _minimum, _directions, _left_behind),
        *(_points, _noise, _curvature, _own_statistics, _path),
    )
    return [finding for judge in judges for finding in judge(results)]


def _batches(results: xr.Dataset) -> Iterator[str]:
    if results.attrs.get("by_batch") == 1 and results.attrs.get("batch_norm") != "batch":
        yield (
            "in eval mode too, the outputs for an example depend on the examples beside it (BatchNorm without running "
            f"statistics?): the loss is that of batches of {int(results.attrs['batch_size'])} in random order, and "
            "another size gives another; surface.statistics.batch_size chooses it"
        )


def _data(results: xr.Dataset) -> Iterator[str]:
    changed = results.attrs.get("changed_data")
    if changed:
        yield (
            f"the data ({changed}) are not those that the run was trained on, by the fingerprints in run.json: put "
            "those back, or train again with --fresh"
        )


def _classes(results: xr.Dataset) -> Iterator[str]:
    for prefix, where in (("", ""), ("test_", " of the test split")):
        met, there = (int(results.attrs.get(f"{prefix}{name}", 0)) for name in ("classes", "classes_of_split"))
        if met < there:
            examples, first = int(results.attrs["examples"]), results.attrs["choose"] == "first"
            better = ["surface.data.choose: stratified"] if first else []
            better += ["more surface.data.examples"] if examples < there or not first else []
            yield f"{examples:,} examples are of {met:,} of the {there:,} classes{where}; try {' and '.join(better)}"


def _centre(results: xr.Dataset) -> Iterator[str]:
    centre = SurfaceResults(results).centre
    if not SurfaceResults(results).holds_centre:
        yield "(0, 0), the checkpoint itself, is no point of the grid: take an odd number of points around 0 to see it"
        return
    if centre is None or "checkpoint_loss" not in results:
        return
    own, loss = float(_own(results).checkpoint_loss), float(centre.loss)
    if "loss_deviation" in results:
        loss = float(_own(results).checkpoint_plane_loss)  # on the same examples
    with_statistics, precision = _statistics(results), str(results.attrs["precision"])
    relative = (SAME_WITH_STATISTICS if with_statistics else SAME).get(precision, SAME_IN_SHORT_NUMBERS)
    rounding = EPS[precision] * _outputs(results)
    if not np.isclose(own, loss, rtol=relative, atol=rounding, equal_nan=True):
        differ, stderr = abs(own - loss), float(centre.loss_stderr)
        yield (
            f"the centre of the grid has loss {loss:.6g}, and the checkpoint{with_statistics} in "
            f"{_precision(results)} {own:.6g}: they should agree to {relative * abs(own) + rounding:.2g} and differ "
            f"by {differ:.2g}, {differ / stderr if stderr else np.inf:.2g} of the standard error; too few digits "
            "(surface.precision: float64), or a network random in eval mode"
        )


def _outputs(results: xr.Dataset) -> float:
    """How large the outputs are that the loss of the checkpoint is computed from; 0 where that is no number.

    Older files do not say it.
    """
    size = float(_own(results).checkpoint_outputs) if "checkpoint_outputs" in results else 0.0
    return size if np.isfinite(size) else 0.0


def _minimum(results: xr.Dataset) -> Iterator[str]:
    centre, beside = SurfaceResults(results).centre, beside_centre(results)
    if centre is None or beside is None or not np.isfinite(centre.loss):
        return
    lower = lower_than_centre(results, centre, beside)
    if not bool(lower.notnull().any()):
        return
    lowest = lower.isel(lower.argmin(lower.dims))
    where = ", ".join(f"{axis} = {float(lowest[axis]):g}" for axis in ("x", "y") if axis in results.dims)
    yield (
        f"the checkpoint is no local minimum of the grid: the loss is {float(centre.loss - lowest):.3g} lower beside "
        f"it, at {where}. Usual before the training has converged, with noise layers, and on other data than those it "
        "was trained on; strange for a converged network on its training data"
    )


def _directions(results: xr.Dataset) -> Iterator[str]:
    cosine = abs(float(results.attrs.get("cosine", 0.0)))
    if cosine > NEARLY_PARALLEL:
        yield (
            f"the directions are far from perpendicular (cosine {results.attrs['cosine']:.2f}): the plane is drawn "
            "as if they were, so shapes in it are sheared"
        )
    norms = [float(results.attrs[f"{axis}_norm"]) for axis in ("x", "y") if f"{axis}_norm" in results.attrs]
    if 0 in norms:
        yield "a direction is zero: along it nothing changes"
    elif len(norms) == 2 and max(norms) > 10 * min(norms):
        yield (
            f"one direction is {max(norms) / min(norms):.3g} times as long as the other: equal steps of x and y are "
            "not equal distances"
        )


def _left_behind(results: xr.Dataset) -> Iterator[str]:
    if "unused_statistics" in results.attrs:
        yield (
            f"the file of directions also moves {results.attrs['unused_statistics']:.0f} running statistics of "
            f"BatchNorm, and batch_norm = {results.attrs['batch_norm']} leaves them where they are; "
            "surface.batch_norm: interpolate moves them"
        )


def _points(results: xr.Dataset) -> Iterator[str]:
    known = int((results.status != TO_DO).sum())
    bad = int((results.status == NOT_FINITE).sum())
    if bad:
        advice = "A smaller range, or another batch_norm, avoids them"
        if results.attrs.get("batch_norm") == "interpolate":
            advice = (
                "Beyond the networks that the directions lead to, running variances that move along a line become "
                "negative: stay between them, or take surface.batch_norm: recalibrate, whose statistics are those "
                "of the moved weights"
            )
        yield (
            f"{bad:,} of {known:,} points ({bad / known:.1%}) have a loss that is NaN or infinite; they are kept "
            f"as they are, and drawn as holes. {advice}"
        )


def _noise(results: xr.Dataset) -> Iterator[str]:
    """The median over the points of their standard error, relative to their height above the lowest one."""
    done = results.status == DONE
    rise = (results.loss - results.loss.where(done).min()).where(done)
    rise = rise.where(rise > 0)
    share = float((results.loss_stderr / rise).median())
    if share > NOISY:
        sampled = "loss_deviation" in results
        more = "A smaller surface.accuracy makes" if sampled else "More of them (surface.data.examples) make"
        yield (
            f"at half of the points the standard error is more than {share:.0%} of their height above the lowest "
            f"one: other examples may give another shape. {more} it smaller"
        )


def _curvature(results: xr.Dataset) -> Iterator[str]:
    """Eigenvalues so small beside others that the products with the Hessian, in float32, do not tell them from zero."""
    resolved = max(RESOLVED, float(results.attrs.get("hessian_error", 0.0)))
    if "hessian_min" in results:
        sizes = abs(results.hessian_min), abs(results.hessian_max)
        count = int((np.minimum(*sizes) < resolved * np.maximum(*sizes)).sum())
        if count:
            yield (
                f"at {count:,} points one of hessian_min and hessian_max is less than {resolved:.2g} of the other in "
                "size: it is zero as far as can be told, and its sign means nothing"
            )
    values = [abs(float(results.attrs[name])) for name in ("x_eigenvalue", "y_eigenvalue") if name in results.attrs]
    if len(values) == 2 and min(values) < resolved * max(values):
        yield (
            f"one direction has an eigenvalue of less than {resolved:.2g} of the other's: it is zero as far as can be "
            "told, and the direction is one of many along which the loss is flat"
        )


def _own_statistics(results: xr.Dataset) -> Iterator[str]:
    apart = _apart(results)
    if apart is None:
        return
    another = results.checkpoint != results.attrs["checkpoint"]  # the scan's own statistics are frozen, not replaced
    apart = apart.where(_in_the_plane(results) & another)
    if float(apart.max()) > FAR_FROM_THE_PLANE:
        worst = results.isel(checkpoint=int(np.nanargmax(apart.values)))
        better = "interpolate" if results.attrs.get("directions") in MOVES_STATISTICS else "recalibrate"
        why = "its buffers or frozen parameters, which no direction moves, are others"
        if results.attrs.get("batch_norm") == "frozen":
            why = (
                "its BatchNorm statistics are its own, or other buffers, and batch_norm = frozen keeps those of the "
                f"scan's checkpoint; try surface.batch_norm: {better}"
            )
        yield (
            f"at {worst.checkpoint.values!s} the scan has loss {float(worst.checkpoint_plane_loss):.3g}, and the "
            f"network itself {float(worst.checkpoint_loss):.3g}: {why}"
        )


def _path(results: xr.Dataset) -> Iterator[str]:
    apart = _apart(results)
    if apart is None or results.attrs.get("trajectory") != 1:
        return
    worst = float(apart.where(~_in_the_plane(results)).max())
    if worst > FAR_FROM_THE_PLANE:
        frozen = results.attrs.get("batch_norm") == "frozen"
        yield (
            f"the contour under the path is not the loss of the checkpoints: it differs by up to {worst:.0%}, "
            f"because they lie up to {float(results.checkpoint_distance.max()):.3g} away from the plane"
            + (", or have BatchNorm statistics of their own (batch_norm = frozen)" if frozen else "")
        )


def _apart(results: xr.Dataset) -> xr.DataArray | None:
    """How far the plane's loss at each checkpoint is from the checkpoint's own, relative to that."""
    if "checkpoint_loss" not in results:
        return None
    own, seen = results["checkpoint_loss"], results["checkpoint_plane_loss"]
    # A tiny loss is the rounding of its outputs.
    rounding = EPS[str(results.attrs.get("precision", "float32"))] * results.get("checkpoint_outputs", 0.0)
    return (abs(own - seen) - rounding).clip(0.0) / (1e-12 + abs(own))


def _in_the_plane(results: xr.Dataset) -> xr.DataArray:
    """Which checkpoints lie in the plane, so that they differ from it by nothing but what no direction moves."""
    norms = [float(results.attrs[f"{axis}_norm"]) for axis in ("x", "y") if f"{axis}_norm" in results.attrs]
    return results["checkpoint_distance"] <= IN_THE_PLANE * max(norms, default=0.0)


def _statistics(results: xr.Dataset) -> str:
    """The statistics with which the checkpoint is evaluated; empty for its own."""
    return STATISTICS.get(str(results.attrs.get("batch_norm")), "")


def _precision(results: xr.Dataset) -> str:
    """The precision of the checkpoints' own losses."""
    return str(results.checkpoint_loss.attrs.get("precision", "float64"))


def _own(results: xr.Dataset) -> xr.Dataset:
    """The scan's own checkpoint among those that were measured."""
    return results.sel(checkpoint=str(results.attrs["checkpoint"]))


def _spread(results: xr.Dataset) -> float | None:
    """The largest standard error relative to the range of the loss."""
    good = results.loss.where(results.status == DONE)
    if not bool(good.notnull().any()):
        return None
    extent = float(good.max() - good.min())
    return float(results.loss_stderr.where(results.status == DONE).max()) / extent if extent > 0 else None
