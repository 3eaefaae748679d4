from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossviz.plot.kit.labels import keep_apart, keep_off_curves, name_beside


def panel() -> tuple[Figure, Axes]:
    drawn = Figure(figsize=(3, 3))
    ax = drawn.subplots()
    ax.set(xlim=(-1, 1), ylim=(0, 1))
    return drawn, ax


# A curve that runs right and above, one that runs left and above, and both: the names go where there is none.
@pytest.mark.parametrize(
    ("curves", "side"),
    [
        ([], ("left", "bottom")),
        ([(0, 0.15)], ("left", "top")),
        ([(0, 0.15), (0, -0.15)], ("right", "bottom")),
        ([(0, 0.15), (0, -0.15), (-1, 0.15)], ("right", "top")),
    ],
)
def test_a_name_goes_to_the_first_side_without_a_curve(
    curves: Sequence[tuple[int, float]], side: tuple[str, str]
) -> None:
    drawn, ax = panel()
    name = name_beside(ax, 0, 0.5, "step 40")
    for far, rise in curves:
        ax.plot([0, 1 if far == 0 else -1], [0.5, 0.5 + rise])
    keep_off_curves(drawn, [ax], [[name]])
    assert (name.get_horizontalalignment(), name.get_verticalalignment()) == side


def test_curves_of_the_second_axis_count_and_a_farther_place_is_taken() -> None:
    drawn, ax = panel()
    right = ax.twinx()
    right.set_ylim(0, 100)
    # A line just above and one just below: all near places touch one of them.
    for percent in (47, 53):
        right.plot([-1, 1], [percent, percent])
    name = name_beside(ax, 0, 0.5, "step 40")
    keep_off_curves(drawn, [ax], [[name]])
    box = name.get_window_extent()
    for height in (0.47, 0.53):
        _, y = ax.transData.transform((0, height))
        assert not box.y0 <= y <= box.y1


def test_a_name_among_curves_is_kept() -> None:
    drawn, ax = panel()
    for height in np.linspace(0, 1, 60):
        ax.plot([-1, 1], [height, height])
    name = name_beside(ax, 0, 0.5, "step 40")
    keep_off_curves(drawn, [ax], [[name]])
    assert name in ax.texts


def test_names_of_one_place_stand_beside_each_other() -> None:
    drawn, ax = panel()
    names = [name_beside(ax, 0, 0.5, text) for text in ("step 40", "step 50", "step 60")]
    keep_off_curves(drawn, [ax], [names])
    boxes = [name.get_window_extent() for name in names]
    assert not any(box.overlaps(other) for place, box in enumerate(boxes) for other in boxes[:place])


def test_texts_that_would_read_as_one_are_kept_apart() -> None:
    drawn, ax = panel()
    first = name_beside(ax, 0, 0.5, "0.2")
    keep_apart(drawn, [ax], [[first]])
    # Four points right of its place, the second would begin half a pixel after the first.
    after = first.get_window_extent().x1 + 0.5 - 4 * drawn.dpi / 72
    x, _ = ax.transData.inverted().transform((after, 0))
    second = name_beside(ax, x, 0.5, "30")
    keep_apart(drawn, [ax], [[first, second]])
    assert not second.get_window_extent().padded(1).overlaps(first.get_window_extent())
    assert len(ax.texts) == 2
