"""Libraries that only an extra of lossviz installs."""

from collections.abc import Iterator
from contextlib import contextmanager

from lossviz.errors import Refusal, RequestError


@contextmanager
def needing_extra(extra: str, what: str) -> Iterator[None]:
    """Explain a failing import of a library that only an extra installs.

    Args:
        extra: its name, as in pip install 'lossviz[extra]'.
        what: needs it.

    Raises:
        RequestError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise RequestError(Refusal(what, problem, advice=f"pip install 'lossviz[{extra}]'")) from error
