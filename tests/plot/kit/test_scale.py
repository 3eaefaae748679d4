import numpy as np
import pytest
import xarray as xr

from lossviz.errors import RequestError
from lossviz.plot.kit.scale import common_scale


def test_one_range_for_all_runs_without_what_is_not_finite() -> None:
    scale = common_scale([xr.DataArray([1.0, np.inf]), xr.DataArray([np.nan, 9.0])], None, None)
    assert (scale.low, scale.high, scale.log, scale.extend) == (1.0, 9.0, False, "neither")


@pytest.mark.parametrize(
    ("losses", "log"), [([1.0, 19.0], False), ([1.0, 21.0], True), ([0.0, 21.0], False), ([-1.0, 21.0], False)]
)
def test_steep_positive_losses_are_logarithmic(losses: list[float], log: bool) -> None:
    assert common_scale([xr.DataArray(losses)], None, None).log is log


def test_the_logarithm_of_zero_is_refused_in_words() -> None:
    with pytest.raises(RequestError, match="cannot show the loss 0"):
        common_scale([xr.DataArray([0.0, 1.0])], True, None)
    assert common_scale([xr.DataArray([0.0, 1.0])], True, (0.01, 1.0)).low == 0.01


@pytest.mark.parametrize(
    ("clip", "extend"), [((0.5, 20), "neither"), ((2, 20), "min"), ((0.5, 5), "max"), ((2.0, 5.0), "both")]
)
def test_a_clip_says_on_which_side_losses_go_on(clip: tuple[float, float], extend: str) -> None:
    scale = common_scale([xr.DataArray([1.0, 3.0, 10.0])], None, clip)
    assert scale.extend == extend
    assert (scale.low, scale.high) == (max(clip[0], 1.0), min(clip[1], 10.0))
    np.testing.assert_array_equal(scale.clipped(np.array([1.0, 10.0])), np.clip([1, 10], *clip))
    assert f"clipped to [{clip[0]:g}, {clip[1]:g}]" in scale.label


@pytest.mark.parametrize("span", [(0.01, 0.4), (0.008, 14.0), (1e-6, 1e30), (2.0, 50.0)])
def test_logarithmic_levels_are_a_dozen_and_evenly_spread(span: tuple[float, float]) -> None:
    levels = common_scale([xr.DataArray(list(span))], True, None).levels
    assert 6 <= len(levels) <= 20
    assert levels.min() >= span[0]
    assert levels.max() <= span[1]
    steps = np.diff(np.log(levels))
    assert steps.max() < 3 * steps.min()


@pytest.mark.parametrize("losses", [[0.3], [0.0], [-2.0], [np.nan], []])
@pytest.mark.parametrize("log", [None, False])
def test_flat_and_empty_surfaces_have_a_range(losses: list[float], log: bool | None) -> None:
    scale = common_scale([xr.DataArray(losses)], log, None)
    assert scale.low < scale.high
    assert len(scale.bounds) >= 2


@pytest.mark.parametrize(("log", "heights", "limits"), [(True, [0, 1, 2], (0, 2)), (False, [1, 10, 100], (1, 100))])
def test_heights_are_the_clipped_losses_or_their_logarithms(
    log: bool, heights: list[float], limits: tuple[float, float]
) -> None:
    scale = common_scale([xr.DataArray([1.0, 10.0, 1e5])], log, (0.1, 100.0))
    np.testing.assert_array_equal(scale.heights(np.array([1.0, 10.0, 1e5, np.inf])), [*heights, np.nan])
    assert scale.limits == limits
