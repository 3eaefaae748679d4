"""The whole configuration of one variant of an experiment."""

from collections.abc import Iterator

from pydantic import Field

from lossviz.config.data import Data
from lossviz.config.loss import Loss
from lossviz.config.measures import MEASURES
from lossviz.config.model import Model, Transformers
from lossviz.config.probe import Probe
from lossviz.config.section import Name, Section, Seed
from lossviz.config.surface import Surface
from lossviz.config.train import Train
from lossviz.errors import Refusal


class Config(Section):
    """One variant, complete: everything that decides its numbers."""

    name: Name = Field(description="Name of the experiment; its results go to runs/<name>/<variant>/.")
    variant: Name = Field("", validate_default=False, description="Name of this variant; filled in from `variants`.")
    siblings: tuple[Name, ...] = Field(
        (), description="All variants of the experiment, in the order of legends; filled in."
    )
    seed: Seed = Field(0, description="Seed of every random number of a run.")
    data: Data = Field(description="The data set.")
    model: Model = Field(description="The network.")
    loss: Loss | None = Field(
        None, description="The loss of one example. Default: cross-entropy for classes, squared error for vectors."
    )
    train: Train | None = Field(None, description="Training; not needed if only a checkpoint is scanned.")
    probe: Probe = Field(Probe(), description="Measurements along the gradient.")
    surface: Surface = Field(Surface(), description="Scans of the loss around a checkpoint.")

    def conflicts(self) -> Iterator[Refusal]:
        """Sections that do not fit together."""
        if self.train:
            yield from self._conflicts_of_training(self.train)
        precision = self.surface.precision
        if precision == "auto" and self.train:
            precision = self.train.precision
        if precision == "bfloat16" and "hessian" in (*self.surface.metrics, self.surface.directions.kind):
            yield Refusal(
                "surface.precision",
                "has too few digits for a Hessian, which surface.metrics or surface.directions asks for",
                precision,
                also=("train.precision", "surface.metrics", "surface.directions.kind"),
            )
        vectors, own = self.data.name == "gaussian", self.data.name == "own"
        if not own and self.model.name != "own" and _taken(self.model) != _given(self.data):
            network = getattr(self.model, "network", None)
            yield Refusal(
                "model.name",
                f"does not fit data.name = {self.data.name}; linear goes with gaussian, gpt and "
                "transformers/AutoModelForCausalLM with text, the others with images",
                f"{self.model.name}/{network}" if network else self.model.name,
                also=("data.name",),
            )
        if not own and self.loss and self.loss.name == ("cross-entropy" if vectors else "squared-error"):
            yield Refusal(
                "loss.name",
                f"does not fit data.name = {self.data.name}; cross-entropy goes with classes, "
                "squared-error with vectors",
                self.loss.name,
                also=("data.name",),
            )

    def _conflicts_of_training(self, train: Train) -> Iterator[Refusal]:
        size, examples, fixed = train.batch_size, self.data.examples, self.probe.sharpness.examples
        if isinstance(examples, int) and size > examples:
            problem = f"is larger than data.examples = {examples}"
            yield Refusal("train.batch_size", problem, size, also=("data.examples",))
        eager = [measure for measure in self.probe.measures if MEASURES[measure].eager]
        if train.compile is True and eager:
            problem = f"hides the inside of the network, which {eager[0]} of probe.measures needs; use auto"
            yield Refusal("train.compile", problem, given=True, also=("probe.measures",))
        norm = getattr(self.model, "norm", "none")
        if size == 1 and norm not in ("none", "noise"):
            problem = f"model.norm = {norm} takes statistics, which need two examples"
            yield Refusal("train.batch_size", problem, size, also=("model.norm",))
        if isinstance(fixed, int) and fixed % size:
            problem = (
                f"is not a multiple of train.batch_size = {size}: statistics of BatchNorm belong to whole minibatches"
            )
            yield Refusal("probe.sharpness.examples", problem, fixed, also=("train.batch_size",))


def _given(data: Data) -> str:
    """What a data set of lossviz is made of."""
    return {"gaussian": "vectors", "text": "tokens"}.get(data.name, "images")


def _taken(model: Model) -> str:
    """What a network takes with a data set of lossviz; other tokens and labels come with data of the user's own."""
    if isinstance(model, Transformers):
        return {"AutoModelForCausalLM": "tokens", "AutoModelForImageClassification": "images"}.get(model.network, "own")
    return {"linear": "vectors", "gpt": "tokens"}.get(model.name, "images")
