import math

import numpy as np
import pytest
import xarray as xr

from lossviz.results import difference_stderr
from lossviz.surface.sampled.estimator import FOR_STOPPING, GROUPS, LARGEST_SKEWNESS, estimate, gap, needed

N = 5000


@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("with_control", [True, False])
def test_the_estimate_has_the_variance_of_means_of_nested_prefixes(scale: float, with_control: bool) -> None:
    """Against 4,000 ways to draw nested samples: the mean and the variance of the estimator, not of one estimate.

    Also where the low precision varies less than the full one, and so does what it leaves to the control variate.
    """
    generator = np.random.default_rng(0)
    exact, control = generator.gamma(1, size=400), generator.gamma(1, size=400)
    low, control = scale * exact + 0.05 * generator.standard_normal(400), 0.4 * exact + 0.2 * control
    found = []
    for _ in range(4000):
        order = generator.permutation(400)
        parts = exact[order[:60]], low[order[:120]], control[order[:240]]
        found.append(estimate(parts[0], 400, parts[1], parts[2] if with_control else None))
    means = np.array([each.mean for each in found])
    variances = np.array(
        [(each.stderr / (1 + FOR_STOPPING * min(each.skewness, LARGEST_SKEWNESS))) ** 2 for each in found]
    )
    assert abs(means.mean() - exact.mean()) < 4 * means.std() / 4000**0.5
    assert variances.mean() == pytest.approx(means.var(), rel=0.06)


def test_all_examples_are_exact() -> None:
    values = np.random.default_rng(0).gamma(0.1, size=300)
    found = estimate(values, 300)
    assert (found.mean, found.stderr) == (values.mean(), 0)
    assert not found.deviations.any()


@pytest.mark.parametrize(("fewer", "more"), [(300, 300), (300, 600), (2500, 4000), (3500, 4000), (2500, N)])
def test_deviations_give_the_error_of_a_difference(fewer: int, more: int) -> None:
    """Of two points that share their examples: the standard deviation of the difference over many orders."""
    generator = np.random.default_rng(1)
    one = generator.gamma(2, size=N)
    two = one + 0.1 * generator.standard_normal(N)
    differences, squares, naive = [], [], []
    for _ in range(400):
        order = generator.permutation(N)
        a, b = estimate(one[order[:fewer]], N), estimate(two[order[:more]], N)
        differences.append(a.mean - b.mean)
        points = (
            xr.Dataset(
                {"loss_deviation": ("group", each.deviations), "examples": n, "precise_examples": n},
                attrs={"examples": N},
            )
            for each, n in ((a, fewer), (b, more))
        )
        squares.append(float(difference_stderr(*points)) ** 2)
        naive.append(math.hypot(a.stderr, b.stderr))
        assert len(a.deviations) == GROUPS
        assert np.linalg.norm(a.deviations) == pytest.approx(a.stderr)
    assert np.mean(squares) ** 0.5 == pytest.approx(np.std(differences), rel=0.15)
    if fewer == more:
        assert np.mean(squares) ** 0.5 < 0.1 * np.mean(naive)


@pytest.mark.parametrize("shared", [1.0, -1.0], ids=["alike", "opposite"])
@pytest.mark.parametrize(("few", "more"), [(600, 600), (600, 1500)])
def test_deviations_of_points_that_saw_all_in_a_low_precision(few: int, more: int, shared: float) -> None:
    """Their errors are those of the examples in full precision: two of one sign nearly vanish in a difference."""
    generator = np.random.default_rng(1)
    one, noise = generator.gamma(2, size=N), 0.05 * generator.standard_normal(N)
    two = one * (1 + 0.1 * generator.standard_normal(N))
    differences, squares = [], []
    for _ in range(300):
        order = generator.permutation(N)
        points = [
            (estimate(each[order[:n]], N, low[order]), n)
            for each, low, n in ((one, one * (1 + noise), few), (two, two * (1 + shared * noise), more))
        ]
        differences.append(points[0][0].mean - points[1][0].mean)
        given = [
            xr.Dataset(
                {"loss_deviation": ("group", each.deviations), "examples": N, "precise_examples": n},
                attrs={"examples": N},
            )
            for each, n in points
        ]
        squares.append(float(difference_stderr(*given)))
    # The error of each is made 3 to 15 % longer on purpose.
    assert np.std(differences) < np.mean(squares) < 1.35 * np.std(differences)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1 / 3])
def test_equal_values_have_no_variance(value: float) -> None:
    """The mean of equal numbers is rounded; what is left of them is nothing to estimate a variance from."""
    found = estimate(np.full(128, value), 1000)
    assert (found.stderr, found.skewness) == (0, math.inf)


def test_the_gap_grows_with_what_the_low_precision_saw_beyond_the_first() -> None:
    """Errors in proportion to the loss, and first examples that are a third as large as the others."""
    generator = np.random.default_rng(0)
    values = generator.gamma(2, size=N) * np.where(np.arange(N) < 500, 1, 3)
    low = values * (1 + 0.1 * generator.standard_normal(N))
    expected = (values - low).var(ddof=1)
    assert expected < gap(values[:500], low) < 1.5 * expected
    assert gap(values[:500], low[:500]) < 0.2 * expected


def test_a_worst_error_is_that_of_one_more_example() -> None:
    values, low = np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 2.5, 3.0, 4.5])
    apart = values - low - (values - low).mean()
    assert gap(values, low, worst=4.0) == pytest.approx((apart @ apart + 4.0) / 4)


@pytest.mark.parametrize("wanted", [0.5, 0.1, 0.02])
def test_needed_examples_give_the_wanted_error(wanted: float) -> None:
    values = np.random.default_rng(0).gamma(2, size=N)
    count = round(needed(values, N, wanted))
    expected = math.sqrt((1 / count - 1 / N) * values.var(ddof=1))
    assert expected == pytest.approx(wanted, rel=0.2 if count < 20 else 0.05)
