import math

import numpy as np
import pytest
import xarray as xr

from lossviz.results import difference_stderr
from lossviz.surface.estimator import FOR_STOPPING, GROUPS, LARGEST_SKEWNESS, estimate, needed

N = 5000


def test_the_estimate_is_the_sum_of_means_with_the_variance_of_nested_prefixes() -> None:
    """Against all ways to draw nested samples: the mean and the variance of the estimator, not of one estimate."""
    generator = np.random.default_rng(0)
    exact, control = generator.gamma(1, size=400), generator.gamma(1, size=400)
    low, control = exact + 0.05 * generator.standard_normal(400), 0.8 * exact + 0.2 * control
    found = []
    for _ in range(4000):
        order = generator.permutation(400)
        parts = exact[order[:60]], low[order[:120]], control[order[:240]]
        found.append(estimate(parts[0], 400, parts[1], parts[2]))
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
            xr.Dataset({"loss_deviation": ("group", each.deviations), "examples": n}, attrs={"examples": N})
            for each, n in ((a, fewer), (b, more))
        )
        squares.append(float(difference_stderr(*points)) ** 2)
        naive.append(math.hypot(a.stderr, b.stderr))
        assert len(a.deviations) == GROUPS
        assert np.linalg.norm(a.deviations) == pytest.approx(a.stderr)
    assert np.mean(squares) ** 0.5 == pytest.approx(np.std(differences), rel=0.15)
    if fewer == more:
        assert np.mean(squares) ** 0.5 < 0.1 * np.mean(naive)


@pytest.mark.parametrize("wanted", [0.5, 0.1, 0.02])
def test_needed_examples_give_the_wanted_error(wanted: float) -> None:
    values = np.random.default_rng(0).gamma(2, size=N)
    count = round(needed(values, N, wanted))
    expected = math.sqrt((1 / count - 1 / N) * values.var(ddof=1))
    assert expected == pytest.approx(wanted, rel=0.2 if count < 20 else 0.05)
