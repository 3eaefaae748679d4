"""A bar on a terminal, plain lines everywhere else."""

import os
import pty
import select
from pathlib import Path

from tests.faults.launch import Lossviz


def watched(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Exit status of a command, and what a terminal got from it."""
    screen, terminal = pty.openpty()
    lossviz, shown = Lossviz(arguments, folder, terminal=os.ttyname(terminal)), b""
    while lossviz.process.is_alive() or select.select([screen], [], [], 0)[0]:
        if select.select([screen], [], [], 0.05)[0]:
            shown += os.read(screen, 65536)
    os.close(screen)
    os.close(terminal)
    return lossviz.wait(), shown.decode()


def test_a_terminal_sees_a_bar_with_rate_and_time_left(folder: Path) -> None:
    status, shown = watched(["train", "tiny.yaml"], folder)
    assert status == 0
    assert "\x1b[" in shown
    for text in ("training tiny", "40/40", "steps/s", "0:00 left", "trained (40 steps)"):
        assert text in shown
    status, shown = watched(["surface", "runs/tiny"], folder)
    assert status == 0
    for text in ("scanning tiny", "6/6", "points/s"):
        assert text in shown


def test_a_quiet_terminal_sees_nothing(folder: Path) -> None:
    assert watched(["train", "tiny.yaml", "--quiet"], folder) == (0, "")


def test_elsewhere_there_are_only_plain_lines(folder: Path) -> None:
    for command in (["train", "tiny.yaml"], ["probe", "tiny.yaml"], ["surface", "runs/tiny"], ["plot", "runs/tiny"]):
        lossviz = Lossviz(command, folder)
        assert lossviz.wait() == 0
        assert lossviz.err == ""
        assert lossviz.out
        assert all(character.isprintable() or character == "\n" for character in lossviz.out)
