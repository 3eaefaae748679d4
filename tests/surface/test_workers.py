"""Points shared by several processes: each computed once, none lost, and the file the same however many there were."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from torch._C._distributed_c10d import HashStore, Store, TCPStore

from lossviz.distributed import ranks as module
from lossviz.distributed.ranks import Ranks
from lossviz.results import DONE, load_results
from lossviz.run import Run
from lossviz.signals import Stopped, StopRequest
from lossviz.surface import file as surface_file
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.grid import Grid, Index, Range
from lossviz.surface.workers import Workers, workers_of

X: Range = (-1, 1, 5)
Y: Range = (0, 1, 3)
POINTS = 15
NAMES = ("loss", "loss_stderr", "error")


def quantities(where: dict[str, float], seconds: float = 0.001) -> dict[str, float]:
    """Finite but for one point."""
    loss = math.nan if where == {"y": 0.5, "x": 0.0} else math.exp(where["x"]) + 10 * where["y"]
    return {"loss": loss, "loss_stderr": loss / 7, "error": 100 / 3, "seconds": seconds}


class Command:
    """One command of so many processes, in threads; they share a store as torchrun's processes do."""

    def __init__(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, world: int, grid: Grid | None = None, tcp: bool = False
    ) -> None:
        grids = [Grid.empty(X, Y, NAMES) if grid is None else Grid.of(grid.dataset({})) for _ in range(world)]
        stores = _stores(world, tcp)
        self.workers: list[Workers] = []
        self.files: list[ScanFile] = []
        for rank in range(world):
            monkeypatch.setattr(module, "_store", lambda rank=rank: stores[rank])
            waypoints = xr.Dataset({"checkpoint_loss": ("checkpoint", [1.0])}, {"checkpoint": ["step 3"]})
            attributes: Attributes = {"title": "t"}
            self.files.append(ScanFile(run, "main", grids[rank], attributes, waypoints))
            self.workers.append(workers_of(self.files[-1], Ranks(rank, world, rank)))
        self.seen: list[list[Index]] = [[] for _ in range(world)]
        self.stops = [StopRequest() for _ in range(world)]

    def work(self, rank: int, seconds: float = 0.0, dies_after: int = 10**9) -> None:
        """Compute as a scan does; die in the middle of a block after some points."""
        workers, grid = self.workers[rank], self.files[rank].grid
        for block in workers.claims(grid.todo()):
            found = {}
            for index in block:
                if len(self.seen[rank]) == dies_after:
                    return
                time.sleep(seconds)
                found[index] = quantities(grid.where(index))
                self.seen[rank].append(index)
            workers.keep(found)
        while not workers.finish():
            self.stops[rank].obey()
            time.sleep(0.01)

    def all(self, *seconds: float) -> None:
        with ThreadPoolExecutor(len(self.workers)) as pool:
            list(pool.map(self.work, range(len(self.workers)), seconds or [0.0] * len(self.workers)))


def _stores(world: int, tcp: bool) -> list[Store]:
    if not tcp:
        shared = HashStore()
        return [shared] * world
    first = TCPStore("localhost", 0, world, is_master=True, wait_for_workers=False)
    others = [TCPStore("localhost", first.port, world, is_master=False) for _ in range(world - 1)]
    return [first, *others]


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Run:
    return Run(tmp_path / "experiment" / "variant")


@pytest.fixture(name="alone")
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.Dataset:
    """The file of a single process."""
    run = Run(tmp_path / "alone" / "variant")
    Command(run, monkeypatch, 1).all()
    found = load_results(run.surface_file("main"))
    assert (found.status == DONE).sum() == POINTS - 1
    return found


def blocks(run: Run) -> list[Path]:
    return run.block_files("main")


@pytest.mark.parametrize(("world", "tcp"), [(2, False), (3, True), (20, False)])
def test_all_points_exactly_once(
    run: Run, alone: xr.Dataset, monkeypatch: pytest.MonkeyPatch, world: int, tcp: bool
) -> None:
    """Also with more processes than points; the result is bitwise that of one, and no block is left."""
    command = Command(run, monkeypatch, world, tcp=tcp)
    command.all()
    seen = [index for each in command.seen for index in each]
    assert len(seen) == POINTS
    assert set(seen) == set(np.ndindex(3, 5))
    xr.testing.assert_identical(load_results(run.surface_file("main")), alone)
    assert not (run.folder / "blocks-main").exists()
    assert load_results(run.surface_file("main")).attrs == {"title": "t"}
    assert "checkpoint_loss" in load_results(run.surface_file("main"))


def test_the_slow_one_does_less(run: Run, alone: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are small, so that both finish together."""
    command = Command(run, monkeypatch, 2)
    command.all(1.0, 0.0)
    assert 0 < len(command.seen[0]) < len(command.seen[1])
    xr.testing.assert_identical(load_results(run.surface_file("main")), alone)


def test_no_claim_is_more_than_a_share_of_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none takes much longer than saving may be apart: here a point takes a second."""
    monkeypatch.setattr(surface_file, "save_results", lambda *_: None)
    command = Command(run, monkeypatch, 2, Grid.empty((0, 1, 40), (0, 1, 10), NAMES))
    workers, grid, left = command.workers[0], command.files[0].grid, 400
    sizes = []
    for block in workers.claims(grid.todo()):
        assert 1 <= len(block) <= max(1, left / 8)
        left -= len(block)
        sizes.append(len(block))
        slow = 1.0 if left > 200 else 1e-5
        workers.keep({index: quantities(grid.where(index), slow) for index in block})
    assert left == 0
    assert sizes[0] == 1  # nothing is known of its cost
    assert set(sizes[1:90]) == {2}
    assert max(sizes) > 10


def test_progress_counts_the_points_of_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that were known before."""
    grid = Grid.empty(X, Y, NAMES)
    for index in grid.todo()[:5]:
        grid.put(index, quantities(grid.where(index)))
    command = Command(run, monkeypatch, 2, grid)
    first, second = (next(iter(each.claims(grid.todo()))) for each in command.workers)
    known = 5
    for workers, block in zip(command.workers, (first, second), strict=True):
        known += len(block)
        assert workers.keep({index: quantities(grid.where(index)) for index in block}) == known


def merged(run: Run) -> Grid:
    """What the next command finds: the result file, with the blocks that a killed command left."""
    grid = Grid.of(load_results(run.surface_file("main")))
    ScanFile(run, "main", grid, {"title": "t"}).gather()
    return Grid.of(load_results(run.surface_file("main")))


@pytest.mark.parametrize("again", [1, 2])
def test_a_worker_that_dies_costs_its_open_block(
    run: Run, alone: xr.Dataset, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    """Any other number of processes finishes the rest: nothing that was kept is computed again."""
    command = Command(run, monkeypatch, 3)
    command.files[0].save()
    command.work(1, dies_after=3)
    command.work(2, dies_after=2)
    command.stops[0].number = 15  # torchrun ends the others
    with pytest.raises(Stopped):
        command.work(0)
    kept = [index for path in blocks(run) for index in load_results(path).point.values]
    computed = {index for each in command.seen for index in each}
    assert len(kept) == len(set(kept)) == POINTS - 2
    before = merged(run)
    assert blocks(run) == []
    assert {int(np.ravel_multi_index(index, (3, 5))) for index in computed} >= set(kept)
    assert before.done == len(kept)
    then = Command(run, monkeypatch, again, before)
    then.all()
    assert sorted(index for each in then.seen for index in each) == sorted(before.todo())
    xr.testing.assert_identical(load_results(run.surface_file("main")), alone)


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def test_finishing_waits_for_the_last(run: Run, alone: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process has nothing left to claim long before the other is through its block."""
    command = Command(run, monkeypatch, 2)
    claim = command.workers[1].claims(command.files[1].grid.todo())
    block = next(claim)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(command.work, 0)
        _until(lambda: len(command.seen[0]) == POINTS - len(block))
        time.sleep(0.1)
        assert not first.done()
        assert len(command.seen[0]) == POINTS - len(block)
        grid = command.files[1].grid
        command.workers[1].keep({index: quantities(grid.where(index)) for index in block})
        first.result(timeout=20)
    xr.testing.assert_identical(load_results(run.surface_file("main")), alone)


def test_who_comes_late_finds_nothing_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that it reads may be finished already."""
    command = Command(run, monkeypatch, 1)
    command.all()
    late = Command(run, monkeypatch, 2, Grid.of(load_results(run.surface_file("main"))))
    late.work(1)
    assert late.seen[1] == []


def test_a_restarted_attempt_counts_from_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun keeps its store over a restart of the workers; claims of the dead must not count."""
    store = HashStore()
    monkeypatch.setattr(module, "_store", lambda: store)

    def workers() -> Workers:
        return workers_of(ScanFile(run, "main", Grid.empty(X, Y, NAMES)), Ranks(1, 2, 1))

    todo = Grid.empty(X, Y, NAMES).todo()
    first = [index for block in workers().claims(todo) for index in block]
    assert [index for block in workers().claims(todo) for index in block] == []
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert [index for block in workers().claims(todo) for index in block] == first


def test_alone_the_file_grows_with_the_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No point is saved by itself, and a request to stop saves what is there."""
    command = Command(run, monkeypatch, 1)
    ((workers,), (file,)) = command.workers, command.files
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    workers.save()
    for i, block in enumerate(workers.claims(file.grid.todo()), start=1):
        clock[0] += 0.9
        assert workers.keep({index: quantities(file.grid.where(index)) for index in block}) == i
        assert int((load_results(run.surface_file("main")).status != 0).sum()) == i // 3 * 3
        if i == 8:
            break
    workers.save()
    assert int((load_results(run.surface_file("main")).status != 0).sum()) == 8
