"""What a person sees while work goes on."""

import io

import pytest
from rich.console import Console

from lossviz.progress import Report


class Clock:
    """time.monotonic that only moves when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("lossviz.progress.time.monotonic", clock)
    return clock


def test_plain_lines_come_every_fifteen_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Report().track("training x", 1000, "steps") as track:
        for _ in range(40):
            clock.now += 1
            track.advance()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "training x: 15 of 1,000 steps, 1/s, 16:25 left",
        "training x: 30 of 1,000 steps, 1/s, 16:10 left",
    ]


def test_the_rate_counts_only_what_this_command_did(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Report().track("scanning", 441, "points", done=400) as track:
        clock.now += 20
        track.advance()
    assert capsys.readouterr().out == "scanning: 401 of 441 points, 0.05/s, 13:20 left\n"


@pytest.mark.parametrize("done", [0, 400])
def test_the_start_of_the_work_does_not_come_again(clock: Clock, capsys: pytest.CaptureFixture[str], done: int) -> None:
    """A minute until the first unit, and 2 s for each of the others; also of a scan that resumes."""
    with Report().track("scanning", done + 41, "points", done) as track:
        clock.now += 58
        for _ in range(11):
            clock.now += 2
            track.advance()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"scanning: {done + 9} of {done + 41} points, 0.5/s, 1:04 left"


def test_units_of_many_workers_that_begin_together_are_as_many_in_the_time_of_one(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The start took 30 s and a point takes 20 s: of 4 workers 0.2/s, although 3 results come right after the first."""
    with Report().track("scanning", 40, "points") as track:
        clock.now += 30
        track.reach(0, "no workers")
        clock.now += 20
        for done in range(1, 5):
            track.reach(done, "4 workers", seconds=20)
        clock.now += 20
        track.reach(8, "4 workers", seconds=80)
    assert capsys.readouterr().out.splitlines() == [
        "scanning: 0 of 40 points, no workers",
        "scanning: 1 of 40 points, 0.05/s, 13:00 left, 4 workers",
        "scanning: 8 of 40 points, 0.2/s, 2:40 left, 4 workers",
    ]


def test_hours(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Report().track("t", 1001, "steps") as track:
        clock.now += 20
        track.advance()
    assert "5:33:20 left" in capsys.readouterr().out


def test_quiet_is_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(quiet=True)
    report.say("something")
    with report.track("t", 10, "steps") as track:
        clock.now += 100
        track.advance()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_lines_are_neither_broken_nor_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[bold] runs/a/b: 1,234 " + "long " * 100 + "end"
    Report().say(line)
    assert capsys.readouterr().out == line + "\n"


def test_a_terminal_gets_a_bar_with_rate_and_time_left(clock: Clock) -> None:
    report, screen = Report(), io.StringIO()
    report.console = Console(file=screen, force_terminal=True, width=120, get_time=clock)
    with report.track("training x", 8, "steps", done=4) as track:
        clock.now += 2
        track.advance()
        clock.now += 2
        track.advance()
    shown = screen.getvalue()
    assert "\x1b[" in shown
    assert all(text in shown for text in ("training x", "6/8", "0.5 steps/s, 0:04 left"))


def test_a_quiet_terminal_stays_empty() -> None:
    report, screen = Report(quiet=True), io.StringIO()
    report.console = Console(file=screen, force_terminal=True)
    with report.track("t", 2, "steps") as track:
        track.advance()
    assert screen.getvalue() == ""


def test_lines_say_how_the_work_goes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing of a pace that nobody knows."""
    with Report().track("scanning", 100, "points") as track:
        clock.now += 20
        track.reach(0, "1 worker")
        clock.now += 20
        track.reach(10, "2 workers, 1 task again")
    assert capsys.readouterr().out.splitlines() == [
        "scanning: 0 of 100 points, 1 worker",
        "scanning: 10 of 100 points, 0.25/s, 6:00 left, 2 workers, 1 task again",
    ]


@pytest.mark.parametrize(
    ("quiet", "rank", "said", "own"),
    [(False, 0, "a", "b"), (False, 2, "", "process 2: b"), (True, 0, "", ""), (True, 1, "", "")],
)
def test_one_of_several_processes_speaks_for_all_and_each_for_itself(
    capsys: pytest.CaptureFixture[str], quiet: bool, rank: int, said: str, own: str
) -> None:
    report = Report(quiet, rank)
    report.say("a")
    report.say_own("b")
    assert capsys.readouterr().out.split("\n")[:-1] == [line for line in (said, own) if line]
