from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from lossviz.plot.kit.cells import finest_lattice, lattice, layers
from lossviz.plot.series import scan_note
from lossviz.results import SurfaceResults
from tests.plot.conftest import Build


def coarse_to_fine(count: int) -> list[NDArray[np.intp]]:
    """Lattices of an axis, from the middle and with both ends, each half as wide as the one before."""
    middle, every = (count - 1) // 2, np.arange(count)
    strides = [2**k for k in range(10) if 2**k <= middle][::-1]
    return [every[((every - middle) % stride == 0) | (every == 0) | (every == count - 1)] for stride in strides]


def gap(places: NDArray[np.intp], count: int) -> int:
    return int(np.diff(np.r_[0, places, count - 1]).max())


@pytest.mark.parametrize(("rows", "columns"), [(51, 51), (20, 20), (17, 17)])
@pytest.mark.parametrize("share", [0.05, 0.35, 0.65, 0.95])
def test_a_scan_in_progress_shows_at_least_its_last_complete_lattice(rows: int, columns: int, share: float) -> None:
    levels = list(zip(coarse_to_fine(rows), coarse_to_fine(columns), strict=True))
    for done, following in pairwise(levels):
        known = np.zeros((rows, columns), bool)
        known[np.ix_(*done)] = True
        further = [(i, j) for i in following[0] for j in following[1] if not known[i, j]]
        for index in further[: int(share * len(further))]:
            known[index] = True
        found = finest_lattice(known)
        assert known[np.ix_(*found)].all()
        for places, count, coarse in zip(found, known.shape, done, strict=True):
            assert gap(places, count) <= gap(coarse, count)


def test_a_hole_costs_no_more_than_its_row_or_column() -> None:
    known = np.zeros((21, 21), bool)
    known[::2, ::2] = True
    known[8, 12] = False
    rows, columns = finest_lattice(known)
    assert known[np.ix_(rows, columns)].all()
    assert len(rows) * len(columns) == 110
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 20, 0, 20)


def test_what_an_extended_scan_had_before_is_shown() -> None:
    known = np.zeros((31, 31), bool)
    known[10:21, 10:21] = True
    for found in finest_lattice(known):
        np.testing.assert_array_equal(found, np.arange(10, 21))


def test_every_third_point_of_a_refined_scan_is_a_lattice() -> None:
    known = np.zeros((31, 16), bool)
    known[::3, ::3] = True
    rows, columns = finest_lattice(known)
    np.testing.assert_array_equal(rows, np.arange(0, 31, 3))
    np.testing.assert_array_equal(columns, np.arange(0, 16, 3))


def test_rows_in_order_are_shown_as_far_as_they_are(build: Build) -> None:
    results = build.surface(lambda x, y: 1 + x + y, x=7, y=5, done=14)
    inner = lattice(results)
    np.testing.assert_array_equal(inner.y, results.y[:2])
    np.testing.assert_array_equal(inner.loss, results.loss[:2])


@pytest.mark.parametrize("done", [None, 1, 7])
def test_a_complete_plane_and_one_without_a_lattice_stay_as_they_are(build: Build, done: int | None) -> None:
    results = build.surface(lambda x, y: 1 + x + y, x=7, y=5, done=done)
    assert layers(results) == [results]


def test_the_note_groups_digits(build: Build) -> None:
    results = build.surface(lambda x, y: x, x=51, y=51, done=1081)
    assert scan_note(SurfaceResults(results)) == "partial: 1,081 of 2,601 points"
