"""The training loop: one variant from its last saved state to its last step."""

import hashlib
import time
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from lossviz.config.model import OwnModel
from lossviz.config.train import Plateau
from lossviz.data.minibatches import Minibatch
from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.distributed.group import Group
from lossviz.engine.checkpoint import load_resume, save_resume
from lossviz.engine.evaluation import Evaluation
from lossviz.engine.objective import Objective
from lossviz.engine.point import penalty
from lossviz.engine.state import steady
from lossviz.engine.trust import EXAMPLES, disagreement
from lossviz.models.build import count_parameters
from lossviz.progress import Report
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.curves import Curves
from lossviz.training.files import Files
from lossviz.training.shard import Shard, shard_of
from lossviz.training.step_graph import StepGraph, capturable
from lossviz.training.stepper import Stepper

# Losses are read from the device this often, so that a GPU is never waited for at every step.
STEPS_BETWEEN_CHECKS = 16
# A kill -9 costs at most about this much work; saving the largest network (VGG-19, momentum) takes 0.3 s.
SECONDS_BETWEEN_SAVES = 60.0

# Of no examples.
_NONE = Evaluation(0.0, 0.0, 0.0, 0)


class Observer(Protocol):
    """Measures something during a training, without changing it."""

    def due(self, step: int) -> bool:
        """Whether to measure before the update of this step."""

    def observe(self, step: int, objective: Objective, batch: Minibatch, stepper: Stepper) -> None:
        """Measure at the present point, on the minibatch of this step, before the step is taken."""

    def save(self) -> None:
        """Write what was measured so far."""


class TrainingLoop:
    """The training of one variant; everything about step t is a pure function of (configuration, t).

    Args:
        setup: the variant.
        files: what is written, or compared in a replay.
        end: the last step.
        observer: measures before the steps that it calls due.
        group: the processes that train together; only the first of them writes, and only one alone is observed.
    """

    def __init__(
        self,
        setup: Setup,
        files: Files,
        end: int,
        observer: Observer | None = None,
        group: Group | None = None,
    ) -> None:
        self.config, self.setup = setup.train, setup
        self.files, self.end, self.observer = files, end, observer
        self.group = group or Group()
        self.evaluated = {name: self.group.shard(split) for name, split in evaluated_splits(setup).items()}
        self._saved_at = time.monotonic()
        self._begin()
        self.shard = shard_of(setup, self.group, self.objective.model)
        facts: dict[str, int | str] = {
            "parameters": count_parameters(self.objective.model),
            "outputs": setup.data.outputs,
            "precision": setup.backend.precision,
        }
        self.curves = Curves(setup.config, setup.loss_name, facts)
        self.files.restore(self.curves, self._resume())
        if not self.group.alone:
            self.group.refuse_differences({"weights": self._digest()})
        # A person's own network may put new tensors in the place of its own, which a graph would not see.
        own_network = isinstance(setup.config.model, OwnModel)
        allowed = not own_network and capturable(self.objective.model, self.stepper, self.shard)
        self.update = StepGraph(update, self.objective, self.stepper, self.shard, allowed=allowed)

    def go(self, report: Report, stop: StopRequest) -> None:
        """Train to the end, to divergence, or to a request to stop; what is finished is on disk then.

        Raises:
            Stopped: after saving, where a person or the system asked to stop.
            WorkError: the disk is full, or a replay departs from the training.
        """
        name = f"{self.files.doing} {self.setup.run.variant}"
        with report.track(name, self.end, "steps", self.step) as track:
            while True:
                going_on = self._events(stop)
                self._say_doubts(report)
                if not going_on:
                    break
                self._update()
                track.advance()
        if not self.files.replays and self.group.first and isinstance(self.setup.config.model, OwnModel):
            self._compare_with_checkpoint()
            self._say_doubts(report)
        stop.obey()
        self.files.close()

    def _say_doubts(self, report: Report) -> None:
        for doubt in self.objective.doubts:
            report.say_own(f"warning: {self.setup.run.variant}: {doubt}")
        self.objective.doubts.clear()

    def _begin(self) -> None:
        self.step = 0
        self.objective = self.setup.objective()
        self.stepper = Stepper(self.config, self.objective.parameters)

    def _resume(self) -> int | None:
        """Resume from the saved state, if there is one; returns its step."""
        if not self.files.resume_file.exists():
            return None
        self.step = load_resume(self.files.resume_file, self.objective.model, self.stepper.optimizer)
        if self.files.replays and self.observer and any(self.observer.due(step) for step in range(self.step)):
            self._begin()  # that replay was for other steps: these lie behind it
        return self.step

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
        if observe and self.observer is not None:
            self.observer.observe(step, self.objective, self.shard.minibatches(step), self.stepper)
        if checkpoint and self.group.first:
            self.files.checkpoint(step, self.objective.model.state_dict())
        # Asked once, and last: what was measured while the request came in is saved too.
        stop.number, late = self.group.largest(
            stop.number, int(time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES)
        )
        stopping = bool(stop)
        if checkpoint or stopping or late:
            if self._diverged():
                return False
            self._save()
        return not (last or stopping)

    def _diverged(self) -> bool:
        if self.curves.settle():
            return False
        self._write_results()
        return True

    def _update(self) -> None:
        """One step of the optimiser; step t's numbers belong to the point before it."""
        if isinstance(self.config.schedule, Plateau):
            self.stepper.errors = self.curves.validation(self.step, "loss" if self.setup.data.regression else "error")
        loss, accuracy, decay = self.update(self.step)
        self.curves.add(loss, accuracy, decay, self.stepper.rate(self.step))
        self.step += 1

    def _evaluate(self) -> None:
        self.group.copy_from_first(list(self.objective.model.buffers()))
        values: dict[str, float] = {}
        for name, split in self.evaluated.items():
            found = self.objective.evaluate(split.batches(self.setup.backend.evaluation_batch)) if len(split) else _NONE
            loss, error = self.group.mean([found.loss, found.error], found.examples)
            values |= {f"{name}_loss": loss, f"{name}_error": error}
        self.curves.add_evaluation(self.step, values)

    def _compare_with_checkpoint(self) -> None:
        """A network that is made anew must be this one, once it has the tensors that a checkpoint holds."""
        objective, (inputs, _) = self.objective, next(iter(self.setup.data.train.batches(EXAMPLES)))
        anew = self.setup.objective(eager=True).model.eval()
        anew.load_state_dict(objective.model.state_dict())
        with steady(objective.model):
            objective.model.eval()
            here, there = objective.precisely(objective.model), objective.precisely(anew)
            reason = disagreement(there, here, inputs, objective.tolerance)
        if reason:
            objective.doubts.append(
                f"a network that is made anew from a checkpoint of this one departs from it: {reason}. What a network "
                "keeps in plain attributes is in no checkpoint, and neither in scans and resumed trainings: use buffers"
            )

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
            save_resume(self.files.resume_file, self.step, self.objective.model, self.stepper.optimizer)
        self._saved_at = time.monotonic()

    def _digest(self) -> str:
        """SHA-256 of all that the next step starts from."""
        digest = hashlib.sha256(repr(self.step).encode())
        moments = [value for state in self.stepper.optimizer.state.values() for value in state.values()]
        for tensor in (*self.objective.model.state_dict().values(), *moments):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def evaluated_splits(setup: Setup) -> Mapping[str, Split | StreamedSplit]:
    """The splits that a training evaluates, by the prefix of their curves."""
    data, examples = setup.data, setup.train.eval_examples
    if examples == "none":
        return {"val": data.test}
    sample = data.train.choose(examples, "stratified", setup.config.seed, "train.eval_examples")
    return {"train": sample, "val": data.test}


def update(objective: Objective, stepper: Stepper, shard: Shard, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train on the minibatch of a step; its loss, accuracy (%) and penalty at the point before, on the device."""
    objective.model.train()
    decay = penalty(objective.parameters, stepper.config.penalty_decay)
    here = shard.differentiate(objective, step)
    stepper.take(here.gradient, step)
    return here.loss, here.correct * (100 / shard.minibatches.batch_size), decay


def _due(step: int, every: int, last: bool) -> bool:
    return last or step % every == 0
