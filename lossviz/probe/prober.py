"""The prober of a run: which steps are measured, and which are on disk."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import xarray as xr

from lossviz.data.minibatches import Minibatch
from lossviz.engine.backend import full_precision
from lossviz.engine.objective import Objective
from lossviz.errors import refuse
from lossviz.probe.layers import probed_layers
from lossviz.probe.measure import Coordinate, NextStep, Step, load_measures
from lossviz.probe.step import BASE, measure_step, repeats_itself
from lossviz.results import ProbeResults, in_units, load_results, protocol, save_results, variable
from lossviz.run import differences
from lossviz.setup import Setup


class Prober:
    """Measures a run at chosen steps and keeps the numbers in its probe.nc; an observer of a training.

    Args:
        setup: the variant.
        steps: at which to measure; those that probe.nc has already are not measured again.

    Raises:
        RequestError: probe.nc holds measurements made another way; or the network does not have the layers.
    """

    def __init__(self, setup: Setup, steps: Iterable[int]) -> None:
        self.setup = setup
        self.config = setup.config.probe
        self.measures = load_measures(self.config)
        self.variables = {
            **BASE,
            **{name: each for measure in self.measures for name, each in measure.variables.items()},
        }
        self.rows: dict[int, dict[str, np.ndarray]] = {}
        self._restore()
        self.wanted = set(steps)
        self.subset = self._subset()
        self.layers = probed_layers(setup)
        self.minibatches = setup.minibatches()
        self._anchored: bool | None = None

    @property
    def precision(self) -> str:
        """The precision of the measurements, which is not that of a training in mixed precision."""
        return self.setup.backend.full_precision

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
        objective = objective.in_full_precision()
        if self._anchored is None:
            with full_precision():
                self._anchored = not repeats_itself(objective, batch)
        at = Step(
            objective,
            batch,
            self.config,
            layers=self.layers,
            weight_decay=self.setup.train.penalty_decay,
            rate=stepper.rate(step),
            preview=partial(stepper.preview, step=step),
            later=lambda count: self.minibatches(step + count),
            subset=self.subset,
            seed=self.setup.config.seed,
            anchored=self._anchored,
        )
        with full_precision():
            found = measure_step(at)
        self.rows[step] = {name: value.cpu().numpy() for name, value in found.items()}

    def save(self) -> None:
        """Write probe.nc."""
        if self.rows:
            save_results(self.setup.run.probe_file, self.dataset())

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
                **protocol(self.setup.config, self.setup.loss_name, "measurements along the gradient"),
                "planned": len(self.wanted | set(self.rows)),
                "lr": self.setup.train.lr,
                "precision": self.precision,
            },
        )
        return in_units(results)

    def _subset(self) -> list[Minibatch]:
        """The fixed examples of `sharpness`, in batches; none where it is the step's own minibatch."""
        examples = self.config.sharpness.examples
        if "sharpness" not in self.config.measures or examples == "minibatch":
            return []
        key = "probe.sharpness.examples"
        chosen = self.setup.data.train.choose(examples, "stratified", self.setup.config.seed, key)
        return [Minibatch(*batch, noise=i) for i, batch in enumerate(chosen.batches(self.setup.train.batch_size))]

    def _restore(self) -> None:
        file = self.setup.run.probe_file
        if not file.exists():
            return
        saved = load_results(file)
        there, here = ProbeResults(saved).config["probe"], self.config.model_dump(mode="json")
        for name, before, now in differences({**there, "every": None}, {**here, "every": None}, "probe"):
            problem = f"was measured with {name} = {before}, and now it is {now}"
            refuse(str(file), problem, advice="measure it again with --fresh, or keep what it was")
        # Files without the attribute were measured in the training's own precision.
        before = saved.attrs.get("precision", self.setup.backend.precision)
        if before != self.precision:
            problem = f"was measured in {before}, and now it would be in {self.precision}"
            refuse(str(file), problem, advice="measure it again with --fresh")
        for i, step in enumerate(saved["step"].values.tolist()):
            self.rows[step] = {name: saved[name].values[i] for name in self.variables}
