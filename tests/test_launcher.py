"""Processes of torchrun after its death: real ones, which end by themselves and free the folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lossviz import launcher as launcher_module
from lossviz.lock import exclusive
from lossviz.results import load_results
from lossviz.run import Run
from tests.faults import tiny

ROOT = Path(__file__).parents[1]
# A launcher that starts one process, says its number once that watches or has ended, and waits.
LAUNCHER = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
worker.stdout.readline()
print(worker.pid, flush=True)
sys.stdin.readline()
"""
WORKER = """
import signal, sys, time
from lossviz import launcher
launcher.SECONDS_BETWEEN_LOOKS = 0.02
launcher.SECONDS_TO_SAVE = 0.2
{prepared}
launcher.end_with_launcher()
print("begun", flush=True)
time.sleep(60)
"""
ASKS = """
def stop(number, frame):
    open("asked", "w").close()
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def lives(pid: int) -> bool:
    """Whether a process that is nobody's child here is at work; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"not in two minutes: {what}")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **more}


def launched(folder: Path, prepared: str, **more: str) -> tuple["subprocess.Popen[str]", int]:
    """A launcher and the number of the process that it started, which watches by now, or has ended."""
    command = [sys.executable, "-c", LAUNCHER, WORKER.format(prepared=prepared)]
    launcher = subprocess.Popen(
        command, cwd=folder, env=environment(**more), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    return launcher, int(launcher.stdout.readline())


def kill(launcher: "subprocess.Popen[str]") -> None:
    launcher.kill()
    launcher.communicate()


@pytest.mark.parametrize("prepared", [ASKS, DEAF], ids=["asked to save", "hears no signal"])
def test_a_process_ends_after_its_launcher(tmp_path: Path, prepared: str) -> None:
    launcher, pid = launched(tmp_path, prepared, TORCHELASTIC_RUN_ID="1")
    time.sleep(0.2)
    assert lives(pid), "its launcher lives"
    kill(launcher)
    wait_until(lambda: not lives(pid), "the process ends")
    assert (tmp_path / "asked").exists() == (prepared == ASKS)


def test_a_process_ends_whose_launcher_died_before_it_asked(tmp_path: Path) -> None:
    """Its parent is another one by then; that torchrun's store does not listen tells."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        more = {
            "TORCHELASTIC_RUN_ID": "1",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.getsockname()[1]),
        }
        launcher, pid = launched(tmp_path, ASKS, **more)
        time.sleep(0.3)
        assert lives(pid), "the store listens"
        kill(launcher)
        wait_until(lambda: not lives(pid), "the process ends")
    (tmp_path / "asked").unlink()
    launcher, pid = launched(tmp_path, ASKS, **more)
    wait_until(lambda: not lives(pid), "the process ends")
    assert (tmp_path / "asked").exists()
    kill(launcher)


def test_a_process_that_torchrun_did_not_start_outlives_its_parent(tmp_path: Path) -> None:
    launcher, pid = launched(tmp_path, ASKS, RANK="0", WORLD_SIZE="2", LOCAL_RANK="0")
    kill(launcher)
    time.sleep(0.5)
    assert lives(pid), "as under nohup"
    os.kill(pid, signal.SIGKILL)


def test_a_killed_torchrun_leaves_no_processes_and_a_free_folder(tmp_path: Path) -> None:
    """kill -9 in the middle of a training: what is finished is saved, and the next command goes on."""
    file = tiny.write(tmp_path, train={"steps": 1_000_000, "eval_every": 1_000_000, "checkpoint_every": 100})
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lossviz", "train", str(file)]
    run = Run(tmp_path / "runs" / "tiny" / "tiny")
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        torchrun = subprocess.Popen(
            [sys.executable, "-m", *command, "--device", "cpu"], cwd=tmp_path, env=environment(), stdout=log, stderr=log
        )
        try:
            wait_until(lambda: run.checkpoint_file(100).exists() or torchrun.poll() is not None, "training")
            children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text(encoding="utf-8")
        finally:
            torchrun.kill()
            torchrun.wait()
        workers = [int(pid) for pid in children.split()]
        wait_until(lambda: not any(lives(pid) for pid in workers), "its processes end")
        log.seek(0)
        said = log.read()
    assert len(workers) == 2, said
    assert "lossviz: torchrun has ended, and its processes end with it" in said
    assert "Traceback" not in said
    with exclusive(run.folder):  # nobody writes there
        assert run.record()["train"]["status"] == "interrupted", said
    assert load_results(run.train_file).sizes["step"] >= 100


def test_a_wrong_request_is_told_once(tmp_path: Path) -> None:
    """By the first of two processes, which have the same error."""
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lossviz", "train"]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(tiny.write(tmp_path)), "--set", "train.lr=-1"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("train.lr = -1") == 1, done.stderr
    assert "stopped by" not in done.stderr


def test_an_error_of_another_process_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_module, "SECONDS_FOR_FIRST", 0.01)
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    answer = tiny.lossviz("train", "nowhere.yaml")
    assert answer.status == 2
    assert "nowhere.yaml" in answer.err
