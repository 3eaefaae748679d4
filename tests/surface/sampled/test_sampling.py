import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lossviz.surface.sampled.estimator import LARGEST_SKEWNESS, Values
from lossviz.surface.sampled.lattice import interpolate
from lossviz.surface.sampled.sampling import PILOT, SHARE_OF_CONTROL, Accuracy, Sample, sample

N = 5000


def wrong(losses: Values) -> Values:
    return np.stack([losses, losses > math.log(2)], axis=1)


def sampled(
    values: Values,
    accuracy: Accuracy,
    controls: tuple[Values, ...] = (),
    low: Values | None = None,
    unseen_loss: float = 0.0,
) -> Sample:
    rough = None if low is None else low.__getitem__
    return sample(values.__getitem__, len(values), accuracy, controls, rough, unseen_loss)


def surfaces(generator: np.random.Generator) -> Values:
    """Losses of N examples at 5 points of a line, (5, N, 2): cross-entropies of margins that move almost linearly."""
    margin, slope, bend = (generator.standard_normal((3, N)).T * (2, 3, 0.3) + (2, -3, 0)).T
    margins = [margin + x * slope + x * (1 - x) * bend for x in np.linspace(0, 1, 5)]
    return np.stack([wrong(np.logaddexp(0, -each)) for each in margins])


def coverage(found: list[tuple[float, float, float]]) -> float:
    truth, means, errors = np.array(found).T
    return float((np.abs(means - truth) <= 1.96 * errors + 1e-12).mean())


def test_intervals_of_surfaces_hold() -> None:
    """95 % intervals at 10,000 points of surfaces whose truth is known, coarse ones and those beside them."""
    generator, losses, errors, examples = np.random.default_rng(2), [], [], []
    accuracy = Accuracy(relative=0.05)
    values = surfaces(generator)
    for turn in range(2000):
        if turn % 100 == 0:
            values = surfaces(generator)
        mixed = values[:, generator.permutation(N)]
        ends = [sampled(each, accuracy.tighter(SHARE_OF_CONTROL)) for each in (mixed[0], mixed[4])]
        others = [
            sampled(mixed[i], accuracy, tuple(interpolate([end.values for end in ends], [1 - i / 4, i / 4])))
            for i in (1, 2, 3)
        ]
        for each, point in zip((0, 4, 1, 2, 3), (*ends, *others), strict=True):
            truth = values[each].mean(axis=0)
            losses.append((truth[0], point.loss.mean, point.loss.stderr))
            errors.append((truth[1], point.wrong.mean, point.wrong.stderr))
        examples.append([len(each.values) for each in (*ends, *others)])
    assert len(losses) == 10_000
    assert 0.93 <= coverage(losses) <= 0.97
    assert 0.93 <= coverage(errors) <= 0.99
    assert np.mean(examples) < N / 4
    assert np.mean(examples, axis=0)[2:].max() < np.mean(examples, axis=0)[:2].mean()


def heavy(name: str, generator: np.random.Generator) -> Values:
    if name.startswith("lognormal"):
        return generator.lognormal(0, float(name.split()[1]), N)
    if name == "gamma":
        return generator.gamma(0.3, 1, N)
    return np.where(generator.random(N) < 0.01, generator.exponential(3, N), 0.01 * generator.random(N))


@pytest.mark.parametrize("name", ["lognormal 1.5", "lognormal 2", "gamma", "trained centre"])
def test_intervals_of_heavy_tails_hold(name: str) -> None:
    """Where few examples carry the mean: too few of them in a sample also make its variance too small."""
    generator = np.random.default_rng(3)
    found, seen = [], []
    for _ in range(1000):
        values = wrong(heavy(name, generator))
        point = sampled(values, Accuracy(relative=0.1), unseen_loss=math.log(10))
        assert point.precise == N or point.loss.skewness <= LARGEST_SKEWNESS
        found.append((values[:, 0].mean(), point.loss.mean, point.loss.stderr))
        seen.append(len(point.values))
    assert coverage(found) >= 0.93
    assert np.mean(seen) < N or name == "trained centre"


@pytest.mark.parametrize("share", [0.0, 0.002, 0.02, 0.3, 0.98, 0.998, 1.0])
def test_intervals_of_error_rates_hold(share: float) -> None:
    generator, found = np.random.default_rng(4), []
    for _ in range(1000):
        answers = (generator.permutation(N) < share * N).astype(float)
        values = np.stack([1 + 0.5 * generator.standard_normal(N) + answers, answers], axis=1)
        point = sampled(values, Accuracy(relative=0.04))
        found.append((answers.mean(), point.wrong.mean, point.wrong.stderr))
    assert coverage(found) >= 0.93


def test_a_low_precision_is_corrected() -> None:
    """One that is 3 % too high, as a bias that a mean over more examples would not remove."""
    generator, found, precise = np.random.default_rng(5), [], []
    for _ in range(500):
        values = wrong(generator.gamma(2, size=N))
        low = values * (1.03, 1) + (0.02, 0) * generator.standard_normal((N, 2))
        point = sampled(values, Accuracy(relative=0.015), low=low)
        found.append((values[:, 0].mean(), point.loss.mean, point.loss.stderr))
        precise.append(point.precise / len(point.values))
    truth, means, _ = np.array(found).T
    assert abs((means / truth).mean() - 1) < 0.002
    assert 0.93 <= coverage(found) <= 0.98
    assert np.mean(precise) < 0.3


def test_a_low_precision_stays_where_all_examples_are_needed() -> None:
    """One hard example in a hundred: the first ones are easy, and say little of what the low precision errs by."""
    generator, found, precise = np.random.default_rng(5), [], []
    for _ in range(300):
        margins = np.where(generator.random(N) < 0.01, 0, 6) + 2 * generator.standard_normal(N)
        values, low = (
            wrong(np.logaddexp(0, -each)) for each in (margins, margins + 0.02 + 0.05 * generator.standard_normal(N))
        )
        point = sampled(values, Accuracy(relative=0.02), low=low, unseen_loss=math.log(10))
        assert len(point.values) == N
        found.append((values[:, 0].mean(), point.loss.mean, point.loss.stderr))
        precise.append(point.precise / N)
        assert point.loss.stderr <= 0.02 * point.loss.mean
    assert coverage(found) >= 0.93
    assert np.mean(precise) < 0.5


@pytest.mark.parametrize(("spread", "share"), [(0.3, 0.3), (1.0, 1.0)], ids=["in order", "out of order"])
def test_a_low_precision_that_errs_on_hard_examples_is_corrected_there(spread: float, share: float) -> None:
    """On one example in a hundred; if some of these look easy, others may too, and all are seen in full precision."""
    generator, found, precise = np.random.default_rng(6), [], []
    for _ in range(300):
        margins = np.where(generator.random(N) < 0.01, -2, 6) + 2 * generator.standard_normal(N)
        values = wrong(np.logaddexp(0, -margins))
        low = values * np.where(values[:, :1] > 1, 1 + spread * (2 * generator.random((N, 1)) - 1), 1.02)
        point = sampled(values, Accuracy(relative=0.01), low=low, unseen_loss=math.log(10))
        found.append((values[:, 0].mean(), point.loss.mean, point.loss.stderr))
        precise.append(point.precise / N)
    assert coverage(found) >= 0.93
    assert np.mean(precise) <= share


def test_a_low_precision_that_errs_everywhere_is_left() -> None:
    generator, seen = np.random.default_rng(6), [0]
    values = wrong(generator.gamma(0.5, size=N))
    low = values * (1 + 0.3 * generator.standard_normal((N, 1)))

    def rough(places: NDArray[np.intp]) -> Values:
        seen.append(int(places.max()))
        found: Values = low[places]
        return found

    point = sample(values.__getitem__, N, Accuracy(relative=0.002), low=rough)
    assert max(seen) > PILOT  # it was taken first
    assert (point.precise, point.loss.mean, point.loss.stderr) == (N, values[:, 0].mean(), 0)
    assert (point.values == values).all()


def test_a_useless_low_precision_is_not_taken() -> None:
    generator = np.random.default_rng(5)
    values = wrong(generator.gamma(2, size=N))
    point = sampled(values, Accuracy(relative=0.015), low=wrong(generator.gamma(2, size=N)))
    assert point.precise == len(point.values)


def test_accuracy_that_needs_all_takes_all() -> None:
    values = wrong(np.random.default_rng(0).lognormal(0, 3, N))
    point = sampled(values, Accuracy(relative=0.01))
    assert (point.loss.mean, point.loss.stderr) == (values[:, 0].mean(), 0)
    assert point.wrong.mean == values[:, 1].mean()
    assert point.precise == len(point.values) == N


@pytest.mark.parametrize("loss", [0.5, 0.1])
def test_equal_losses_are_not_trusted(loss: float) -> None:
    """A sample without any variance says nothing of what it has not seen."""
    assert sampled(wrong(np.full(N, loss)), Accuracy(relative=0.05)).precise == N


@pytest.mark.parametrize("place", [7, 150, 300, 600, N - 1])
@pytest.mark.parametrize("where", ["full", "low"])
def test_a_loss_may_be_finite_in_one_precision_alone(place: int, where: str) -> None:
    """In full precision it is what it is, where it was seen; in the low one it is no reason for an infinite mean."""
    generator = np.random.default_rng(0)
    values = wrong(generator.lognormal(0, 1.5, N))
    low = values * (1 + 0.01 * generator.standard_normal((N, 1)))
    (values if where == "full" else low)[place, 0] = math.inf
    point = sampled(values, Accuracy(relative=0.02), low=low)
    if where == "low":
        assert math.isfinite(point.loss.mean)
        assert point.loss.stderr <= 0.02 * point.loss.mean
    elif point.precise > place:
        assert (point.loss.mean, math.isnan(point.loss.stderr)) == (math.inf, True)
    else:
        assert math.isfinite(point.loss.mean)


@pytest.mark.parametrize("total", [PILOT + 1, 200, 511])
def test_a_small_split_is_not_tried_in_a_low_precision(total: int) -> None:
    values = wrong(np.random.default_rng(0).lognormal(0, 2, total))
    assert sampled(values, Accuracy(relative=0.02), low=np.full_like(values, math.nan)).precise == total


def test_nothing_is_estimated_from_what_is_not_finite() -> None:
    values = wrong(np.random.default_rng(0).gamma(2, size=N))
    values[7, 0] = math.inf
    point = sampled(values, Accuracy(relative=0.05))
    assert point.loss.mean == math.inf
    assert math.isnan(point.loss.stderr)
    assert len(point.values) == PILOT


@pytest.mark.parametrize("rough", [False, True])
def test_losses_without_right_answers_are_sampled_alike(rough: bool) -> None:
    """Of vectors, or of a loss of the model, no answer is right or wrong: that says nothing of the losses."""
    values = wrong(np.random.default_rng(0).gamma(2, size=N))
    low = values * (1 + 1e-3 * np.random.default_rng(1).standard_normal((N, 1))) if rough else None
    alone = np.stack([values[:, 0], np.full(N, math.nan)], axis=1)
    control = np.stack([values[:, 0] ** 1.1, np.full(N, math.nan)], axis=1)
    accuracy = Accuracy(relative=0.02)
    there = sampled(values, accuracy, (control,), low)
    here = sampled(alone, accuracy, (control,), None if low is None else np.stack([low[:, 0], alone[:, 1]], axis=1))
    assert (here.loss.mean, here.loss.stderr, here.precise) == (there.loss.mean, there.loss.stderr, there.precise)
    assert 0 < here.loss.stderr <= accuracy.at(here.loss.mean)
    assert math.isnan(here.wrong.mean)
    assert math.isnan(here.wrong.stderr)


def test_a_wrong_control_variate_costs_nothing() -> None:
    generator = np.random.default_rng(0)
    values, other = wrong(generator.gamma(2, size=N)), wrong(generator.gamma(2, size=N))
    accuracy = Accuracy(relative=0.05)
    assert np.array_equal(sampled(values, accuracy, (other,)).values, sampled(values, accuracy).values)
