"""The training loop: one variant from its last saved state to its last step."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lossviz.config.train import Plateau, Train
from lossviz.data.load import AnySplit
from lossviz.data.minibatches import Minibatch
from lossviz.engine.checkpoint import save_resume
from lossviz.engine.evaluation import Evaluation, Mean
from lossviz.engine.objective import Objective
from lossviz.engine.point import penalty
from lossviz.engine.state import tensors_of
from lossviz.progress import Report
from lossviz.signals import StopRequest
from lossviz.training.curves import Curves
from lossviz.training.files import Files
from lossviz.training.shard import Shard
from lossviz.training.step_graph import StepGraph
from lossviz.training.stepper import Stepper

# Losses are read from the device this often, so that a GPU is never waited for at every step.
STEPS_BETWEEN_CHECKS = 16
# A kill -9 costs at most about this much work; saving the largest network (VGG-19, momentum) takes 0.3 s.
SECONDS_BETWEEN_SAVES = 60.0

# The evaluation of no examples.
_NONE = Evaluation(0.0, 0.0, 0.0, 0, 0.0)
_NO_TERM = Mean(0.0, 0.0, 0.0)


class Observer(Protocol):
    """Measures something during a training, without changing it."""

    def due(self, step: int) -> bool:
        """Whether to measure before the update of this step."""

    def observe(self, step: int, objective: Objective, batch: Minibatch, stepper: Stepper) -> None:
        """Measure at the present point, on the minibatch of this step, before the step is taken."""

    def save(self) -> None:
        """Write what was measured so far."""


@dataclass
class TrainingLoop:
    """The training of one variant; everything about step t is a pure function of (configuration, t).

    Attributes:
        name: the variant's, for the report.
        config: the `train` section.
        objective: the loss of the network, at the parameters that `step` begins with.
        stepper: the optimiser, likewise.
        shard: the minibatches, and the processes that share them: only the first of these writes.
        evaluated: the splits, or this process's parts of them, by the prefix of their curves.
        batch: examples that an evaluation computes together.
        curves: what is recorded.
        files: what is written, or compared in a replay.
        end: the last step.
        step: the next one.
        observer: measures before the steps that it calls due.
        capture: whether the network keeps its tensors and draws nothing; see `StepGraph`.
        check: called at the end; says why the network is in doubt, or nothing.
    """

    name: str
    config: Train
    objective: Objective
    stepper: Stepper
    shard: Shard
    evaluated: Mapping[str, AnySplit]
    batch: int
    curves: Curves
    files: Files
    end: int
    step: int = 0
    observer: Observer | None = None
    capture: bool = False
    check: Callable[[Objective], str] = lambda _: ""

    def __post_init__(self) -> None:
        self.group = self.shard.group
        self._saved_at = time.monotonic()
        self._train = StepGraph(update, self.objective, self.stepper, self.shard, allowed=self.capture)

    def go(self, report: Report, stop: StopRequest) -> None:
        """Train to the end, to divergence, or to a request to stop; what is finished is on disk then.

        Raises:
            Stopped: after saving, where a person or the system asked to stop.
            WorkError: the disk is full, another process has ended, or a replay departs from the training.
        """
        with report.track(f"{self.files.doing} {self.name}", self.end, "steps", self.step) as track:
            while True:
                going_on = self._events(stop)
                self._say_doubts(report)
                if not going_on:
                    break
                self._update()
                track.advance()
        doubt = self.check(self.objective)
        if doubt:
            self.objective.doubts.append(doubt)
            self._say_doubts(report)
        self.group.part()
        stop.obey()
        self.files.close()

    def _say_doubts(self, report: Report) -> None:
        for doubt in self.objective.doubts:
            report.say_own(f"warning: {self.name}: {doubt}")
        self.objective.doubts.clear()

    def _events(self, stop: StopRequest) -> bool:
        """Evaluate, observe and save between two updates; whether another update follows."""
        step, config = self.step, self.config
        last = step >= self.end
        evaluate = (
            not self.files.replays and _due(step, config.eval_every, last) and step not in self.curves.evaluations
        )
        observe = self.observer is not None and self.observer.due(step)
        checkpoint = _due(step, config.checkpoint_every, last)
        if (evaluate or observe or checkpoint or step % STEPS_BETWEEN_CHECKS == 0) and self._diverged():
            return False
        if evaluate:
            self._evaluate()
        if isinstance(config.schedule, Plateau):  # before it is asked for the next step
            self.stepper.errors = self.curves.judged(step)
        if observe and self.observer is not None:
            self.objective.model.train()
            self.observer.observe(step, self.objective, self.shard.minibatches(step), self.stepper)
        if checkpoint and self.group.first:
            self.files.checkpoint(step, tensors_of(self.objective.model))
        # Asked once, and last: what was measured while the request came in is saved too.
        agreed, late = self.group.largest(stop.number, int(time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES))
        if agreed:
            # Only then: a request that came while the processes waited for one another is for the next time.
            stop.number = agreed
        if checkpoint or agreed or late:
            if self._diverged():
                return False
            self._save()
        return not (last or agreed)

    def _diverged(self) -> bool:
        if self.curves.settle():
            return False
        self._write_results()
        return True

    def _update(self) -> None:
        """One step of the optimiser; step t's numbers belong to the point before it."""
        self.curves.add(self._train(self.step), self.stepper.rate(self.step))
        self.step += 1

    def _evaluate(self) -> None:
        self.group.copy_from_first(list(self.objective.model.buffers()))
        values: dict[str, float] = {}
        for name, split in self.evaluated.items():
            found = self.objective.evaluate(split.batches(self.batch)) if len(split) else _NONE
            (loss,) = self.group.mean([found.loss], found.weight)
            (error,) = self.group.mean([found.error], found.examples)  # of sequences, whatever their lengths
            values |= {f"{name}_loss": loss, f"{name}_error": error}
            for term in self.curves.terms:
                mean = found.terms.get(term, _NO_TERM)
                (values[f"{name}_loss_{term}"],) = self.group.mean([mean.loss], mean.weight)
        self.curves.add_evaluation(self.step, values)

    def _write_results(self) -> None:
        if not self.group.first:
            return
        if self.observer is not None:
            self.observer.save()
        self.files.write(self.curves)

    def _save(self) -> None:
        # The state to resume from comes last: results may run ahead of it (they are rewound), never behind.
        self._write_results()
        if self.group.first:
            file, title = self.files.resume_file, self.files.titles[0]
            save_resume(file, self.step, self.objective.model, self.stepper.optimizer, title)
        self._saved_at = time.monotonic()


def update(objective: Objective, stepper: Stepper, shard: Shard, step: int) -> tuple[Tensor, ...]:
    """Train on the minibatch of a step; its loss, accuracy (%), penalty and terms at the point before."""
    objective.model.train()
    decay = penalty(objective.parameters, stepper.config.penalty_decay)
    here = shard.differentiate(objective, step)
    stepper.take(here.gradient, step)
    return here.loss, here.correct * (100 / shard.minibatches.batch_size), decay, *here.terms


def _due(step: int, every: int, last: bool) -> bool:
    return last or step % every == 0
