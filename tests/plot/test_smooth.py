import numpy as np

from lossviz.plot.smooth import running_mean, window_of


def test_running_mean_passes_over_what_is_not_finite() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.5, 1.5, 3.0, 4.5, 5.0, 5.5])


def test_only_many_values_are_averaged() -> None:
    assert [window_of(values) for values in (1, 99, 100, 15000)] == [1, 1, 4, 600]
