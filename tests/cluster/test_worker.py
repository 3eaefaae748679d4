"""What a worker keeps from one job to the next, and what it tells beside its numbers."""

from pathlib import Path

import pytest

from lossviz.cluster.cluster import ClusterWorkers
from lossviz.cluster.crew import Crew
from lossviz.cluster.job import BEGUN, PLACE, Begun, Computed, Job, pack
from lossviz.cluster.tasks import Assignment
from lossviz.cluster.worker import Bench, begin, place
from lossviz.config import read as read_config
from lossviz.engine.checkpoint import save_tensors
from lossviz.files import read, sha256
from lossviz.progress import Report
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.file import ScanFile
from lossviz.surface.grid import Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.files import SampleFiles
from tests.cluster.simulated import FACTS, JOB, Simulated, begun
from tests.data.photographs import damage, write_tree
from tests.surface.scans import checkpoint, configured, scanned, surface_of


def job_of(setup: Setup, identity: str) -> tuple[Job, bytes]:
    """The job of a scan whose file is there, around the checkpoint that is there now, and its directions."""
    run, plan = setup.run, ScanPlan(setup)
    file = ScanFile.load(run, "main")
    job = Job(
        id=identity,
        config=setup.config,
        folder=str(run.folder),
        device="cpu",
        threads=1,
        allow=(),
        axes={axis: values.tolist() for axis, values in file.grid.axes.items()},
        attributes={**file.attributes, "checkpoint_sha256": sha256(plan.checkpoint.path)},
    )
    return job, read(run.directions_file("main")) if plan.keeps_directions else b""


def answer_of(bench: Bench, *points: Index) -> Computed:
    return Computed.read(bench.compute(points, b"").partition(b"\0")[0])


def test_a_persons_code_may_be_of_any_number_of_files() -> None:
    files = [f"/home/me/nets/part{i}.py sha256:{i:064}" for i in range(1000)]
    attributes = dict.fromkeys(PLACE, "x") | {"own_code": "\n".join(files)}
    elsewhere = {**attributes, "own_code": "\n".join(files).replace("/home/me", "/scratch")}
    other = {**attributes, "own_code": "\n".join([*files[1:], files[0]])}
    assert Begun.read(Begun(facts=place(attributes)).encode()).facts == place(elsewhere) != place(other)
    assert place({**attributes, "own_code": ""})["own_code"] == ""


def test_a_worker_marks_that_it_has_begun(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the command knows whether one that died could work at all."""
    mark, (job, directions) = tmp_path / "begun", job_of(scanned(trained), "one")
    monkeypatch.setenv(BEGUN, str(mark))
    monkeypatch.setattr("lossviz.cluster.worker.BENCH", Bench())
    assert Begun.read(begin(job.model_dump_json(), b"none")).problem
    assert not mark.exists()
    assert Begun.read(begin(job.model_dump_json(), directions)).problem is None
    assert mark.exists()


def test_a_worker_that_is_older_than_the_checkpoint_reads_it_again(trained: Path) -> None:
    setup, bench, centre = scanned(trained), Bench(), (1, 2)
    bench.begin(*job_of(setup, "before"))
    assert answer_of(bench, centre).values["loss"] == [float(surface_of(trained).loss[centre])]
    checkpoint(trained, 3, shift=0.1)
    scanned(trained, "surface.name=after", "surface.x=[-1, 1, 3]")
    job, directions = job_of(setup, "after")
    assert bench.begin(job, directions)["checkpoint_sha256"] == sha256(setup.run.checkpoint_file(3))
    assert answer_of(bench, centre).values["loss"] == [float(surface_of(trained, "after").loss[1, 1])]


def test_a_worker_needs_no_folder_of_the_run_for_temporary_files(trained: Path, tmp_path: Path) -> None:
    """Where directions are drawn again the centre is in a file; the run's folder may be of another machine."""
    nowhere, network = tmp_path / "nowhere", run_of(configured(), trained).checkpoint_file(3)
    drawn = ("surface.directions.kind=random", "surface.directions.keep=false", f"surface.checkpoint={network}")
    job, _ = job_of(scanned(trained, *drawn), "one")
    bench = Bench()
    bench.begin(job.model_copy(update={"folder": str(nowhere)}), b"")
    assert answer_of(bench, (1, 3)).values["loss"] == [float(surface_of(trained).loss[1, 3])]
    bench.begin(job.model_copy(update={"id": "two", "scratch": str(nowhere)}), b"")
    with pytest.raises(FileNotFoundError):
        answer_of(bench, (1, 3))


@pytest.fixture
def skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Setup, str]:
    """A scanned run on photographs, of which one is damaged, and that one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_tree(tmp_path / "images")
    damaged = damage(root, "train", 0, 1)
    file = tmp_path / "skips.yaml"
    file.write_text(
        f"name: skips\ndata: {{name: imagefolder, root: {root}, image_size: 32, workers: 0, corrupt: skip}}\n"
        "model: {name: vgg, width: 0.0625}\nsurface: {x: [-1, 1, 3], y: null, compile: false, batch_size: 4}\n"
    )
    (config,) = read_config(str(file))
    run = run_of(config, tmp_path / "runs")
    setup = prepare(config, run, "cpu")
    save_tensors(run.checkpoint_file(1), setup.model().state_dict())
    surface(ScanPlan(setup), Report(quiet=True), StopRequest())
    return setup, str(damaged)


def test_a_worker_tells_once_which_files_it_skipped(skips: tuple[Setup, str]) -> None:
    setup, damaged = skips
    bench = Bench()
    bench.begin(*job_of(setup, "one"))
    told = answer_of(bench, (0,)).damaged
    assert list(told) == [damaged]
    assert "truncated" in told[damaged]
    assert answer_of(bench, (1,)).damaged == {}
    bench.begin(*job_of(setup, "two"))  # the command that was told may have ended
    assert answer_of(bench, (1,)).damaged == told


def test_what_workers_skipped_is_recorded_with_what_the_command_skipped(skips: tuple[Setup, str]) -> None:
    plan = ScanPlan(skips[0])
    file = ScanFile.load(plan.setup.run, "main")
    found = dict.fromkeys(file.grid.values, 1.0)

    def answer(_: str, function: str, points: list[Index]) -> bytes:
        if function == "begin":
            return begun()
        computed = Computed.of(dict.fromkeys(points, found), [], {})
        return computed.model_copy(update={"damaged": {"there/a\x1b.png": "no picture"}}).encode() + b"\0" + pack({})

    crew = Crew(Simulated({"a": [], "b": []}, answers=answer), lambda _: None)
    crew.assign(Assignment(JOB, b"", FACTS))
    workers, samples = ClusterWorkers(plan, file, crew), SampleFiles(plan.setup.run.samples_folder("main"))
    assert workers.attributes() == {}
    assert {index for each in workers.results([(0,), (1,)], samples) for index in each.found} == {(0,), (1,)}
    assert plan.setup.data.damaged["there/a?.png"] == "no picture"
    assert workers.count() == 2
    assert workers.attributes()["device"] == "cpu"
