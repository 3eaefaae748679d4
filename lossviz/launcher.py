"""Manners of a process that torchrun started: it ends when torchrun does, and says no error that another one says."""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from lossviz.signals import Stopped

SECONDS_BETWEEN_LOOKS = 1.0
# From SIGTERM, which saves at the next safe point, to the hard end: a wait inside of a library hears no signal.
SECONDS_TO_SAVE = 15.0
SECONDS_TO_CONNECT = 10.0
# By then torchrun has ended the others, if the first process had the same error.
SECONDS_FOR_FIRST = 10.0


def end_with_launcher() -> None:
    """Watch torchrun from a thread, in a process that it started; when it is gone, stop as on SIGTERM, or else hard.

    After a `kill -9` of torchrun nothing tells its processes to end: they would train on unseen, or wait for a store
    that is gone, and hold the lock of the run folder. The parent's number is watched instead of PR_SET_PDEATHSIG, which
    leaves no time to save, and which also fires when only the thread ends that started the process.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Asked here, and not in the thread: torchrun may die before that begins.
        threading.Thread(target=_watch, args=(os.getppid(),), name="launcher", daemon=True).start()


def speaks() -> bool:
    """Whether this process tells what all processes of torchrun on this machine have in common: the first one does."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


def let_first_speak() -> None:
    """Before an error that all processes of a machine are likely to have: torchrun ends all when the first one ends.

    Without it the same wrong request would be told as often as there are processes. An error of this process alone is
    told a little later.
    """
    if not speaks():
        try:
            time.sleep(SECONDS_FOR_FIRST)
        except Stopped as stopped:
            sys.exit(stopped.exit_status)


def _watch(launcher: int) -> None:
    gone = _refuses()  # it ended before its number was asked for
    while not gone and os.getppid() == launcher:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    with suppress(OSError, ValueError):  # standard error may have ended too
        sys.stderr.write("lossviz: torchrun has ended, and its processes end with it\n")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_SAVE)
    os._exit(128 + signal.SIGTERM)


def _refuses() -> bool:
    """Whether torchrun's store, which exists before its processes, refuses connections because it has ended."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    try:
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        socket.create_connection(address, SECONDS_TO_CONNECT).close()
    except ConnectionRefusedError:
        return True
    except (KeyError, ValueError, OSError):
        return False  # that says nothing of torchrun
    return False
