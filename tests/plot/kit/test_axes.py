import pytest

from lossviz.plot.kit.axes import number


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (0.5, 6, "0.5"),
        (3000.0, 6, "3000"),
        (1e6, 6, "1e6"),
        (2.5e12, 6, "2.5e12"),
        (-0.00003, 6, "−3e−5"),
        (1234.5, 3, "1230"),
        (0.16149, 3, "0.161"),
        (0.0, 3, "0"),
        (float("inf"), 3, "inf"),
    ],
)
def test_numbers_are_short_and_alike(value: float, digits: int, said: str) -> None:
    assert number(value, digits) == said
