import pytest

from lossviz.errors import RequestError
from lossviz.plot.kit.extras import needing_extra


def test_what_an_extra_lacks_is_named_with_the_command_that_adds_it() -> None:
    with (
        pytest.raises(
            RequestError, match=r"^figure x: needs vtk, which is not installed\n  pip install 'lossviz\[v\]'$"
        ),
        needing_extra("v", "figure x"),
    ):
        raise ModuleNotFoundError(name="vtk")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), needing_extra("v", "figure x"):
        raise ZeroDivisionError
