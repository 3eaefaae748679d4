"""The unit of a loss in every figure: that of the files, and none where they differ."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

from lossviz.plot.export.page import line_page
from lossviz.plot.export.plane_page import plane_page
from lossviz.plot.figures.difference import draw_difference
from lossviz.plot.figures.landscape import draw_landscape
from lossviz.plot.figures.line import draw_line
from lossviz.plot.figures.plane import draw_contour, draw_heatmap
from lossviz.plot.figures.seeds import draw_seeds
from lossviz.plot.figures.space import draw_surface_3d
from lossviz.plot.figures.training import draw_training
from lossviz.plot.figures.trajectory import draw_trajectory
from lossviz.plot.series import Series
from tests.plot.conftest import Build
from tests.plot.export.test_page import figures


def plane(build: Build) -> xr.Dataset:
    return build.surface(lambda x, y: 1 + x**2 + y)


def one_line(build: Build) -> xr.Dataset:
    return build.surface(lambda x, _: 1 + x**2, y=0)


def directions(build: Build) -> xr.Dataset:
    return xr.concat([one_line(build)] * 2, dim="seed").assign_coords(seed=[1, 2])


def path(build: Build) -> xr.Dataset:
    return build.with_checkpoints(plane(build), ["step 0", "step 9"], [0.5, 0], [0.1, 0]).assign_attrs(trajectory=1)


def unknown(build: Build) -> xr.Dataset:
    return build.surface(lambda x, y: np.nan * x)


def penalised(build: Build) -> xr.Dataset:
    return build.probe(penalty=0.5)


Draw = Callable[[Sequence[Series]], Figure]
FIGURES: list[tuple[Draw, Callable[[Build], xr.Dataset], str]] = [
    (draw_contour, plane, "loss (nats)"),
    (draw_heatmap, plane, "loss (nats)"),
    (draw_heatmap, unknown, "loss (nats)"),
    (draw_surface_3d, plane, "loss (nats)"),
    (draw_difference, plane, "difference of the loss (nats)"),
    (draw_trajectory, path, "loss (nats)"),
    (draw_line, one_line, "loss (nats)"),
    (draw_seeds, directions, "loss (nats)"),
    (draw_landscape, Build.probe, "loss (nats)"),
    (draw_landscape, penalised, "loss + L2 penalty (nats)"),
    (draw_training, Build.train, "loss (nats)"),
]


def without_nats(results: xr.Dataset) -> xr.Dataset:
    """The same of another loss than cross-entropy."""
    found = results.copy()
    for each in found.variables.values():
        each.attrs |= {"units": "1"} if each.attrs.get("units") == "nat" else {}
    return found


def texts(drawn: Figure) -> list[str]:
    return [artist.get_text() for artist in drawn.findobj(Text) if isinstance(artist, Text)]


@pytest.mark.parametrize(("draw", "results", "label"), FIGURES)
def test_a_figure_names_the_unit_that_its_files_share(
    build: Build, draw: Draw, results: Callable[[Build], xr.Dataset], label: str
) -> None:
    nats = results(build)
    other = without_nats(nats)
    assert label in texts(draw(build.series(nats, nats)))
    for pair in ((other, other), (nats, other), (other, nats)):
        found = texts(draw(build.series(*pair)))
        assert label.removesuffix(" (nats)") in found
        assert not any("nat" in text for text in found)


@pytest.mark.parametrize(("draw", "results"), [(plane_page, path), (line_page, one_line)])
def test_a_page_names_the_unit_that_its_files_share(
    build: Build, draw: Callable[[str, Sequence[Series]], bytes], results: Callable[[Build], xr.Dataset]
) -> None:
    nats = results(build)
    other = without_nats(nats)
    assert "loss (nats)" in str(figures(draw("title", build.series(nats, nats))))
    for pair in ((nats, other), (other, nats)):
        assert "(nats)" not in str(figures(draw("title", build.series(*pair))))
    assert " nat" not in str(figures(draw("title", build.series(other, other))))


def test_the_pointer_names_the_unit_of_each_surface(build: Build) -> None:
    nats = path(build)
    shown = figures(plane_page("title", build.series(nats, without_nats(nats))))
    for panel, unit in (("panel-0", " nats"), ("panel-1", "")):
        surface, _, marks = shown[panel]["linear"]["data"]
        assert f"loss %{{customdata[0]:.4g}}{unit}<br>error" in surface["hovertemplate"]
        assert f"its own loss 1{unit}<br>" in marks["text"][0]
        assert f"in the plane 0.5{unit}<br>" in marks["text"][0]
