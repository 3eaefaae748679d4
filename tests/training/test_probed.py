"""Trainings that are probed: along the way, at their checkpoints, and in a replay."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError
from lossviz.probe import prober
from lossviz.probe.command import probe_checkpoints, probe_training, probed_training
from lossviz.probe.prober import Prober
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import begin, train
from lossviz.training.files import ReplayFiles
from lossviz.training.loop import Observer, TrainingLoop
from lossviz.training.stepper import Stepper
from tests.faults import tiny
from tests.faults.tiny import QUIET
from tests.training.test_loop import PLATEAU, interrupt, started


def replaying(setup: Setup, observer: Observer, end: int) -> TrainingLoop:
    return begin(setup, ReplayFiles(setup.run, end), end, observer)


@pytest.mark.parametrize("norm", ["none", "batch", "noisy-batch"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_probe_changes_nothing_and_sees_the_same_whenever_it_comes(tmp_path: Path, norm: str, precision: str) -> None:
    changed = {"model": {"norm": norm}, "train": {"precision": precision}}
    plain, online, half, replayed, after = (
        tiny.setup(tmp_path, out, **changed) for out in ("plain", "online", "half", "replayed", "after")
    )
    train(plain, QUIET, StopRequest())
    before = tiny.everything(plain.run)
    probe_training(online, QUIET, StopRequest())
    expected = tiny.results(online.run.probe_file)
    assert {**tiny.everything(online.run), "probe.nc": None} == {**before, "probe.nc": None}

    interrupt(half, 7)
    probe_training(half, QUIET, StopRequest())
    assert tiny.results(half.run.probe_file) == expected
    assert {**tiny.everything(half.run), "probe.nc": None} == {**before, "probe.nc": None}

    train(replayed, QUIET, StopRequest())
    untouched = tiny.tree(replayed.run.folder / "checkpoints")
    probe_training(replayed, QUIET, StopRequest())
    assert tiny.results(replayed.run.probe_file) == expected
    assert tiny.tree(replayed.run.folder / "checkpoints") == untouched

    train(after, QUIET, StopRequest())
    probe_checkpoints(after, QUIET, StopRequest())
    there, here = load_results(after.run.probe_file), load_results(online.run.probe_file)
    assert there["step"].values.tolist() == [0, 4, 8, 12]
    assert here["step"].values.tolist() == [0, 3, 6, 9, 12]
    common = [0, 12]
    assert there.sel(step=common).identical(here.sel(step=common).assign_attrs(there.attrs))


def test_probes_of_checkpoints_and_of_the_training_complete_each_other(tmp_path: Path) -> None:
    setup, online = tiny.setup(tmp_path), tiny.setup(tmp_path, "online", probe={"every": 1})
    train(setup, QUIET, StopRequest())
    probe_checkpoints(setup, QUIET, StopRequest())
    probe_training(setup, QUIET, StopRequest())
    probe_training(online, QUIET, StopRequest())
    there, here = load_results(setup.run.probe_file), load_results(online.run.probe_file)
    steps = [0, 3, 4, 6, 8, 9, 12]
    assert there["step"].values.tolist() == steps
    assert there.identical(here.sel(step=steps).assign_attrs(there.attrs))


class Impatient(StopRequest):
    """Fails a loop that never ends."""

    asked = 0

    @property
    def number(self) -> int:
        self.asked += 1
        assert self.asked < 200, "the loop does not end"
        return 0

    @number.setter
    def number(self, _: int) -> None:
        pass


class StopsAt:
    """A prober that asks for a stop right after a certain step."""

    def __init__(self, setup: Setup, steps: Sequence[int], at: int) -> None:
        self.prober, self.stop, self.at = Prober(probed_training(setup), steps), StopRequest(), at

    def due(self, step: int) -> bool:
        return self.prober.due(step)

    def observe(self, step: int, objective: Objective, batch: Minibatch, stepper: Stepper) -> None:
        self.prober.observe(step, objective, batch, stepper)
        if step == self.at:
            self.stop.number = signal.SIGINT

    def save(self) -> None:
        self.prober.save()


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_a_stopped_replay_misses_no_step_that_is_asked_for_later(tmp_path: Path, every: int) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    prober = StopsAt(setup, [8, 9, 12], at=9)
    with pytest.raises(Stopped):
        replaying(setup, prober, 12).go(QUIET, prober.stop)
    assert setup.run.replay_file.exists()
    probe_checkpoints(setup, QUIET, StopRequest())  # now the last step is known, and a replay ends earlier

    later = tiny.setup(tmp_path, probe={"every": every})
    probe_training(later, QUIET, Impatient())
    whole = tiny.setup(tmp_path, "whole", probe={"every": 1})
    probe_training(whole, QUIET, StopRequest())
    found, expected = load_results(later.run.probe_file), load_results(whole.run.probe_file)
    assert set(range(0, 13, every)) <= set(found["step"].values.tolist())
    assert found.identical(expected.sel(step=found["step"].values).assign_attrs(found.attrs))


def test_a_plateau_is_replayed(tmp_path: Path) -> None:
    """The learning rate behind `shift` comes from evaluations, which a replay does not repeat."""
    sections: dict[str, Any] = {
        "train": {"schedule": PLATEAU, "eval_every": 2},
        "probe": {"measures": ["shift"], "layers": [2]},
    }
    online, replayed = (tiny.setup(tmp_path, out, **sections) for out in ("online", "replayed"))
    probe_training(online, QUIET, StopRequest())
    train(replayed, QUIET, StopRequest())
    probe_training(replayed, QUIET, StopRequest())
    assert tiny.everything(online.run) == tiny.everything(replayed.run)
    rates = load_results(online.run.train_file)["lr"].values
    assert rates == pytest.approx([0.05] * 4 + [0.025] * 4 + [0.0125] * 4)  # evaluated before steps 0, 2, 4, ...
    with pytest.raises(RequestError, match="evaluations before a plateau"):
        probe_checkpoints(online, QUIET, StopRequest())


class Rates:
    """An observer that asks for the learning rate of each step."""

    def __init__(self) -> None:
        self.found: dict[int, float] = {}

    def due(self, _step: int) -> bool:
        return True

    def observe(self, step: int, _objective: Objective, _batch: Minibatch, stepper: Stepper) -> None:
        self.found[step] = stepper.rate(step)

    def save(self) -> None:
        pass


def test_an_observer_is_told_the_learning_rate_that_the_step_then_has(tmp_path: Path) -> None:
    """Also where the step was evaluated just before, and in the first one after a training resumed."""
    setup = tiny.setup(tmp_path, train={"schedule": PLATEAU, "eval_every": 2})
    rates, stop = Rates(), StopRequest()
    interrupt(setup, 7)
    train(setup, QUIET, stop, rates)
    expected = load_results(setup.run.train_file)["lr"].values.tolist()
    assert [rates.found[step] for step in range(7, 12)] == expected[7:]
    again = tiny.setup(tmp_path, "again", train={"schedule": PLATEAU, "eval_every": 2})
    train(again, QUIET, stop, rates)
    assert [rates.found[step] for step in range(12)] == load_results(again.run.train_file)["lr"].values.tolist()


def test_the_error_of_products_is_the_largest_of_all_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop of one's own has a new network at each measurement, whose error alone the products know."""
    setup = tiny.setup(tmp_path, probe={"every": 4})
    errors = iter([1e-4, 3e-3, 1e-3, 2e-3])
    monkeypatch.setattr(prober, "attributes_of_products", lambda _: {"hessian_error": next(errors)})
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file).attrs["hessian_error"] == 3e-3


def test_a_stopped_replay_goes_on_where_it_stopped(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    prober = StopsAt(setup, [3, 6, 9], at=6)
    with pytest.raises(Stopped):
        replaying(setup, prober, 9).go(QUIET, prober.stop)
    rest = Prober(probed_training(setup), [3, 6, 9])
    assert rest.missing == [9]
    assert replaying(setup, rest, 9).step == 6


def test_what_is_measured_while_a_stop_comes_in_is_kept(tmp_path: Path) -> None:
    """Evaluations and measurements take longest, so that is where most requests to stop arrive."""
    setup = tiny.setup(tmp_path)
    prober = StopsAt(setup, [0, 3, 6], at=6)
    with pytest.raises(Stopped):
        train(setup, QUIET, prober.stop, prober)
    assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 3, 6]
    assert load_results(setup.run.train_file)["eval_step"].values.tolist() == [0, 6]
    assert started(setup).step == 6
