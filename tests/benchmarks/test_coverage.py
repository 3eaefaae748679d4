"""How the coverage of intervals is counted, against cases that can be counted by hand."""

import math

import numpy as np
import pytest

from benchmarks.coverage import POPULATIONS, PROCEDURES, N, covered, naive, of_population, of_surfaces, table
from lossviz.surface.sampled.sampling import PILOT


def test_exact_points_count_apart() -> None:
    """Of four intervals one is exact, two hold, and one misses by two standard errors."""
    found = covered([(1.0, 1.0, 0.0, 100), (1.0, 1.1, 0.1, 10), (1.0, 0.9, 0.1, 10), (1.0, 1.2, 0.1, 20)])
    assert (found.holds, found.exact, found.seen) == (0.75, 0.25, 35)
    assert found.estimated == pytest.approx(2 / 3)
    assert found.bias == pytest.approx((1 - 1 + 2) / 3)


def test_where_all_are_exact_nothing_else_is_said() -> None:
    found = covered([(1.0, 1.0, 0.0, 100)])
    assert (found.holds, found.exact) == (1, 1)
    assert math.isnan(found.estimated)
    assert "| losses | 100.0% | 100% | nan% | +nan | 100 |" in table({"losses": {"lossviz": found}})


def test_the_naive_sample_stops_at_its_first_small_error() -> None:
    assert naive(3 + np.random.default_rng(0).standard_normal(N))[2] == PILOT
    assert naive(np.random.default_rng(0).lognormal(0, 3, N))[2] > PILOT


def test_every_procedure_has_its_numbers() -> None:
    found = of_population(POPULATIONS["gamma 0.3"], 3)
    assert list(found) == list(PROCEDURES)
    assert found["mixed"].seen < found["lossviz"].seen
    exact, mixed = (of_surfaces(10, mixed=mixed) for mixed in (False, True))
    assert exact["between them"].seen < exact["coarse points"].seen
    assert mixed["coarse points"].seen < exact["coarse points"].seen
