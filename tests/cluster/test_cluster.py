"""Scans by real workers: bitwise the numbers of one process with one thread, whatever happens to them."""

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from lossviz.cluster.cluster import Cluster
from lossviz.cluster.local import Local
from lossviz.cluster.pool import Reply
from lossviz.errors import RequestError, WorkError
from lossviz.results import load_results
from lossviz.run import run_of
from tests.cluster import malicious
from tests.cluster.real import children, command, computing, runs, scanned_by, somebodys, until
from tests.surface.scans import checkpoint, configured, same, scanned, surface_of

FINE = ("surface.x=[-1, 1, 15]", "surface.y=[-0.5, 0.5, 15]")
# Many times as long as the two seconds between two saves.
LONG = ("surface.x=[-1, 1, 45]", "surface.y=[-0.5, 0.5, 45]")


@pytest.fixture(name="local", scope="module")
def _local() -> Local:
    return Local(1)


@pytest.fixture(name="cluster", scope="module")
def _cluster(local: Local) -> Iterator[Cluster]:
    with somebodys(local) as cluster:
        yield cluster


def test_one_worker_and_then_three_of_which_one_is_killed(trained: Path, local: Local, cluster: Cluster) -> None:
    """Workers that are there, that come late, and that die, find the same numbers; the client alone writes."""
    scanned(trained, *FINE, "surface.name=alone")
    scanned_by(cluster, trained, "surface.name=one")
    scanned(trained, "surface.name=coarse")
    same(surface_of(trained, "one"), surface_of(trained, "coarse"))
    assert surface_of(trained, "one").attrs["device"] == surface_of(trained, "coarse").attrs["device"]
    run = run_of(configured(), trained)

    def known() -> int:
        file = run.surface_file("three")
        return int((load_results(file).status == 1).sum()) if file.exists() else 0

    # From this thread: what a thread started ends with it.
    with ThreadPoolExecutor(1) as pool:
        scan = pool.submit(scanned_by, cluster, trained, *FINE, "surface.name=three")
        until(lambda: known() > 5 or scan.done(), "the scan begins")
        local.add(1)
        local.add(2)
        at = known()
        until(lambda: known() > at + 10 or scan.done(), "the scan goes on")
        os.kill(computing(os.getpid())[0], signal.SIGKILL)
        scan.result()
    same(surface_of(trained, "three"), surface_of(trained, "alone"))
    names = {path.name for path in run.folder.iterdir() if "three" in path.name}
    assert names == {"surface-three.nc", "directions-three.safetensors"}


def test_directions_that_no_file_holds_are_drawn_by_the_workers(trained: Path, cluster: Cluster) -> None:
    settings = ("surface.directions.kind=random", "surface.directions.keep=false")
    scanned(trained, "surface.directions.kind=random", "surface.name=kept")
    scanned_by(cluster, trained, *settings)
    same(surface_of(trained), surface_of(trained, "kept"))


@pytest.mark.parametrize("accuracy", ["10%", "{range: 5%}"])
def test_a_sampled_scan(trained: Path, cluster: Cluster, accuracy: str) -> None:
    """What the coarse points are told by is sent along, and the client keeps it: the scan can be refined."""
    coarse = ("surface.data.examples=360", "surface.data.split=both", f"surface.accuracy={accuracy}")
    fine = (*coarse, "surface.x=[-1, 1, 9]", "surface.y=[-0.5, 0.5, 5]")
    run = run_of(configured(), trained)
    for settings in (coarse, fine):
        scanned(trained, *settings, "surface.name=alone")
        scanned_by(cluster, trained, *settings)
        same(surface_of(trained), surface_of(trained, "alone"))
        assert surface_of(trained).attrs.get("loss_range") == surface_of(trained, "alone").attrs.get("loss_range")
        names, others = ({path.name for path in run.samples_folder(name).iterdir()} for name in ("main", "alone"))
        assert names == others


def test_the_checkpoints_of_a_run(trained: Path, cluster: Cluster) -> None:
    for step, shift in ((0, 0.2), (1, 0.1), (4, -0.05)):
        checkpoint(trained, step, shift)
    settings = ("surface.directions={kind: pca}", "surface.x=[auto, auto, 3]", "surface.y=[auto, auto, 3]")
    scanned(trained, *settings, "surface.name=alone")
    scanned_by(cluster, trained, *settings)
    same(surface_of(trained), surface_of(trained, "alone"))
    assert list(surface_of(trained).checkpoint.values) == [f"step {step}" for step in (0, 1, 3, 4)]


def test_a_worker_that_pickles(cluster: Cluster, tmp_path: Path) -> None:
    """What it returns, raises and logs is not unpickled here, nor does it end the connection."""
    pool, file = cluster.connected(print), tmp_path / "touched"
    until(pool.workers, "a worker")
    worker = pool.workers()[0]
    replies: dict[str, Reply] = {}
    for function in (malicious.returned, malicious.raised, malicious.logged, malicious.honest):
        ticket = pool.give(worker, function, str(file))
        name = function.__name__
        end = time.monotonic() + 60
        while name not in replies and time.monotonic() < end:
            replies.update((name, each) for each in pool.replies(1) if each.ticket == ticket)
    assert not file.exists()
    assert "is not read" in replies["returned"].failure
    assert replies["raised"].failure
    assert (replies["logged"].answer, replies["honest"].answer) == (b"logged", b"honest")
    malicious.fire(str(file))
    assert file.exists()  # so it would have been


def test_what_a_worker_does_not_have_is_named(trained: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the client is in another folder than the workers: what lies there under the same path is another network."""
    run = run_of(configured(), trained)
    here, before = trained / "here", Path.cwd()
    (here / "runs").parent.mkdir()
    run.folder.parent.rename(here / "quickstart")
    monkeypatch.chdir(here)
    out = Path()
    started = re.escape(f"its relative paths begin in {before}, where it was started: start it again")
    said = rf"no worker fits this scan: tls://\S+: .*has no checkpoint to scan; {started} in the folder"
    with pytest.raises(RequestError, match=said):
        scanned_by(cluster, out)


def test_a_killed_command_leaves_no_process_and_goes_on(trained: Path) -> None:
    """Not even a worker that is stopped."""
    scanned(trained, *LONG, "surface.name=alone")
    process = command(trained, *LONG)
    run = run_of(configured(), trained)
    until(lambda: run.surface_file("main").exists() and (surface_of(trained).status == 1).any(), "the scan begins")
    left = children(process.pid)
    assert len(left) == 3
    os.kill(left[-1], signal.SIGSTOP)
    process.kill()
    process.wait()
    until(lambda: not any(map(runs, left)), "the workers end")
    again = command(trained, *LONG)
    said, _ = again.communicate(timeout=240)
    assert again.returncode == 0, said
    assert "Traceback" not in said
    assert "resuming" in said
    assert ("dashboard: " in said) == bool(find_spec("bokeh"))
    same(surface_of(trained), surface_of(trained, "alone"))


def test_a_killed_scheduler_is_told_in_words(trained: Path) -> None:
    process = command(trained, *LONG)
    run = run_of(configured(), trained)
    until(lambda: run.surface_file("main").exists() and (surface_of(trained).status == 1).any(), "the scan begins")
    left = children(process.pid)
    assert "libtorch" not in Path(f"/proc/{left[0]}/maps").read_text()  # the scheduler needs no second of it
    os.kill(left[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "lossviz: the scheduler of --workers has ended: signal SIGKILL" in said
    assert "Traceback" not in said
    assert not any(map(runs, left))
    assert (surface_of(trained).status == 1).any()


def test_a_scheduler_that_is_not_there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossviz.cluster.pool.TIME_OUT_S", 1.0)
    with pytest.raises(WorkError, match="cannot be reached"), Cluster(0, "tls://127.0.0.1:9", "cpu") as cluster:
        scanned_by(cluster, trained)
