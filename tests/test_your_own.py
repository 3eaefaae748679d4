"""A person's own network, data and loss through the command line: nothing runs unless allowed, then all of it does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lossviz.engine.checkpoint import load_tensors
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.seeding import seeded
from tests.faults import tiny
from tests.faults.tiny import lossviz

CODE = """
import pathlib
import torch
from torch import nn
from torch.nn import functional

with pathlib.Path("it ran").open("a") as log:
    log.write("x")

class Net(nn.Module):
    def __init__(self, classes, width=6):
        super().__init__()
        self.late = nn.BatchNorm1d(width)  # defined before the layer that it follows
        self.one, self.two = nn.Linear(2, width), nn.Linear(width, classes)
    def forward(self, inputs):
        if inputs.shape[0] == 12345:
            raise ValueError("never")
        return self.two(torch.relu(self.late(self.one(inputs))))

def quadrants(count):
    inputs = torch.randn(2 * count, 2)
    classes = (inputs[:, 0] * inputs[:, 1] > 0).long()
    return (inputs[:count], classes[:count]), (inputs[count:], classes[count:])

def smooth(outputs, targets, eps):
    return functional.cross_entropy(outputs, targets, label_smoothing=eps, reduction="none")

def scalar(outputs, targets):
    return functional.cross_entropy(outputs, targets)

def breaks(outputs, targets):
    if len(targets) == 8:
        raise ValueError("a batch of eight")
    return functional.cross_entropy(outputs, targets, reduction="none")
"""
EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "data": {"target": "nets.py:quadrants", "args": {"count": 32}},
    "model": {"target": "nets.py:Net", "args": {"width": 5}},
    "loss": {"target": "nets.py:smooth", "args": {"eps": 0.2}},
    "train": {"steps": 6, "batch_size": 8, "eval_every": 6, "checkpoint_every": 3},
    "probe": {"every": 3, "lengths": [0.1, 0.2]},
    "surface": {"x": [-1, 1, 3], "y": [-1, 1, 3]},
}
RUN = Path("runs/mine/mine")
RAN = Path("it ran")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(CODE)
    Path("mine.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))


def refused(*arguments: str) -> str:
    """The message of a command that exits with 2, runs no code of anybody and touches nothing."""
    RAN.unlink(missing_ok=True)
    before = tiny.tree(Path())
    answer = lossviz(*arguments)
    assert (answer.status, answer.out) == (2, ""), answer
    assert tiny.tree(Path()) == before
    return answer.err


@pytest.mark.parametrize("command", ["train", "probe", "surface"])
def test_code_that_is_not_allowed_does_not_run(command: str) -> None:
    for allow in ([], ["--allow", "other.py"], ["--allow", "nets"], ["--allow", "pathlib"]):
        Path("other.py").write_text(CODE)
        message = refused(command, "mine.yaml", *allow)
        assert "mine.yaml, line 3: data.target = nets.py:quadrants: runs code" in message or "line 4" in message
        assert "add --allow nets.py" in message


def test_the_whole_of_an_experiment() -> None:
    for command in ("train", "probe", "surface"):
        answer = lossviz(command, "mine.yaml", "--allow", "nets.py", "--device", "cpu")
        assert (answer.status, answer.err) == (0, ""), answer
    assert lossviz("plot", "runs/mine").status == 0
    assert RAN.read_text() == "x"  # the file was loaded once
    run = Run(RUN)
    saved = yaml.safe_load(run.config_file.read_text())
    for key in ("data", "model", "loss"):
        assert EXPERIMENT[key].items() <= saved[key].items()
        assert saved[key]["name"] == "own"
    for stage in ("train", "probe", "surface-main"):
        assert list(run.record()[stage]["own_code"]) == ["nets.py"]
        assert run.record()[stage]["own_code"]["nets.py"].startswith("sha256:")
    # The loss that was trained is the person's: evaluated here by their own function.
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    net = namespace["Net"](2, 5)
    net.load_state_dict(load_tensors(run.checkpoint_file(6)))
    with seeded(torch.device("cpu"), 0, "own data"):
        (inputs, classes), _ = namespace["quadrants"](32)
    with torch.no_grad():
        expected = namespace["smooth"](net.eval()(inputs), classes, 0.2).mean()
    np.testing.assert_allclose(load_results(run.train_file).train_loss.values[-1], float(expected), rtol=1e-6)
    np.testing.assert_allclose(load_results(run.surface_file("main")).loss.values[1, 1], float(expected), rtol=1e-6)


def test_a_run_is_no_permission() -> None:
    assert lossviz("train", "mine.yaml", "--allow", "nets.py").status == 0
    for command in ("probe", "surface"):
        for source in ("runs/mine", str(RUN), str(RUN / "config.yaml")):
            assert "config.yaml, line " in refused(command, source)
        assert "--allow nets.py" in refused(command, "runs/mine", "--set", "model.args.width=5")
    assert lossviz("probe", "runs/mine", "--allow", "./nets.py").status == 0
    # Figures read files only.
    RAN.unlink(missing_ok=True)
    assert lossviz("plot", "runs/mine").status == 0
    assert not RAN.exists()


COUNTING = """
class Counting(Net):
    def __init__(self, classes, share):
        super().__init__(classes)
        self.share, self.seen = share, 0
    def forward(self, inputs):
        self.seen += self.training
        return super().forward(inputs) * (1 + self.share * self.seen)
    def get_extra_state(self):
        return {"seen": self.seen}
    def set_extra_state(self, state):
        self.seen = state["seen"]
"""


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_extra_states_are_left_out_and_missed_where_they_matter(share: float) -> None:
    """No checkpoint holds them, and only a network that computes with them cannot be rebuilt from one."""
    Path("nets.py").write_text(CODE + COUNTING)
    given = ("--set", "model.target=nets.py:Counting", "--set", f"model.args={{share: {share}}}", "--allow", "nets.py")
    trained = lossviz("train", "mine.yaml", *given)
    assert (trained.status, trained.err) == (0, "")
    assert ("a network that is rebuilt from a checkpoint of this one departs" in trained.out) == bool(share)
    assert lossviz("surface", "mine.yaml", *given).status == 0


def test_another_loss_is_another_training() -> None:
    assert lossviz("train", "mine.yaml", "--allow", "nets.py").status == 0
    answer = lossviz("train", "mine.yaml", "--allow", "nets.py", "--set", "loss.args.eps=0.3")
    assert answer.status == 2
    assert "loss.args.eps = 0.2 there, 0.3 now" in answer.err


def test_refusals_of_what_does_not_fit_touch_nothing() -> None:
    for setting, text in (
        ("loss={target: 'nets.py:scalar'}", "the loss of 3 examples is one number"),
        ("loss={target: 'nets.py:smoth'}", "nets.py:smoth: nets.py has no smoth; did you mean smooth?"),
        ("loss.args.esp=1", "nets.py:smooth: does not fit args = {eps: 0.2, esp: 1}"),
        ("model.args.width=5.5", "nets.py, line "),
        ("loss={name: squared-error}", "loss.name = squared-error: the targets of the data are classes"),
        ("model={name: vgg}", "model.name = vgg: takes images of 32x32"),
    ):
        before = tiny.tree(Path())
        answer = lossviz("train", "mine.yaml", "--allow", "nets.py", "--set", setting)
        assert answer.status in (1, 2), answer
        assert text in answer.err
        assert "Traceback" not in answer.err
        assert {name for name in tiny.tree(Path()) if name != "it ran"} == {name for name in before if name != "it ran"}


def test_errors_in_the_middle_of_the_work_are_told_by_line_and_debug_shows_all() -> None:
    arguments = ["train", "mine.yaml", "--allow", "nets.py", "--set", "loss={target: 'nets.py:breaks'}"]
    answer = lossviz(*arguments)
    assert answer.status == 1
    line = CODE.splitlines().index('        raise ValueError("a batch of eight")') + 1
    assert answer.err == (
        f"lossviz: nets.py, line {line}: ValueError: a batch of eight\n  --debug shows the whole traceback\n"
    )
    assert Run(RUN).record()["train"]["status"] == "failed"
    answer = lossviz(*arguments, "--debug")
    assert "Traceback" in answer.err
    assert 'raise ValueError("a batch of eight")' in answer.err


def test_variants_of_own_and_known_networks_share_data() -> None:
    tree = {**EXPERIMENT, "variants": {"mine": {}, "linear": {"model": {"name": "linear", "depth": 2}, "loss": None}}}
    Path("mine.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    answer = lossviz("train", "mine.yaml", "--allow", "nets.py")
    assert (answer.status, answer.err) == (0, "")
    records = [Run(Path("runs/mine") / name).record()["train"] for name in ("mine", "linear")]
    assert records[0]["data"] == records[1]["data"]


def test_a_wrong_option_is_a_wrong_request() -> None:
    assert "--allow nope.py: there is no such file" in refused("train", "mine.yaml", "--allow", "nope.py")
    assert "name the file or module alone: nets.py" in refused("train", "mine.yaml", "--allow", "nets.py:Net")


def test_torch_is_not_imported_for_what_is_not_allowed() -> None:
    script = (
        "import sys; sys.argv = ['lossviz', 'train', 'mine.yaml']\n"
        "from lossviz.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 2, end.code\n"
        "found = {'torch', 'xarray', 'numpy'} & set(sys.modules)\nassert not found, found"
    )
    environment = {"PYTHONPATH": str(Path(sys.modules["lossviz"].__file__ or "").parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "add --allow nets.py" in done.stderr
    assert not RAN.exists()
