"""How a command ended: in time, with a status and words that it may end with, and without a traceback."""

import signal
from collections.abc import Collection

from chaos.ledger import Row
from tests.faults.launch import Lossviz


def said(lossviz: Lossviz) -> str:
    """What a command said so far; it may not have begun."""
    return "".join(file.read_text(encoding="utf-8") for file in (lossviz.out_file, lossviz.err_file) if file.exists())


def judge_end(row: Row, lossviz: Lossviz, seconds: float, statuses: Collection[int], says: str = "") -> int | None:
    """Wait some seconds for a command, and count what is wrong with its end; its exit status, if it ended."""
    lossviz.process.join(seconds)
    status, words = lossviz.process.exitcode, said(lossviz)
    if status is None:
        row.note("hung", [f"more than {seconds:g} s: {words}"])
        lossviz.send(signal.SIGKILL)
        lossviz.process.join()
    elif status not in statuses or says not in words:
        row.note("wrong", [f"exit status {status}: {words}"])
    if "Traceback" in words or "Exception ignored" in words:
        row.note("tracebacks", [words])
    return status
