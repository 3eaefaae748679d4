"""Requests to stop: the first waits for a safe point, the second does not."""

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from lossviz.__main__ import main as start
from lossviz.signals import Stopped, StopRequest, deferred, raise_on_signals, unbroken

BOTH = pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@BOTH
def test_the_first_signal_waits_until_it_is_obeyed(number: int, status: int) -> None:
    with deferred() as stop:
        assert not stop
        stop.obey()
        send(number)
        assert stop
        with pytest.raises(Stopped) as stopped:
            stop.obey()
    assert stopped.value.exit_status == status
    assert str(stopped.value) == signal.Signals(number).name


@BOTH
def test_an_import_is_not_broken_off(number: int, status: int) -> None:
    passed = []
    with pytest.raises(Stopped) as stopped:
        with unbroken():
            send(number)
            passed.append("inside")
        passed.append("behind")
    assert stopped.value.exit_status == status
    assert passed == ["inside"]


@BOTH
def test_the_second_signal_stops_at_once(number: int, status: int) -> None:
    passed = []
    with pytest.raises(Stopped) as stopped, deferred() as stop:
        send(signal.SIGINT)
        passed.append(bool(stop))
        send(number)
        passed.append(False)
    assert stopped.value.exit_status == status
    assert passed == [True]


@BOTH
def test_where_nothing_would_be_lost_the_first_signal_stops_at_once(number: int, status: int) -> None:
    passed = []
    with pytest.raises(Stopped) as stopped, deferred() as stop:
        with stop.at_once():
            passed.append(True)
        send(number)
        passed.append(bool(stop))
        stop.number = 0
        with stop.at_once():
            send(number)
            passed.append(False)
    assert stopped.value.exit_status == status
    assert passed == [True, True]


@BOTH
def test_outside_of_work_a_signal_stops_at_once(number: int, status: int) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    try:
        raise_on_signals()
        with pytest.raises(Stopped) as stopped:
            send(number)
        assert stopped.value.exit_status == status
    finally:
        sys.unraisablehook = hook
        for each, handler in before.items():
            signal.signal(each, handler)


SWALLOWS = """
import signal, sys, time
from lossviz.signals import Stopped, deferred, raise_on_signals
raise_on_signals()
class Dies:
    def __init__(self, what): self.what = what
    def __del__(self): self.what()
def stop(): signal.raise_signal(signal.Signals(int(sys.argv[1])))
def fail(): raise ValueError("no signal")
try:
    Dies(fail)
    if sys.argv[2] == "deferred":
        with deferred() as request, request.at_once():
            Dies(stop)
            print("swallowed", flush=True)
            time.sleep(60)
    Dies(stop)
    print("swallowed", flush=True)
    time.sleep(60)
except Stopped as stopped:
    sys.exit(stopped.exit_status)
"""


@BOTH
@pytest.mark.parametrize("where", ["deferred", "outside of work"])
def test_a_stop_that_a_destructor_swallows_comes_again_and_is_not_printed(number: int, status: int, where: str) -> None:
    """Other errors of destructors are printed as before."""
    command = [sys.executable, "-c", SWALLOWS, str(int(number)), where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == status, done.stderr
    assert done.stdout == "swallowed\n"
    assert "Stopped" not in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "ValueError: no signal" in done.stderr


def test_the_handlers_from_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError), deferred():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_nothing_that_catches_exceptions_swallows_a_stop() -> None:
    assert not issubclass(Stopped, Exception)


def test_a_request_that_nobody_made_is_not_obeyed() -> None:
    StopRequest().obey()


def test_ctrl_c_during_the_imports_ends_the_process_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    stub = ModuleType("lossviz.cli")
    monkeypatch.setattr(stub, "main", lambda: found.append(signal.getsignal(signal.SIGINT)), raising=False)
    monkeypatch.setitem(sys.modules, "lossviz.cli", stub)
    before = signal.getsignal(signal.SIGINT)
    try:
        start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [signal.SIG_DFL]
