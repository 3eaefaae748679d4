"""The prober of a run: which steps are measured, and which are on disk."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from lossviz.config.merging import differences
from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.backend import full_precision
from lossviz.engine.curvature import PRODUCTS, attributes_of_products
from lossviz.engine.objective import Objective
from lossviz.errors import refuse
from lossviz.models.layers import WeightLayer
from lossviz.probe.measure import Coordinate, NextStep, Step, Variable, load_measures
from lossviz.probe.step import BASE, measure_step, repeats_itself
from lossviz.results import ProbeResults, in_units, load_results, save_results, variable

_ERROR = "hessian_error"
# Attribute of a file: the steps that a replay measured since it was last compared with a checkpoint.
_DOUBTFUL = "doubtful"
RATE = Variable((), "learning rate of the step", "1")


@dataclass(frozen=True)
class ProbedTraining:
    """What a prober must know of a training, whether lossviz trains or a loop of the user.

    Attributes:
        config: the `probe` section.
        file: probe.nc.
        precision: of the measurements, which is not that of a training in mixed precision.
        trained_in: the precision of the training.
        attributes: of the file, beside those of the measurements.
        minibatches: from a step to its minibatch; None where those of later steps are not known.
        layers: the layers of `probe.layers`.
        subset: the fixed examples of `probe.sharpness`; empty for the minibatch of the step.
        weight_decay: the factor of the penalty.
        seed: the experiment's.
        titles: whose measurements the file must hold, see `Run.titles`; empty where any will do.
        anew: what a person says to discard measurements.
        rates: whether the file has the learning rate of each step, because no schedule tells it.
    """

    config: Probe
    file: Path
    precision: str
    trained_in: str
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    minibatches: Callable[[int], Minibatch] | None = None
    layers: Sequence[WeightLayer] = ()
    subset: Sequence[Minibatch] = ()
    weight_decay: float = 0.0
    seed: int = 0
    titles: tuple[str, ...] = ()
    anew: str = "--fresh"
    rates: bool = False


class Prober:
    """Measures a training at chosen steps and keeps the numbers in probe.nc; an observer of the training.

    Args:
        training: what is measured, and how.
        steps: at which to measure; those that probe.nc has already are not measured again.

    Attributes:
        doubts: whether what is measured from now on is of a replay, which may turn out to be another training.

    Raises:
        RequestError: probe.nc holds measurements made another way.
    """

    def __init__(self, training: ProbedTraining, steps: Iterable[int] = ()) -> None:
        self.training = training
        self.config = training.config
        self.measures = load_measures(self.config)
        self.variables = {
            **BASE,
            **({"lr": RATE} if training.rates else {}),
            **{name: each for measure in self.measures for name, each in measure.variables.items()},
        }
        self.rows: dict[int, dict[str, np.ndarray]] = {}
        self.products: dict[str, str | float] = {}
        self.doubts, self._doubtful = False, set[int]()
        self._restore()
        self.wanted = set(steps)
        self._anchored: bool | None = None

    @property
    def missing(self) -> list[int]:
        """Steps still to measure, ascending."""
        return sorted(self.wanted - set(self.rows))

    def due(self, step: int) -> bool:
        """Whether this step is wanted and not yet measured."""
        return step in self.wanted and step not in self.rows

    def observe(self, step: int, objective: Objective, batch: Minibatch, stepper: NextStep) -> None:
        """Measure at the present point, on the minibatch of this step, before the step is taken.

        In full precision, whatever that of the training: differences of gradients are small numbers.
        """
        training, minibatches = self.training, self.training.minibatches
        objective = objective.in_full_precision()
        if self._anchored is None:
            with full_precision():
                self._anchored = not repeats_itself(objective, batch)
        at = Step(
            objective,
            batch,
            self.config,
            layers=training.layers,
            weight_decay=training.weight_decay,
            rate=stepper.rate(step),
            preview=partial(stepper.preview, step=step),
            later=None if minibatches is None else lambda count: minibatches(step + count),
            subset=training.subset,
            seed=training.seed,
            anchored=self._anchored,
        )
        with full_precision():
            found = measure_step(at)
        products = attributes_of_products(objective.model)
        if _ERROR in products:
            products[_ERROR] = max(float(products[_ERROR]), float(self.products.get(_ERROR, 0.0)))
        self.products |= products
        self.rows[step] = {name: value.cpu().numpy() for name, value in found.items()}
        if self.doubts:
            self._doubtful.add(step)
        if training.rates:
            self.rows[step]["lr"] = np.array(stepper.rate(step))

    def trust(self) -> None:
        """Take what was measured as that of the training: a replay is at one of its checkpoints."""
        self._doubtful.clear()

    def discard_doubtful(self) -> None:
        """Discard what a replay measured since it was last known to be the training, here and in probe.nc."""
        self.rows = {step: row for step, row in self.rows.items() if step not in self._doubtful}
        self._doubtful.clear()
        self.save()
        if not self.rows:
            self.training.file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write probe.nc."""
        if self.rows:
            save_results(self.training.file, self.dataset())

    def dataset(self) -> xr.Dataset:
        """The measurements as docs/results.md describes them."""
        steps = sorted(self.rows)
        step = variable("step", np.array(steps, dtype=np.int64), "updates before this measurement", "1")
        known = {"layer": Coordinate(self.config.layers, "weight layer, counted from 1")}
        for measure in self.measures:
            known |= measure.coordinates(self.config)
        dims = dict.fromkeys(dim for each in self.variables.values() for dim in each.dims)
        arrays = {
            name: variable(
                ("step", *each.dims), np.stack([self.rows[step][name] for step in steps]), each.long_name, each.units
            )
            for name, each in self.variables.items()
        }
        results = xr.Dataset(
            arrays,
            coords={"step": step, **{dim: variable(dim, *known[dim]) for dim in dims}},
            attrs={
                **self.training.attributes,
                "planned": len(self.wanted | set(self.rows)),
                "precision": self.training.precision,
                **self.products,
                **({_DOUBTFUL: sorted(self._doubtful)} if self._doubtful else {}),
            },
        )
        return in_units(results)

    def _restore(self) -> None:
        file = self.training.file
        if not file.exists():
            return
        saved = load_results(file, self.training.titles)
        there, here = ProbeResults(saved).config["probe"], self.config.model_dump(mode="json")
        for name, before, now in differences({**there, "every": None}, {**here, "every": None}, "probe"):
            problem = f"was measured with {name} = {before}, and now it is {now}"
            refuse(str(file), problem, advice=f"measure it again with {self.training.anew}, or keep what it was")
        # Files without the attribute were measured in the training's own precision.
        before, now = saved.attrs.get("precision", self.training.trained_in), self.training.precision
        if before != now:
            problem = f"was measured in {before}, and now it would be in {now}"
            refuse(str(file), problem, advice=f"measure it again with {self.training.anew}")
        self.products = {name: value for name, value in saved.attrs.items() if name in PRODUCTS}
        self._doubtful = set(np.atleast_1d(saved.attrs.get(_DOUBTFUL, [])).tolist())
        for i, step in enumerate(saved["step"].values.tolist()):
            self.rows[step] = {name: saved[name].values[i] for name in self.variables}
