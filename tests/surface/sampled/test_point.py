import numpy as np
import pytest

from lossviz.surface.sampled.estimator import Values
from lossviz.surface.sampled.point import SHARE_OF_HARDEST, PointSample

N, PILOT = 5000, 128


@pytest.fixture
def losses() -> tuple[Values, Values]:
    """In full precision, and in a low one that errs by a tenth on those above 5."""
    generator = np.random.default_rng(0)
    values = np.stack([generator.gamma(2, size=N), generator.random(N) < 0.3], axis=1)
    return values, values * np.where(values[:, :1] > 5, 1.1, 1.0)


def point(values: Values, low: Values, k: int) -> PointSample:
    """One that needs its hardest examples, of the first k."""
    found = PointSample(values.__getitem__, low.__getitem__, N, values[:PILOT])
    assert found.try_low_precision()
    found.look(k)
    found.correct(wanted=0.02, aim=k)
    assert found.hardest is not None
    return found


def test_the_hardest_are_seen_in_full_precision(losses: tuple[Values, Values]) -> None:
    values, low = losses
    found = point(values, low, 1000)
    hardest = np.argsort(-low[:1000, 0])[: round(SHARE_OF_HARDEST * 1000)]
    assert (found.own[hardest] == values[hardest]).all()
    others = np.setdiff1d(np.arange(1000), hardest)
    assert (found.own[others] == low[others]).all()
    assert found.precise == len(found.values) + (hardest >= len(found.values)).sum()


def test_the_hardest_of_more_examples_are_others(losses: tuple[Values, Values]) -> None:
    values, low = losses
    low[4000:, 0] *= np.where(values[4000:, 0] > 4, 2, 1)
    found = point(values, low, 1000)
    found.look(N)
    assert len(found.own) == N
    found.correct(wanted=0.01, aim=N)
    hardest = np.argsort(-low[:, 0])[: round(SHARE_OF_HARDEST * N)]
    assert found.rough is not None
    assert (found.own[hardest] == values[hardest]).all()


def test_a_loss_that_is_not_finite_comes_after_the_hardest_were_seen(losses: tuple[Values, Values]) -> None:
    values, low = losses
    low[1500, 0] = np.inf
    found = point(values, low, 1000)
    found.look(2000)
    found.correct(wanted=0.02, aim=2000)
    assert np.isinf(found.own[1500, 0])
    found.leave_low_precision()
    assert (found.own == values[:2000]).all()
    assert found.precise == 2000
    values[1999] = np.nan
    late = point(values, losses[1], 1000)
    late.leave_low_precision()
    late.look(2000)
    assert np.isnan(late.own[1999, 0])


def test_an_error_that_others_may_have_is_added(losses: tuple[Values, Values]) -> None:
    """In proportion the largest of the hardest, a tenth, on the largest loss that is left."""
    values, low = losses
    found = point(values, low, 1000)
    smallest = np.sort(low[:1000, 0])[-round(SHARE_OF_HARDEST * 1000)]
    assert found.worst**0.5 == pytest.approx(smallest * (1 - 1 / 1.1))


def test_the_low_precision_is_left_where_the_hardest_are_no_longer_above_zero(losses: tuple[Values, Values]) -> None:
    """Six in a hundred of the first examples have a loss, and fewer of the later ones: at a trained centre most are 0.

    Relative to a loss of zero no error is a finite one.
    """
    values, low = losses
    some = np.arange(N) % 100 < 6
    some[1000:] = np.arange(1000, N) % 100 < 3
    values[~some], low[~some] = 0.0, 0.0
    low[:, 0] *= 1 + 0.24 * np.random.default_rng(1).standard_normal(N)
    found = point(values, low, 1000)
    found.look(3000)
    found.correct(wanted=0.02, aim=3000)
    assert (found.rough, found.hardest) == (None, None)
    assert (found.own == values[:3000]).all()
