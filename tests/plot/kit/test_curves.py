import numpy as np

from lossviz.plot.kit.curves import block_means, running_mean, window_of


def test_running_mean_passes_over_what_is_not_finite() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.5, 1.5, 3.0, 4.5, 5.0, 5.5])


def test_running_mean_is_that_of_each_window() -> None:
    values = np.random.default_rng(0).normal(size=23)
    for window in (1, 2, 5, 8, 22, 23):
        reach = (window // 2, (window - 1) // 2)  # to the left and to the right
        windows = [values[max(i - reach[0], 0) : i + reach[1] + 1] for i in range(23)]
        np.testing.assert_allclose(running_mean(values, window), [each.mean() for each in windows], rtol=1e-12)


def test_a_huge_value_leaves_no_trace_beyond_its_windows() -> None:
    values = np.ones(50)
    values[20] = 1e30
    np.testing.assert_array_equal(running_mean(values, 4)[25:], 1)


def test_block_means_follow_one_another_and_a_short_last_block_joins_the_one_before() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0, 7.0, 9.0, 4.0])
    for window, centres, means in ((3, [1, 4.5], [2, 25 / 4]), (4, [1.5, 5], [3, 20 / 3]), (5, [3], [29 / 6])):
        found = block_means(values, window)
        np.testing.assert_array_equal(found[0], centres)
        np.testing.assert_allclose(found[1], means, rtol=1e-15)


def test_blocks_may_be_empty_or_unknown() -> None:
    assert [len(each) for each in block_means(np.empty(0), 5)] == [0, 0]
    assert np.isnan(block_means(np.full(2, np.nan), 5)[1]).all()


def test_only_many_values_are_averaged() -> None:
    assert [window_of(values) for values in (1, 99, 100, 15000)] == [1, 1, 4, 600]
