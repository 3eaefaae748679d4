"""The whole configuration of one variant of an experiment."""

from pydantic import Field, model_validator

from lossviz.config.data import Data
from lossviz.config.loss import Loss
from lossviz.config.model import Model
from lossviz.config.probe import Probe
from lossviz.config.section import Name, Section, Seed
from lossviz.config.surface import Surface
from lossviz.config.train import Train


class Config(Section):
    """One variant, complete: everything that decides its numbers."""

    name: Name = Field(description="Of the experiment; its results go to runs/<name>/<variant>/.")
    variant: Name = Field("", validate_default=False, description="Of this variant; filled in from `variants`.")
    siblings: tuple[Name, ...] = Field(
        (), description="All variants of the experiment in its order, which is the order of legends; filled in."
    )
    seed: Seed = Field(0, description="Every random number of a run derives from it.")
    data: Data = Field(description="The data set.")
    model: Model = Field(description="The network.")
    loss: Loss | None = Field(
        None, description="The loss of one example. Default: cross-entropy of classes, squared error of vectors."
    )
    train: Train | None = Field(None, description="Training; may be absent where only a checkpoint is scanned.")
    probe: Probe = Field(default_factory=Probe, description="Measurements along the gradient.")
    surface: Surface = Field(default_factory=Surface, description="Scans of the loss around a checkpoint.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        examples = self.data.examples
        if self.train and isinstance(examples, int) and self.train.batch_size > examples:
            raise ValueError(f"train.batch_size = {self.train.batch_size} is larger than data.examples = {examples}")
        if self.train:
            self._fits_training(self.train)
        precision = self.surface.precision
        if precision == "auto" and self.train:
            precision = self.train.precision
        if precision == "bfloat16" and "hessian" in (*self.surface.metrics, self.surface.directions.kind):
            raise ValueError(
                "surface.precision = bfloat16 has too few digits for a Hessian, which surface.metrics or "
                "surface.directions asks for"
            )
        vectors, own = self.data.name == "gaussian", self.data.name == "own"
        if not own and self.model.name != "own" and (self.model.name == "linear") != vectors:
            raise ValueError(
                f"model.name = {self.model.name} does not fit data.name = {self.data.name}; linear goes with gaussian, "
                "the others with images"
            )
        if not own and self.loss and self.loss.name == ("cross-entropy" if vectors else "squared-error"):
            raise ValueError(
                f"loss.name = {self.loss.name} does not fit data.name = {self.data.name}; cross-entropy goes with "
                "classes, squared-error with vectors"
            )
        return self

    def _fits_training(self, train: Train) -> None:
        hooked = [measure for measure in ("activations", "sharpness") if measure in self.probe.measures]
        if train.compile is True and hooked:
            raise ValueError(f"train.compile = true hides the inside of the network, which {hooked[0]} needs; use auto")
        norm = getattr(self.model, "norm", "none")
        if train.batch_size == 1 and norm not in ("none", "noise"):
            raise ValueError(f"train.batch_size = 1 with model.norm = {norm}: statistics need two examples")
        examples = self.probe.sharpness.examples
        if isinstance(examples, int) and examples % train.batch_size:
            raise ValueError(
                f"probe.sharpness.examples = {examples} is not a multiple of train.batch_size = {train.batch_size}: "
                "statistics of BatchNorm belong to whole minibatches"
            )
