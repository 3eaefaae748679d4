"""Coarse to fine: after a sixteenth of the work the whole range can be looked at."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossviz.surface.order import coarse_to_fine

SHAPES = [(51, 51), (101, 101), (51, 25), (7, 101), (101,), (401,), (20, 33)]


def landmarks(count: int) -> set[int]:
    """Both ends and the middle of an axis; of an even number of points, either middle."""
    return {0, (count - 1) // 2, count - 1}


@given(st.lists(st.integers(2, 40), min_size=1, max_size=2))
def test_every_point_once(shape: list[int]) -> None:
    order = coarse_to_fine(shape)
    assert sorted(order) == list(product(*(range(count) for count in shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_whole_range_is_in_the_first_sixteenth(shape: tuple[int, ...]) -> None:
    """Ends and middle of each axis with ends and middle of the other, and the same number of points all over."""
    order = coarse_to_fine(shape)
    first = set(order[: len(order) // 16])
    assert set(product(*(landmarks(count) for count in shape))) <= first


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 2), (3, 3), (2, 3), (3, 2), (2, 51), (51, 3)])
def test_tiny_axes_are_whole_from_the_beginning(shape: tuple[int, ...]) -> None:
    """An axis of two or three points has no coarser lattice: all of it is seen with ends and middle of the other."""
    order = coarse_to_fine(shape)
    coarsest = list(product(*(sorted(landmarks(count)) for count in shape)))
    assert set(coarsest) <= set(order[: max(len(coarsest), len(order) // 4)])


@given(st.lists(st.integers(2, 60), min_size=1, max_size=2))
def test_lattices_are_nested_and_even(shape: list[int]) -> None:
    """However far the scan is, some stride 2^k is complete and nothing finer than 2^(k-1) was begun."""
    order = coarse_to_fine(shape)
    strides = [2**k for k in range(6, -1, -1)]

    def lattice(stride: int) -> set[tuple[int, ...]]:
        axes = []
        for count in shape:
            own = min(stride, 2 ** (max((count - 1) // 2, 1).bit_length() - 1))
            middle = (count - 1) // 2
            axes.append(sorted({0, count - 1, *range(middle % own, count, own)}))
        return set(product(*axes))

    sizes = [len(lattice(stride)) for stride in strides]
    for stride, size in zip(strides, sizes, strict=True):
        assert set(order[:size]) == lattice(stride)
    assert sizes[-1] == len(order)


def test_the_lattice_of_stride_8_on_51_x_51() -> None:
    """What the documentation promises: 9 x 9 points after 3 % of the work."""
    order = coarse_to_fine((51, 51))
    rows = [0, 1, 9, 17, 25, 33, 41, 49, 50]
    assert set(order[:81]) == set(product(rows, rows))
    assert 81 / len(order) < 0.032


def test_rows_are_gone_through_one_after_another() -> None:
    """Within a lattice; for whoever watches the picture grow."""
    order = coarse_to_fine((9, 9))
    assert order[:9] == list(product((0, 4, 8), (0, 4, 8)))
