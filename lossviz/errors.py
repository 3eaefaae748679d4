"""Refusals as values: each is one readable line or short block, with an exit status."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from textwrap import indent
from typing import NoReturn

import yaml

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Refusal:
    """One thing that is wrong, and what would be right; `str` renders it, and nothing else does.

        PLACE: SUBJECT = GIVEN: PROBLEM
          accepted: ACCEPTED
          ADVICE

    Attributes:
        subject: what is wrong: a key of the configuration, an option, a file, a run folder.
        problem: what is wrong with it; empty where `accepted` says it.
        given: the value that was given, if any.
        accepted: the values that would be right.
        advice: what to try.
        also: other keys of the configuration that have a part in it.
        place: where it was written, such as a file and its line.

    Example:
        >>> print(Refusal("train.lr", given=-1, accepted="a number above 0", place="mine.yaml, line 4"))
        mine.yaml, line 4: train.lr = -1
          accepted: a number above 0
    """

    subject: str | Keys
    problem: str = ""
    given: object = None
    accepted: str = ""
    advice: str = ""
    also: tuple[str, ...] = ()
    place: str = ""

    @property
    def keys(self) -> Keys:
        """The subject as a path of keys."""
        return tuple(self.subject.split(".")) if isinstance(self.subject, str) else self.subject

    def at(self, place: str) -> "Refusal":
        """The same refusal with the place where the value was written."""
        return replace(self, place=place)

    def __str__(self) -> str:
        subject = self.subject if isinstance(self.subject, str) else spell(self.subject)
        value = "" if self.given is None else f" = {show(self.given)}"
        head = ": ".join(filter(None, (self.place, f"{subject}{value}", self.problem)))
        accepted = f"accepted: {self.accepted}" if self.accepted else ""
        return "\n".join([head, *(indent(each, "  ") for each in (accepted, self.advice) if each)])


class LossvizError(Exception):
    """An error that the user can act on; printed without a traceback.

    Args:
        refusals: what is wrong; a text stands for a refusal without parts.
    """

    exit_status = 1

    def __init__(self, *refusals: Refusal | str) -> None:
        super().__init__(*refusals)
        self.refusals = tuple(Refusal(each) if isinstance(each, str) else each for each in refusals)

    def __str__(self) -> str:
        return "\n".join(dict.fromkeys(map(str, self.refusals)))


class RequestError(LossvizError):
    """The request is wrong: usage, configuration, or a file that is missing or does not fit."""

    exit_status = 2


class WorkError(LossvizError):
    """The request was fine and the work failed: a full disk, a damaged file, a busy run folder."""


def refuse(
    subject: str | Keys, problem: str = "", *, given: object = None, accepted: str = "", advice: str = ""
) -> NoReturn:
    """Raise a `RequestError` of one refusal."""
    raise RequestError(Refusal(subject, problem, given, accepted, advice))


@contextmanager
def needing_extra(extra: str, what: str) -> Iterator[None]:
    """Explain a failing import of a library that only an extra installs.

    Args:
        extra: its name, as in pip install 'lossviz[extra]'.
        what: needs it.

    Raises:
        RequestError: it is not installed, or its own configuration is damaged.
    """
    try:
        yield
    except ValueError as error:  # a file in ~/.config/dask, for example
        raise RequestError(Refusal(what, f"cannot be had: {first_line(error)}")) from error
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError)
        problem = f"needs {error.name}, which is not installed" if absent else f"cannot be had: {first_line(error)}"
        raise RequestError(Refusal(what, problem, advice=f"pip install 'lossviz[{extra}]'")) from error


def show(value: object) -> str:
    """A value as it would stand in a configuration file, on one line.

    At most 80 characters, or 200 of text, which may be the path of a file; a `Path` is shown whole.
    """
    value = list(value) if isinstance(value, tuple) else value
    try:
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    except yaml.representer.RepresenterError:  # no value of YAML, such as a Path
        return str(value)
    text = text.removesuffix("\n").removesuffix("\n...")
    if "\n" in text:
        text = json.dumps(value, ensure_ascii=False)
    most = 200 if isinstance(value, str) else 80
    return text if len(text) <= most else text[: most - 3] + "..."


def spell(keys: Keys) -> str:
    """A path of keys as people write it: `probe.lengths[2]`.

    Example:
        >>> spell(("probe", "lengths", 2))
        'probe.lengths[2]'
    """
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def either(words: Sequence[str]) -> str:
    """`a, b or c`.

    Example:
        >>> either(["digits", "cifar10", "gaussian"])
        'digits, cifar10 or gaussian'
    """
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(wrong: Sequence[str], known: Iterable[str]) -> str:
    """The end of a problem: the known names nearest to the wrong ones; empty where none is near.

    Example:
        >>> did_you_mean(["quickstrat"], ["quickstart", "resnet-fig4"])
        '; did you mean quickstart?'
    """
    names = list(known)
    near = dict.fromkeys(name for each in wrong for name in get_close_matches(each, names, n=1))
    return f"; did you mean {', '.join(near)}?" if near else ""
