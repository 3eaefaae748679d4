"""`lossviz.Probe`: the measures of `lossviz probe` inside anybody's training loop."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from pydantic import Field, ValidationError
from torch import nn
from torch.optim import Optimizer

from lossviz.config.measures import MEASURES
from lossviz.config.probe import Probe as ProbeSection
from lossviz.config.problems import refusals_of
from lossviz.config.section import Section
from lossviz.data.batch import Batch, is_pair, moved
from lossviz.data.minibatches import Minibatch
from lossviz.distributed.ranks import ranks
from lossviz.engine.loss import given_loss, given_loss_name
from lossviz.engine.losses import Closure
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample
from lossviz.errors import RequestError, refuse
from lossviz.files import remove_partials, shown
from lossviz.lock import exclusive
from lossviz.loops.apart import apart
from lossviz.loops.copies import check_network, copied
from lossviz.loops.curves import EARLY, Number, RecordedCurves
from lossviz.loops.description import ANEW, LoopDescription
from lossviz.loops.later import Given, LaterBatches
from lossviz.loops.optimizers import OptimizerStep, bare, penalty_decay
from lossviz.loops.rehearsal import rehearse_in_loop
from lossviz.models.duplicate import unwrapped
from lossviz.probe.layers import find_layers
from lossviz.probe.prober import ProbedTraining, Prober
from lossviz.provenance import code_fingerprint, machine, versions
from lossviz.results import CURVES, MEASUREMENTS
from lossviz.run import Run
from lossviz.seeding import derive

# A kill -9 costs at most about this much work.
SECONDS_BETWEEN_SAVES = 60.0
# Relative. Another order of sums on a GPU is below it; another training is above it after some steps.
SAME_LOSS = 1e-4


class Probe:
    """Measures a network at chosen steps of a training loop, and changes nothing in it.

    Call it at each step with the batch, before the optimizer's step. It measures on a copy of the network, in the
    modes that its modules have, in the precision of its parameters (never autocast); random numbers are put back.

    Args:
        folder: where probe.nc goes, such as runs/EXPERIMENT/VARIANT; `lossviz plot` takes it.
        model: the network, on any device, wrapped (DDP, torch.compile) or not.
        loss: of outputs and targets, or of the model and a batch, as that of `loss_surface`.
        every: steps between measurements; a call between them takes a microsecond.
        measures: as `probe.measures` of the configuration (docs/configuration.md).
        optimizer: for shift and critical-sharpness, which ask for its next step, and for the learning rate.
        batches: for batch-sharpness and gradient-noise-scale, which take seven further batches at the same point: a
            function from a step to its batch, a list, or a DataLoader, from its first batch on at each measurement.
        examples: the fixed examples of sharpness, as batches; its Hessian is that of the step's batch unless given.
        seed: of the noise (dropout) of the measurements, which is the same in all passes of a step.
        fresh: discard what the folder has instead of going on with it.
        settings: further keys of the `probe` section: lengths, layers, channel, sharpness.

    Raises:
        RequestError: an argument is none of those above, or the folder has the measurements of another training.
        WorkError: another process writes there.

    Example:
        >>> import tempfile
        >>> from torch.nn import functional
        >>> model, batch = nn.Linear(2, 3), (torch.randn(8, 2), torch.arange(8) % 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Probe(f"{tempfile.mkdtemp()}/mine/sgd", model, every=5, optimizer=optimizer) as probe:
        ...     for _ in range(11):
        ...         probe(batch)
        ...         functional.cross_entropy(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> sorted(path.name for path in probe.run.folder.glob("*.nc")), sorted(probe.prober.rows)
        (['probe.nc'], [0, 5, 10])
    """

    def __init__(
        self,
        folder: Path | str,
        model: nn.Module,
        loss: PerExample | Closure | None = None,
        *,
        every: int = 100,
        measures: Sequence[str] = ("landscape",),
        optimizer: Optimizer | None = None,
        batches: Given | None = None,
        examples: Sequence[Batch] = (),
        seed: int = 0,
        fresh: bool = False,
        **settings: object,
    ) -> None:
        self.run, self.model, self.optimizer = Run(Path(folder)), unwrapped(model), bare(optimizer)
        self.loss, self.seed, self.step = loss, seed, EARLY
        self.config = _section(
            {"every": every, "measures": measures if isinstance(measures, str) else list(measures), **settings},
            examples,
        )
        self.later = None if batches is None else LaterBatches(batches)
        self.examples = examples
        check_network(self.model)
        self._loop = LoopDescription(self.run, self.model, self.optimizer, seed, self.config)
        self._refuse_needy()
        self._writes, self._rehearsed, self._saved_at = _is_first(), False, -math.inf
        if self._writes:
            self._begin(fresh)

    def __call__(self, batch: Batch, step: int | None = None) -> None:
        """Measure before the update of a step, if one is due.

        Args:
            batch: of the step. Of several processes the first one measures, on its own part.
            step: updates before this one; counted from 0 by the calls unless given, as where a training resumes.

        Raises:
            RequestError: network, loss and batch do not fit together; or probe.nc has another loss at this step, from
                another training.
            WorkError: a measurement fails.
        """
        now = self.step + 1 if step is None else step
        before, self.step = now - 1 if self.step == EARLY else self.step, now
        if self._writes:
            self.curves.begin(now)
            # Multiples may be passed over: Lightning counts the steps of several optimizers together.
            if now // self.config.every > before // self.config.every:
                self._visit(batch)

    def record(self, **values: Number) -> None:
        """Keep curves of the loop in train.nc, from which `lossviz plot` draws the figure `training`.

        Args:
            values: by the names of docs/results.md: loss, accuracy (%), penalty and lr, of the step that was called
                last; train_loss, train_error (%), val_loss and val_error (%), of an evaluation after its update. Before
                the first call both are of its step.

        Raises:
            RequestError: there is no such variable, or a value is not one number.
        """
        self.record_at(self.step, EARLY if self.step == EARLY else self.step + 1, values)

    def record_at(self, step: int, done: int, values: Mapping[str, Number]) -> None:
        """As `record`, where the loop itself counts the updates before its minibatch, and those that are done."""
        if self._writes:
            self.curves.add(step, done, values)
            self._save_now_and_then()

    def close(self) -> None:
        """Save, and let others write to the folder. A `with` block ends with it."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writes:
            self._writes = False
            self._open.__exit__(kind, error, trace)

    def _begin(self, fresh: bool) -> None:
        """Be the folder's only writer, and go on with what it has."""
        run, trained = self.run, next(each for each in self.model.parameters() if each.requires_grad)
        precision = str(trained.dtype).removeprefix("torch.")
        with ExitStack() as stack:
            stack.enter_context(exclusive(run.folder))
            remove_partials(run.folder)
            self._loop.refuse_run()
            for file in (run.probe_file, run.train_file) if fresh else ():
                file.unlink(missing_ok=True)
            self._loss_name = self._loop.check_folder()
            self._training = ProbedTraining(
                self.config,
                run.probe_file,
                precision,
                trained_in=precision,
                attributes=self._attributes,
                subset=[self._minibatch(batch, noise=i) for i, batch in enumerate(self.examples)],
                weight_decay=penalty_decay(self.optimizer),
                seed=self.seed,
                anew="fresh=True",
                rates=self.optimizer is not None,
            )
            self.prober, self.curves = Prober(self._training), RecordedCurves(run.train_file)
            self._earlier = set(self.prober.rows)
            provenance = {"machine": machine(), "versions": versions(), "code": code_fingerprint()}
            compute = {"device": str(trained.device), "threads": torch.get_num_threads(), "precision": precision}
            self._outcome = stack.enter_context(
                run.stage("probe", command=sys.argv, seed=self.seed, **provenance, compute=compute)
            )
            stack.callback(self._save)
            self._open = stack.pop_all()

    def _visit(self, batch: Batch) -> None:
        """Measure at a step that is due, or see that it is the one that an earlier process measured."""
        step, known = self.step, self.step in self.prober.rows
        if known and step not in self._earlier:
            return
        with apart(self.model, None if self.later is None else self.later.given):
            twin = copied(self.model)
            objective = Objective(twin, given_loss(self.loss, counts=True))
            here = self._minibatch(batch, derive(self.seed, "noise", step))
            if known:
                self._compare(objective, here)
                return
            if not self._rehearsed:
                rehearse_in_loop(objective, here, self.model)
                self._loss_name, self._rehearsed = given_loss_name(self.loss, batch), True
                layers = find_layers(self.config, objective, here.batch)
                self._training = replace(self._training, layers=layers, attributes=self._attributes)
            self.prober.training = replace(self._training, minibatches=self._minibatches())
            self.prober.observe(step, objective, here, OptimizerStep(self.optimizer, self.model, twin))
        self._save_now_and_then()

    def _compare(self, objective: Objective, here: Minibatch) -> None:
        """The loop must be the one that an earlier process measured, where it comes by again."""
        self._earlier.discard(self.step)
        before, now = float(self.prober.rows[self.step]["loss"]), float(objective.apply(here).mean.detach())
        if not math.isclose(before, now, rel_tol=SAME_LOSS) and str(before) != str(now):  # in words NaN is NaN
            problem = f"is of another training: its loss at step {self.step} was {before:.6g}, and is {now:.6g} here"
            refuse(shown(self.run.probe_file), problem, advice=ANEW)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def _attributes(self) -> dict[str, str | float]:
        return self._loop.attributes(self._loss_name, MEASUREMENTS)

    def _minibatch(self, batch: Batch, noise: int) -> Minibatch:
        return Minibatch(moved(batch, self._device), noise)

    def _minibatches(self) -> Callable[[int], Minibatch] | None:
        """The minibatches of the steps after this one."""
        if self.later is None:
            return None
        batches = self.later(self.step)
        return lambda step: self._minibatch(batches(step), derive(self.seed, "noise", step))

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self._save()

    def _save(self) -> None:
        self.prober.save()
        self.curves.save(self._loop.attributes(self._loss_name, CURVES))
        self._outcome["steps"] = len(self.prober.rows)
        self._saved_at = time.monotonic()

    def _refuse_needy(self) -> None:
        """Refuse measures that need what was not given."""
        config = self.config
        for name in config.measures:
            if MEASURES[name].optimizer and self.optimizer is None:
                refuse("measures", f"{name} needs the optimizer's next step", advice="give it: optimizer=optimizer")
            if MEASURES[name].later and self.later is None:
                advice = "give them: batches=, a function from a step to its batch, a list, or a DataLoader"
                refuse("measures", f"{name} needs seven further batches", advice=advice)
        if (config.sharpness.examples == "minibatch") == bool(self.examples):
            advice = "examples=[batch, ...] are these examples; where they are not (inputs, targets), say how many"
            refuse("probe.sharpness.examples", given=config.sharpness.examples, advice=advice)


class _Settings(Section):
    """The settings as a configuration has them, for its refusals."""

    probe: ProbeSection = Field(description="what to measure, as in a configuration")


def _section(given: dict[str, Any], examples: Sequence[Batch]) -> ProbeSection:
    if examples and all(map(is_pair, examples)):
        given["sharpness"] = {**given.get("sharpness", {}), "examples": sum(len(targets) for _, targets in examples)}
    try:
        return _Settings.model_validate_json(json.dumps({"probe": given}, default=str)).probe
    except ValidationError as error:
        raise RequestError(*refusals_of(error)) from None


def _is_first() -> bool:
    """Whether this process is the one that measures and writes."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return ranks().first
