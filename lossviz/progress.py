"""What a person sees while work goes on: a bar on a terminal, a line now and then otherwise."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 15.0


class Report:
    """Talks to the person at the command line.

    Args:
        quiet: say only errors.
        rank: of several processes the first one, 0, speaks for all; the others say what happened to them alone.
    """

    def __init__(self, quiet: bool = False, rank: int = 0) -> None:
        self.quiet = quiet or rank > 0
        self._mute, self._rank = quiet, rank
        self.console = Console(highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """One plain line on standard output."""
        if not self.quiet:
            self.console.print(Text(line))

    def say_own(self, line: str) -> None:
        """One plain line about this process, which another one could not say."""
        if not self._mute:
            self.console.print(Text(f"process {self._rank}: {line}" if self._rank else line))

    @contextmanager
    def track(self, what: str, total: int, unit: str, done: int = 0) -> Iterator["Track"]:
        """Follow work of `total` units, of which `done` were finished before."""
        if self.quiet or not self.console.is_terminal:
            yield Track(None if self.quiet else self, what, total, unit, done)
            return
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        with Progress(*columns, console=self.console) as bar:
            yield Bar(bar, what, total, unit, done)


class Track:
    """Progress as plain lines, one every 15 seconds, for logs and batch systems."""

    def __init__(self, report: Report | None, what: str, total: int, unit: str, done: int) -> None:
        self.report, self.what, self.total, self.unit = report, what, total, unit
        self.first = self.done = done
        self.state = ""
        self.started = self.last_line = time.monotonic()

    def advance(self) -> None:
        """One more unit is finished."""
        self.reach(self.done + 1)

    def each(self, units: Sequence[T]) -> Iterator[T]:
        """One after another; each is finished when the next one is asked for."""
        for unit in units:
            yield unit
            self.advance()

    def reach(self, done: int, state: str = "") -> None:
        """Set the number of finished units, and how the work goes beside that."""
        self.done, self.state = done, state
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            self._show()

    def rate(self) -> float:
        """Units a second since the start of this command."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def _show(self) -> None:
        if self.report:
            done = f"{self.done:,} of {self.total:,} {self.unit}"
            rate, state = self.rate(), f", {self.state}" if self.state else ""
            pace = f", {rate:.3g}/s, {duration((self.total - self.done) / rate)} left" if rate else ""
            self.report.say(f"{self.what}: {done}{pace}{state}")


class Bar(Track):
    """Progress as a bar with rate and time left."""

    def __init__(self, bar: Progress, what: str, total: int, unit: str, done: int) -> None:
        super().__init__(None, what, total, unit, done)
        self.bar = bar
        self.task = bar.add_task(what, total=total, completed=done, rate="")

    def reach(self, done: int, state: str = "") -> None:
        """Set the number of finished units, and how the work goes beside that."""
        self.done = done
        rate = ", ".join(filter(None, [f"{self.rate():.3g} {self.unit}/s", state]))
        self.bar.update(self.task, completed=self.done, rate=rate)


def duration(seconds: float) -> str:
    """h:mm:ss, or m:ss.

    Example:
        >>> duration(3725)
        '1:02:05'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
