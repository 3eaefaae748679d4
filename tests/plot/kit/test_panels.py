import pytest

from lossviz.plot.figures.plane import draw_contour, draw_heatmap
from tests.plot.artists import legend
from tests.plot.conftest import Build


@pytest.mark.parametrize(("panels", "columns"), [(4, 4), (5, 3), (6, 3), (7, 4), (9, 3)])
def test_more_than_four_panels_wrap_into_even_rows(build: Build, panels: int, columns: int) -> None:
    series = build.series(build.surface(lambda x, y: 1 + x + y)) * panels
    drawn = draw_contour(series)
    drawn.draw_without_rendering()
    tops = [round(ax.get_position().y1, 2) for ax in drawn.axes[:panels]]
    assert len(set(tops[:columns])) == 1
    assert tops[columns:] == [] or max(tops[columns:]) < tops[0]
    # A column is numbered below its last panel.
    numbered = [bool(ax.xaxis.get_tick_params()["labelbottom"]) for ax in drawn.axes[:panels]]
    assert numbered == [place + columns >= panels for place in range(panels)]


def test_title_says_name_centre_and_what_is_missing(build: Build) -> None:
    drawn = draw_contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=20)))
    assert drawn.axes[0].get_title() == "standard\nloss 0.25 at the centre\npartial: 20 of 35 points"
    assert "not computed yet" in legend(drawn)


def test_the_centre_is_not_named_before_it_is_known(build: Build) -> None:
    drawn = draw_contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=10)))
    assert "centre" not in drawn.axes[0].get_title()


def test_the_axes_say_what_was_measured_of_the_directions(build: Build) -> None:
    results = build.surface(lambda x, y: 1 + x + y).assign_attrs(x_explained_variance=0.713, y_eigenvalue=12.5)
    first, second, _ = draw_contour(build.series(results, results)).axes
    assert first.get_xlabel() == "x (units of d)\n71.3% of the variance"
    assert first.get_ylabel() == "y (units of d)\neigenvalue 12.5"
    assert second.get_ylabel() == "eigenvalue 12.5"


def test_the_title_says_what_is_not_usual_of_the_protocol(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    usual, other = (
        plane.assign_attrs(split="train", batch_norm="frozen"),
        plane.assign_attrs(split="test", batch_norm="batch"),
    )
    first, second, _ = draw_contour(build.series(usual, other)).axes
    assert first.get_title() == "standard\nloss 1 at the centre"
    assert second.get_title() == "batchnorm\nloss 1 at the centre\ntest set\nBatchNorm: batch"


def test_panels_are_square(build: Build) -> None:
    drawn = draw_heatmap(build.series(*[build.surface(lambda x, y: 1 + x + y)] * 3))
    drawn.draw_without_rendering()
    for ax in drawn.axes[:3]:
        assert ax.bbox.width == pytest.approx(ax.bbox.height, rel=1e-3)


def test_panels_of_the_same_range_share_their_numbers(build: Build) -> None:
    drawn = draw_heatmap(build.series(*[build.surface(lambda x, y: 1 + x + y)] * 2))
    left, right, _ = drawn.axes
    assert left.get_ylabel() == "y (units of d)"
    assert right.get_ylabel() == ""
    assert not right.yaxis.get_tick_params()["labelleft"]
