"""A run folder: its names, whose it is, and who may write there."""

from pathlib import Path

import pytest
import xarray as xr

from lossviz.config.reading import dump
from lossviz.errors import RequestError, WorkError
from lossviz.files import sealed_text
from lossviz.lock import LOCK, WRITER
from lossviz.results import load_results, save_results
from lossviz.run import Run, find_runs, run_of
from lossviz.user_code.permissions import Allowed
from tests.runs import configs, trained


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return trained(tmp_path)


def test_names(tmp_path: Path) -> None:
    (config,) = configs(tmp_path)
    run = run_of(config, Path("out"))
    assert (run.experiment, run.variant) == ("exp", "exp")
    assert str(run.config_file) == "out/exp/exp/config.yaml"
    assert str(run.record_file) == "out/exp/exp/run.json"
    assert str(run.train_file) == "out/exp/exp/train.nc"
    assert str(run.probe_file) == "out/exp/exp/probe.nc"
    assert str(run.surface_file("fine")) == "out/exp/exp/surface-fine.nc"
    assert str(run.directions_file("fine")) == "out/exp/exp/directions-fine.safetensors"
    assert str(run.checkpoint_file(1500)) == "out/exp/exp/checkpoints/step-00001500.safetensors"
    assert str(run.resume_file) == "out/exp/exp/checkpoints/resume.pt"


def test_a_run_knows_its_name_from_inside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.folder)
    (here,) = find_runs(Path())
    assert (here.experiment, here.variant) == ("exp", "exp")


def test_a_renamed_experiment_keeps_what_it_has_measured(run: Run, tmp_path: Path) -> None:
    """Its configuration may have the new name too: config.yaml has that then, and run.json the one it began with."""
    other = xr.Dataset(attrs={"experiment": "exp", "variant": "other"})
    save_results(run.train_file, xr.Dataset(attrs={"experiment": "exp", "variant": "exp"}))
    run.note("train", status="done")
    run.folder.parent.rename(tmp_path / "runs" / "new")
    (config,) = configs(tmp_path, "name=new")
    renamed = Run(tmp_path / "runs" / "new" / "exp")
    with renamed.writing(config):
        save_results(renamed.surface_file("main"), xr.Dataset(attrs={"experiment": "new", "variant": "new"}))
    assert renamed.titles == ("new/new", "exp/exp")
    assert load_results(renamed.train_file, renamed.titles).attrs["experiment"] == "exp"
    assert load_results(renamed.surface_file("main"), renamed.titles).attrs["experiment"] == "new"
    save_results(renamed.train_file, other)
    with pytest.raises(WorkError, match=r"train\.nc: is of exp/other, and should be of new/new"):
        load_results(renamed.train_file, renamed.titles)
    renamed.record_file.write_text("{")
    assert list(renamed.titles) == ["new/new"]


def test_the_command_that_works_in_a_folder(run: Run, tmp_path: Path) -> None:
    """As a shell reads it: with the place of the runs and the code that may run, where they are needed."""
    elsewhere = Run(tmp_path / "my runs" / "exp" / "exp", "quickstart")
    assert run.command("train") == "train runs/exp/exp/config.yaml"
    assert elsewhere.command("probe") == "probe quickstart --out 'my runs'"
    run.config_file.unlink()
    assert run.command("train", Allowed(modules=frozenset({"b", "a"}))) == "train CONFIG --allow a --allow b"


def test_checkpoints_in_order_and_nothing_else(run: Run) -> None:
    run.checkpoint_file(123_456_789).write_text("")
    (run.resume_file.parent / "step-best.safetensors").write_text("")
    (run.resume_file.parent / ".step-00000004.safetensors.1-2.partial").write_text("")
    run.resume_file.write_text("")
    assert run.checkpoint_steps == [0, 10, 123_456_789]
    assert Run(run.folder / "nowhere").checkpoint_steps == []


def test_the_configuration_is_kept_and_read_back(run: Run, tmp_path: Path) -> None:
    (config,) = configs(tmp_path)
    assert run.config() == config
    assert run.config_file.read_bytes() == sealed_text(dump(config))
    run.config_file.write_text(dump(config))  # as earlier versions wrote it
    assert run.config() == config
    assert run.config(["surface.batch_size=3"]).surface.batch_size == 3


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=1", "  seed = 0 there, 1 now"),
        ("train.lr=0.5", "  train.lr = 0.1 there, 0.5 now"),
        ("train.steps=11", "  train.steps = 10 there, 11 now"),
        ("train.schedule.kind=cosine", "  train.schedule.kind = constant there, cosine now"),
        ("model.norm=batch", "  model.norm = none there, batch now"),
        ("model.noise.n_mu=0.75", "  model.noise.n_mu = 0.5 there, 0.75 now"),
        ("model.classifier=[8]", "  model.classifier = null there, [8] now"),
        # another network has other keys: only its name is told
        ("model.name=resnet", "  model.name = vgg there, resnet now"),
        ("data.examples=100", "  data.examples = all there, 100 now"),
        ("data={name: digits}", "  data.name = cifar10 there, digits now"),
    ],
)
def test_another_training_is_refused_with_key_and_both_values(
    run: Run, tmp_path: Path, override: str, line: str
) -> None:
    (other,) = configs(tmp_path, override)
    before = run.config_file.read_bytes()
    with pytest.raises(RequestError) as caught, run.writing(other):
        raise AssertionError("must not get here")
    assert str(caught.value).splitlines() == [
        "runs/exp/exp: holds the training of another configuration",
        line,
        "  repeat the --set of that training, keep both (--set name=NAME or --out DIR), or train ... --fresh",
    ]
    assert run.config_file.read_bytes() == before


def test_all_differences_are_told(run: Run, tmp_path: Path) -> None:
    (other,) = configs(tmp_path, "seed=3", "train.lr=1", "train.momentum=0.5", "model.depth=9")
    with pytest.raises(RequestError) as caught, run.writing(other):
        raise AssertionError("must not get here")
    told = [line.split(" = ")[0].strip() for line in str(caught.value).splitlines()[1:-1]]
    assert told == ["seed", "model.depth", "train.lr", "train.momentum"]


@pytest.mark.parametrize(
    "override", ["probe.every=7", "surface.x=[-2, 2, 5]", "data.root=elsewhere", "data.download=false"]
)
def test_what_does_not_change_the_training_may_change(run: Run, tmp_path: Path, override: str) -> None:
    (other,) = configs(tmp_path, override)
    with run.writing(other):
        assert run.config() == other
    assert run.checkpoint_steps == [0, 10]


def test_settings_for_once_do_not_stay(run: Run, tmp_path: Path) -> None:
    """What the folder holds is the default of the next command; another training is refused all the same."""
    (other,), (alien,) = (configs(tmp_path, *settings) for settings in (["surface.batch_norm=batch"], ["seed=9"]))
    before = run.config_file.read_bytes()
    with run.writing(other, keep=True):
        assert run.config_file.read_bytes() == before
    assert run.config_file.read_bytes() == before
    with pytest.raises(RequestError, match="seed = 0 there"), run.writing(alien, keep=True):
        raise AssertionError("must not get here")
    new = Run(run.folder.parent / "new")
    with new.writing(other, keep=True):
        assert new.config() == other


def test_a_folder_without_a_training_takes_any_configuration(run: Run, tmp_path: Path) -> None:
    for path in (run.train_file, run.checkpoint_file(0), run.checkpoint_file(10)):
        path.unlink()
    (other,) = configs(tmp_path, "seed=9")
    with run.writing(other):
        assert run.config().seed == 9


def test_fresh_discards_and_then_another_configuration_fits(run: Run, tmp_path: Path) -> None:
    (other,) = configs(tmp_path, "seed=9")
    with run.writing(other, fresh=[path for path in run.folder.iterdir() if path.name != LOCK]):
        assert sorted(path.name for path in run.folder.iterdir()) == [LOCK, WRITER, "config.yaml"]
        assert run.config().seed == 9


def test_fresh_discards_only_what_is_named(run: Run, tmp_path: Path) -> None:
    with run.writing(configs(tmp_path)[0], fresh=[run.surface_file("main"), run.surface_file("none")]):
        assert not run.surface_file("main").exists()
        assert run.train_file.exists()
        assert run.checkpoint_steps == [0, 10]


def test_nothing_is_discarded_for_a_command_that_is_refused(run: Run, tmp_path: Path) -> None:
    (other,) = configs(tmp_path, "seed=9")
    with pytest.raises(RequestError), run.writing(other, fresh=run.scan_files("main")):
        raise AssertionError("must not get here")
    assert run.surface_file("main").exists()


def test_fresh_does_not_follow_links(run: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    link = run.folder / "link"
    link.symlink_to(precious)
    with run.writing(configs(tmp_path)[0], fresh=[link]):
        assert not link.is_symlink()
    assert (precious / "file").exists()


def test_one_writer_at_a_time_and_its_leftovers_are_removed(run: Run, tmp_path: Path) -> None:
    (config,) = configs(tmp_path)
    leftover = run.resume_file.parent / ".resume.pt.1-2.partial"
    leftover.write_text("half")
    with run.writing(config):
        assert not leftover.exists()
        with pytest.raises(WorkError, match="is being written by process"), run.writing(config):
            raise AssertionError("must not get here")


def test_a_damaged_configuration_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    text = dump(run.config()).replace("depth: 11", "depth: 12")
    run.config_file.write_text(text)
    line = text.splitlines().index("  depth: 12") + 1
    with pytest.raises(RequestError) as caught, run.writing(configs(tmp_path)[0]):
        raise AssertionError("must not get here")
    assert str(caught.value).startswith(f"runs/exp/exp/config.yaml, line {line}: model.depth = 12\n")
