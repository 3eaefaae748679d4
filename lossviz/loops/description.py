"""What is known of somebody else's loop: what its result files say, and what tells it from another loop."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from torch import nn
from torch.optim import Optimizer

from lossviz.config.merging import differences
from lossviz.config.probe import Probe as ProbeSection
from lossviz.errors import refuse
from lossviz.files import shown
from lossviz.loops.optimizers import initial_group, made_with, training_section
from lossviz.models.build import count_parameters
from lossviz.results import ProbeResults, attributes
from lossviz.run import Run

ANEW = "fresh=True discards it; or name another folder"


@dataclass(frozen=True)
class LoopDescription:
    """A loop as its result files describe it, with keys like those of a configuration.

    Attributes:
        run: its folder.
        model: its network, unwrapped.
        optimizer: None where it is not known.
        seed: of the measurements.
        config: what is measured.
    """

    run: Run
    model: nn.Module
    optimizer: Optimizer | None
    seed: int
    config: ProbeSection

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The loop as a tree of plain values."""
        train = training_section(self.optimizer)
        return {
            "name": self.run.experiment,
            "variant": self.run.variant,
            "seed": self.seed,
            "model": {"name": type(self.model).__name__, "parameters": count_parameters(self.model)},
            **({} if self.optimizer is None else {"optimizer": made_with(self.optimizer)}),
            **({"train": train} if train else {}),
            "probe": self.config.model_dump(mode="json"),
        }

    def attributes(self, loss_function: str, title: str) -> dict[str, str | float]:
        """Those of a result file."""
        text = yaml.safe_dump(self.configuration, sort_keys=False)
        known = attributes(self.run.experiment, self.run.variant, self.seed, text, loss_function, title)
        return {**known, **self._rate}

    @cached_property
    def _rate(self) -> dict[str, float]:
        """The learning rate that the training begins with: a loop may set another one by hand later."""
        rate = None if self.optimizer is None else initial_group(self.optimizer.param_groups[0])["lr"]
        return {} if rate is None else {"lr": rate}

    def refuse_run(self) -> None:
        """Refuse a folder in which lossviz trained."""
        if self.run.config_file.exists():
            advice = "name another folder; lossviz probe measures this one"
            refuse(shown(self.run.folder), "is a run of lossviz train", advice=advice)

    def check_folder(self) -> str:
        """The name of the loss that the folder's measurements are of: own where there are none yet.

        Raises:
            RequestError: the measurements are those of another loop.
        """
        run = self.run
        if not run.probe_file.exists():
            return "own"
        saved = ProbeResults.load(run.probe_file)
        for key in ("seed", "model", "optimizer"):
            for name, before, now in differences(saved.config.get(key), self.configuration.get(key), key):
                refuse(shown(run.probe_file), f"was measured with {name} = {before}, and now it is {now}", advice=ANEW)
        return str(saved.data.attrs["loss_function"])
