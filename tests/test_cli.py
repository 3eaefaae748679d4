"""The command line inside this process: exit statuses, messages, options; and what it must not import."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lossviz import __version__
from lossviz.results import load_results
from lossviz.run import Run
from tests.faults import tiny
from tests.faults.tiny import lossviz

RUN = Path("runs/tiny/tiny")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(Path())


@pytest.fixture(name="trained")
def _trained() -> Run:
    assert lossviz("train", "tiny.yaml").status == 0
    return Run(RUN)


def refused(*arguments: str | Path) -> str:
    """The message of a command that exits with 2 and touches nothing."""
    before = tiny.tree(Path())
    answer = lossviz(*arguments)
    assert (answer.status, answer.out) == (2, ""), answer
    assert "Traceback" not in answer.err
    assert tiny.tree(Path()) == before
    return answer.err


def test_help_and_version() -> None:
    assert lossviz("--version").out == f"{__version__}\n"
    for command in ("train", "probe", "surface", "plot"):
        assert command in lossviz("--help").out
        answer = lossviz(command, "--help")
        assert (answer.status, answer.err) == (0, "")
        assert f"lossviz {command}" in answer.out
    # Help unasked for is a wrong usage since click 8.2, and none before.
    assert lossviz().status in (0, 2)


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["train"], ["train", "a", "b"], ["train", "tiny.yaml", "--nope"], ["plot"], ["surface", "--set"]],
)
def test_a_wrong_usage_is_a_wrong_request(arguments: list[str]) -> None:
    assert "Error: " in refused(*arguments)


CONFIGURATIONS: dict[str, tuple[list[str], list[str]]] = {
    "missing": (["nope.yaml"], ["nope.yaml: there is no such file"]),
    "not shipped": (["nope"], ["nope: there is no such file", "shipped: ", "quickstart"]),
    "folder": (["."], [".: is a folder; a configuration is a YAML file"]),
    "empty": ([""], ["there is no such file"]),
    "long": (["x" * 5000], ["cannot be read: File name too long"]),
    "variant": (["tiny.yaml", "--variant", "tny"], ["there is no variant tny; did you mean tiny?", "variants: tiny"]),
    "key": (["tiny.yaml", "--set", "train.lrr=1"], ["train.lrr: is not a key of train; did you mean lr?"]),
    "type": (["tiny.yaml", "--set", "train.steps=many"], ["--set train.steps=many: ", "accepted: "]),
    "measure": (["tiny.yaml", "--set", "probe.measures=[landscap]"], ["probe.measures", "landscap", "landscape"]),
    "combination": (["tiny.yaml", "--set", "train.batch_size=41"], ["train.batch_size = 41", "data.examples = 40"]),
    "no value": (["tiny.yaml", "--set", "train.lr"], ["--set train.lr: is not of the form key.key=value"]),
    "device": (["tiny.yaml", "--device", "cuda:99"], ["--device cuda:99: there is no such device", "--device cpu"]),
    "no device": (["tiny.yaml", "--device", "tpu"], ["--device tpu", "accepted: auto, cpu, cuda, cuda:N"]),
    "batch": (
        ["tiny.yaml", "--set", "data.examples=all", "--set", "train.batch_size=1438"],
        ["train.batch_size = 1438", "1,437"],
    ),
    "examples": (["tiny.yaml", "--set", "data.examples=1438"], ["examples = 1438", "1,437"]),
    "channels": (["tiny.yaml", "--set", "data.mean=[0.1, 0.2]"], ["data.mean = [0.1, 0.2]", "1 channel"]),
    "precision": (["tiny.yaml", "--device", "cpu", "--set", "train.precision=tf32"], ["train.precision = tf32"]),
}


@pytest.mark.parametrize(("arguments", "texts"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_request_that_is_wrong_says_what_is(arguments: list[str], texts: list[str]) -> None:
    message = refused("train", *arguments)
    assert message.startswith("lossviz: ")
    assert len(message.splitlines()) <= 3
    for text in texts:
        assert text in message


@pytest.mark.parametrize("command", ["probe", "surface", "plot"])
def test_a_folder_without_a_run_says_so(command: str) -> None:
    Path("empty").mkdir()
    assert "empty: holds nothing that lossviz train left" in refused(command, "empty")


def test_a_run_that_is_not_there_is_named() -> None:
    assert "runs/nope: there is no such folder" in refused("plot", "runs/nope")
    assert "runs/nope: there is no such file" in refused("probe", "runs/nope")


def test_a_run_keeps_its_own_results(trained: Run) -> None:
    for command in ("probe", "surface"):
        message = refused(command, trained.folder, "--out", "elsewhere")
        assert (
            "--out: is for the runs of a CONFIG, and the results of runs/tiny/tiny go into it\n  leave it out"
            in message
        )


def test_a_scan_or_a_probe_without_a_checkpoint_names_the_command_that_makes_one(trained: Run) -> None:
    assert "make one: lossviz train tiny.yaml --out elsewhere" in refused("surface", "tiny.yaml", "--out", "elsewhere")
    for step in trained.checkpoint_steps:
        trained.checkpoint_file(step).unlink()
    for command in ("probe", "surface"):
        message = refused(command, "runs/tiny")
        assert "has no checkpoint" in message
    advice = refused("probe", RUN).strip().split("make one: lossviz ")[1]
    assert lossviz(*advice.split()).status == 0
    assert trained.checkpoint_file(12).exists()
    assert lossviz("probe", RUN).status == 0


def test_plot_without_results_names_the_commands_that_make_them(trained: Run) -> None:
    trained.train_file.unlink()
    message = refused("plot", "runs/tiny")
    for command in ("lossviz train", "lossviz probe", "lossviz surface"):
        assert command in message


def test_an_unknown_variant_of_a_run_is_named(trained: Run) -> None:
    message = refused("plot", trained.folder.parent, "--variant", "nope")
    assert "no variant nope" in message
    assert "there is: tiny" in message


def test_a_changed_configuration_is_refused_with_both_values(trained: Run) -> None:
    before = tiny.tree(trained.folder)
    changed = ("tiny.yaml", "--set", "train.lr=0.2", "--set", "seed=3")
    for command in [(name, *more) for name in ("train", "probe", "surface") for more in ((), ("--dry-run",))]:
        answer = lossviz(*command, *changed)
        assert answer.status == 2
        assert f"{trained.folder}: holds the training of another configuration" in answer.err
        assert "train.lr = 0.05 there, 0.2 now" in answer.err
        assert "seed = 0 there, 3 now" in answer.err
        assert "--fresh" in answer.err
    assert tiny.tree(trained.folder) == before


def test_measuring_another_way_is_refused_and_fresh_allows_it(trained: Run) -> None:
    assert lossviz("probe", RUN).status == 0
    assert lossviz("surface", RUN).status == 0
    for command, setting, texts in (
        ("probe", "probe.lengths=[0.3]", ["probe.lengths", "[0.1, 0.2]", "[0.3]"]),
        ("surface", "surface.x=[-1, 1, 4]", ["surface.x", "[-1, 1, 3]", "[-1, 1, 4]"]),
        ("surface", "surface.directions.seed=1", ["surface.directions.seed", "123", "1"]),
    ):
        numbers = tiny.everything(trained)
        answer = lossviz(command, RUN, "--set", setting)
        assert answer.status == 2
        assert all(text in answer.err for text in [*texts, "--fresh"]), answer.err
        assert tiny.everything(trained) == numbers
        assert lossviz(command, RUN, "--set", setting, "--fresh").status == 0
        assert tiny.everything(trained) != numbers


def test_settings_beside_a_run_are_for_that_command(trained: Run) -> None:
    """The next scan begins from what the folder says; with a configuration the folder takes over what it says."""
    before = trained.config_file.read_bytes()
    for settings in (["surface.name=other", "surface.batch_norm=recalibrate"], ["surface.name=third"]):
        assert lossviz("surface", RUN, *(word for each in settings for word in ("--set", each))).status == 0
        assert trained.config_file.read_bytes() == before
    assert lossviz("probe", RUN, "--set", "probe.lengths=[0.3]").status == 0
    assert trained.config_file.read_bytes() == before
    modes = [load_results(trained.surface_file(name)).attrs["batch_norm"] for name in ("other", "third")]
    assert modes == ["recalibrate", "frozen"]
    assert lossviz("surface", "tiny.yaml", "--set", "surface.name=fourth").status == 0
    assert trained.config().surface.name == "fourth"


def test_a_checkpoint_of_another_architecture_is_refused_by_the_first_tensor(trained: Run) -> None:
    tiny.write(Path(), name="wide", model={"width": 0.05})
    assert lossviz("train", "tiny.yaml").status == 0
    other = Run(Path("runs/wide/wide")).checkpoint_file(12)
    answer = lossviz("surface", trained.folder, "--set", f"surface.checkpoint={other}")
    assert answer.status == 2
    assert f"surface.checkpoint: {other}: belongs to another network" in answer.err
    assert "in the file and" in answer.err
    assert not trained.surface_file("main").exists()


def test_quiet_prints_nothing() -> None:
    for arguments in (["train", "tiny.yaml"], ["probe", "tiny.yaml"], ["surface", RUN], ["plot", RUN]):
        answer = lossviz(*arguments, "--quiet")
        assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert lossviz("train", "nope", "-q").err != ""


def test_settings_variants_and_out() -> None:
    tiny.write(Path(), variants={"one": {}, "two": {"seed": 7}, "three": {}})
    answer = lossviz(
        "train", "tiny.yaml", "--variant", "two", "--variant", "three", "--out", "é ü/x", "--set", "train.steps=2"
    )
    assert answer.status == 0
    assert {path.name for path in Path("é ü/x/tiny").iterdir()} == {"two", "three"}
    config = Run(Path("é ü/x/tiny/two")).config()
    assert config.seed == 7
    assert config.train is not None
    assert config.train.steps == 2


def test_a_shipped_configuration_is_known_by_its_name() -> None:
    answer = lossviz("train", "quickstart", "--dry-run")
    assert answer.status == 0
    for text in ("runs/quickstart/standard:", "runs/quickstart/batchnorm:", "200 steps of 64 examples"):
        assert text in answer.out
    assert not Path("runs").exists()


def test_debug_adds_the_traceback() -> None:
    answer = lossviz("train", "nope", "--debug")
    assert answer.status == 2
    assert "Traceback" in answer.err
    assert "lossviz: nope: there is no such file" in answer.err


def test_an_error_of_the_system_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lossviz.work.train", broken)
    answer = lossviz("train", "tiny.yaml")
    assert (answer.status, answer.err) == (1, "lossviz: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["train", "tiny.yaml", "--set", "train.lr=much"], 2),
        (["surface", "nope.yaml"], 2),
        (["plot", "runs/tiny", "--quiet"], 0),
    ],
)
def test_torch_is_not_imported_where_nothing_is_computed(trained: Run, arguments: list[str], status: int) -> None:
    assert trained.train_file.exists()
    heavy = '{"torch", "torchvision", "sklearn"' + (', "xarray", "matplotlib"}' if "plot" not in arguments else "}")
    script = (
        f"import sys; sys.argv = ['lossviz', *{arguments!r}]\n"
        "from lossviz.cli import main\n"
        f"try: main()\nexcept SystemExit as end: assert end.code == {status}, end.code\n"
        f"found = {heavy} & set(sys.modules)\nassert not found, found"
    )
    # The source tree, or wherever the lossviz under test comes from.
    environment = {"PYTHONPATH": str(Path(sys.modules["lossviz"].__file__ or "").parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
