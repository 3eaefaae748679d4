"""Processes of `--workers`, here scripts: which of them are started again."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossviz.cluster.local import Local
from lossviz.errors import WorkError

SCHEDULER = 'read told; echo "{\\"address\\": \\"tls://127.0.0.1:1\\"}"; exec sleep 60'
# Each writes down that it was started; those of the places that the test names begin; all of them die.
WORKER = """read told; basename $LOSSVIZ_BEGUN >> STARTS
case $LOSSVIZ_BEGUN in BEGINS) touch $LOSSVIZ_BEGUN;; esac; echo no GPU >&2; exit 3"""


@pytest.fixture(name="scripts")
def _scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    started, starts = subprocess.Popen, tmp_path / "starts"

    def scripts(begins: str) -> Path:
        def popen(words: list[str], **options: Any) -> "subprocess.Popen[bytes]":
            worker = WORKER.replace("STARTS", str(starts)).replace("BEGINS", begins)
            return started(["sh", "-c", SCHEDULER if words[-1].endswith("scheduler") else worker], **options)

        monkeypatch.setattr(subprocess, "Popen", popen)
        return starts

    return scripts


def tended(local: Local, condition: Callable[[], bool]) -> None:
    local.start()
    end = time.monotonic() + 60
    try:
        while not condition() and time.monotonic() < end:
            local.tend()
            time.sleep(0.01)
    finally:
        local.close()


def test_a_worker_that_never_begins_is_given_up(scripts: Callable[[str], Path]) -> None:
    """The other one dies as often, but has begun each time."""
    starts, said = scripts("*begun-0"), list[str]()
    tended(Local(2, say=said.append), lambda: bool(said) and starts.read_text().count("begun-0") > 5)
    assert starts.read_text().count("begun-1") == 3
    assert said == [
        "warning: worker 1 died 3 times in a row before it began, and is not started again: "
        "worker 1 has ended: status 3: no GPU"
    ]


def test_where_no_worker_begins_the_last_words_are_told(scripts: Callable[[str], Path]) -> None:
    starts, said = scripts("nobody"), list[str]()
    words = r"(?s)every worker of --workers: died 3 times in a row.*has ended: status 3: no GPU"
    with pytest.raises(WorkError, match=words):
        tended(Local(2, say=said.append), lambda: False)
    assert len(said) == 1
    assert starts.read_text().count("begun") == 6
