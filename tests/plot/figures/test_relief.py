import sys
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.relief import draw_relief
from lossviz.plot.kit import render as module
from lossviz.plot.kit.scale import Scale
from lossviz.plot.series import Options
from tests.plot.artists import cells, labelled, legend
from tests.plot.conftest import Build


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[Scale]:
    """Of the surfaces that would be rendered; a grey square is in their place."""
    seen: list[Scale] = []

    def square(_: xr.Dataset, scale: Scale) -> np.ndarray:
        seen.append(scale)
        image = np.zeros((40, 60, 4), np.uint8)
        image[10:30, 20:40] = 128
        return image

    monkeypatch.setattr(module, "render", square)
    return seen


def test_every_run_has_its_surface_over_its_contour_on_one_scale(build: Build, scales: list[Scale]) -> None:
    flat, steep = build.surface(lambda x, y: 1 + x**2), build.surface(lambda x, y: 1 + 99 * x**2)
    drawn = draw_relief(build.series(flat, steep))
    drawn.draw_without_rendering()
    assert [(scale.low, scale.high, scale.log) for scale in scales] == [(1, 100, True)] * 2
    first, below, second, _ = drawn.axes[:4]
    assert [cells(image).shape for ax in (first, second) for image in ax.images] == [(20, 20, 4)] * 2
    assert first.get_position().y0 >= below.get_position().y1
    assert first.get_title() == "standard\nloss 1 at the centre"
    assert below.get_xlabel() == "x (units of d)"
    assert {bar.get_ylabel() for bar in drawn.axes[4:]} == {"loss (nats)"}
    assert legend(drawn) == ["checkpoint"]
    assert labelled(below.lines, "other checkpoint") == []


@pytest.mark.parametrize(
    "loss_at", [lambda x, y: np.where(x > 0.5, np.nan, 1 + x + y), lambda x, y: np.nan * x, lambda x, y: 1 + 0 * x]
)
def test_holes_and_flat_planes_are_drawn(
    build: Build, scales: list[Scale], loss_at: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    draw_relief(build.series(build.surface(loss_at)), Options(clip=(0.5, 4.0))).draw_without_rendering()
    assert scales[0].clip == (0.5, 4.0)


def test_it_is_drawn_on_request_and_names_the_extra_that_it_needs(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build.run(main=build.surface(lambda x, y: 1 + x + y))
    assert not any("relief" in path.name for path in draw([run]))
    monkeypatch.delitem(sys.modules, "lossviz.plot.kit.render", raising=False)
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(RequestError, match=r"figure relief: needs pyvista, .*\n  pip install 'lossviz\[vtk\]'"):
        draw([run], figures=["relief"])
