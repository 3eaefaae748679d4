"""What a person sees while work goes on: a bar on a terminal, a line now and then otherwise."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
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
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        with Progress(*columns, console=self.console) as bar:
            yield Bar(bar, what, total, unit, done)


class Track:
    """Progress as plain lines, one every 15 seconds, for logs and batch systems."""

    def __init__(self, report: Report | None, what: str, total: int, unit: str, done: int) -> None:
        self.report, self.what, self.total, self.unit = report, what, total, unit
        self.first = self.done = done
        self.state = ""
        self.started = self.last_line = time.monotonic()
        self.begun = self.started, done

    def advance(self) -> None:
        """One more unit is finished."""
        self.reach(self.done + 1)

    def each(self, units: Sequence[T]) -> Iterator[T]:
        """One after another; each is finished when the next one is asked for."""
        for unit in units:
            yield unit
            self.advance()

    def reach(self, done: int, state: str = "", seconds: float = 0.0) -> None:
        """Set the number of finished units.

        Args:
            done: how many there are.
            state: how the work goes beside that.
            seconds: for how long somebody worked on the newest; unless given, units are done one after another.
        """
        now = time.monotonic()
        if self.done == self.first < done:
            # What was before the first, such as the start of workers, does not come again. Results of several workers
            # come soon after each other: so the time counts that the first one took, where it is known.
            self.begun = (max(self.started, now - seconds), self.first) if seconds else (now, done)
        self.done, self.state = done, state
        self._show(now)

    def rate(self) -> float:
        """Units a second since the first one of this command was begun, or was finished."""
        since, before = self.begun if self.done > self.begun[1] else (self.started, self.first)
        return (self.done - before) / max(time.monotonic() - since, 1e-9)

    def _pace(self, unit: str = "") -> str:
        """Rate, time left and state, as far as they are known."""
        rate = self.rate()
        left = [f"{rate:.3g}{unit}/s", f"{duration((self.total - self.done) / rate)} left"] if rate else []
        return ", ".join(filter(None, [*left, self.state]))

    def _show(self, now: float) -> None:
        if self.report and now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            done = f"{self.done:,} of {self.total:,} {self.unit}"
            self.report.say(f"{self.what}: {', '.join(filter(None, [done, self._pace()]))}")


class Bar(Track):
    """Progress as a bar."""

    def __init__(self, bar: Progress, what: str, total: int, unit: str, done: int) -> None:
        super().__init__(None, what, total, unit, done)
        self.bar = bar
        self.task = bar.add_task(what, total=total, completed=done, pace="")

    def _show(self, _: float) -> None:
        self.bar.update(self.task, completed=self.done, pace=self._pace(f" {self.unit}"))


def duration(seconds: float) -> str:
    """h:mm:ss, or m:ss.

    Example:
        >>> duration(3725)
        '1:02:05'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
