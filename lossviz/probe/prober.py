"""Which steps of a run are measured, and what is on disk of them."""

from collections.abc import Iterable

import numpy as np
import torch
import xarray as xr

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.schedule import penalty_decay
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError
from lossviz.probe.landscape import landscape
from lossviz.results import load_results, protocol, save_results, variable

_VARIABLES = {
    "loss": ("L(theta), mean loss of the minibatch", "nat"),
    "grad_norm": ("norm of the gradient g of the data loss", "nat"),
    "penalty": ("weight_decay / 2 * |theta|^2", "nat"),
    "path_loss": ("L(theta - eta * g)", "nat"),
    "path_penalty": ("weight_decay / 2 * |theta - eta * g|^2", "nat"),
    "grad_distance": ("|grad L(theta) - grad L(theta - eta * g)|", "nat"),
    "grad_cosine": ("cosine between grad L(theta) and grad L(theta - eta * g)", "1"),
    "smoothness": ("effective beta-smoothness, grad_distance / (eta * |g|)", "1"),
}


class Prober:
    """Measures a run at chosen steps and keeps the numbers in its probe.nc; an observer of a training.

    Args:
        setup: the variant.
        steps: at which to measure; those that probe.nc has already are not measured again.

    Raises:
        RequestError: probe.nc holds measurements made another way.
    """

    def __init__(self, setup: Setup, steps: Iterable[int]) -> None:
        self.setup = setup
        self.rows: dict[int, dict[str, np.ndarray]] = {}
        self._restore()
        self.wanted = set(steps)

    @property
    def missing(self) -> list[int]:
        """Steps still to measure, ascending."""
        return sorted(self.wanted - set(self.rows))

    def due(self, step: int) -> bool:
        """Whether this step is wanted and not yet measured."""
        return step in self.wanted and step not in self.rows

    def observe(self, step: int, objective: Objective, batch: Minibatch) -> None:
        """Measure at the present point, on the minibatch of this step."""
        config = self.setup.config
        assert config.train is not None
        found = landscape(objective, batch, config.probe.lengths, penalty_decay(config.train))
        flat = torch.cat([value.flatten() for value in found.values()]).cpu().numpy()
        ends = np.cumsum([value.numel() for value in found.values()])[:-1]
        self.rows[step] = dict(zip(found, np.split(flat, ends), strict=True))

    def save(self) -> None:
        """Write probe.nc."""
        if self.rows:
            save_results(self.setup.run.probe_file, self.dataset())

    def dataset(self) -> xr.Dataset:
        """As in docs/results.md."""
        config = self.setup.config
        assert config.train is not None
        steps = sorted(self.rows)
        lengths = config.probe.lengths
        variables = {}
        for name, (long_name, units) in _VARIABLES.items():
            values = np.stack([self.rows[step][name] for step in steps])
            along = values.shape[1] == len(lengths) and name not in ("loss", "grad_norm", "penalty")
            variables[name] = variable(
                ("step", "length") if along else "step", values if along else values[:, 0], long_name, units
            )
        return xr.Dataset(
            variables,
            coords={
                "step": variable("step", np.array(steps, dtype=np.int64), "updates before this measurement", "1"),
                "length": variable("length", lengths, "step length eta along -g", "1"),
            },
            attrs={
                **protocol(config, "landscape along the gradient"),
                "planned": len(self.wanted | set(self.rows)),
                "lr": config.train.lr,
            },
        )

    def _restore(self) -> None:
        file = self.setup.run.probe_file
        if not file.exists():
            return
        saved = load_results(file)
        before, now = saved["length"].values.tolist(), list(self.setup.config.probe.lengths)
        if before != now:
            raise RequestError(
                f"{file}: was measured with probe.lengths = {before}, and now they are {now}\n"
                "  measure anew with --fresh, or keep the old lengths"
            )
        for i, step in enumerate(saved["step"].values.tolist()):
            self.rows[step] = {name: np.atleast_1d(saved[name].values[i]) for name in _VARIABLES}
