"""The `train` section: optimiser, schedule, and how often to evaluate and to save."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lossviz.config.section import AllOrCount, AutoOrBool, Count, NonNegative, Positive, Section
from lossviz.errors import Refusal

Precision = Literal["auto", "float32", "float64", "tf32", "bfloat16"]


class Constant(Section):
    """lr(t) = lr."""

    kind: Literal["constant"] = "constant"


class Step(Section):
    """lr(t) = lr * gamma^(number of milestones <= t)."""

    kind: Literal["step"]
    milestones: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(description="Steps at which lr drops.")
    gamma: Positive = Field(0.1, description="Factor at every milestone.")

    def conflicts(self) -> Iterator[Refusal]:
        """Milestones out of order."""
        if list(self.milestones) != sorted(set(self.milestones)):
            yield Refusal("train.schedule.milestones", "must grow from one to the next", self.milestones)


class Cosine(Section):
    """lr(t) = lr * (1 + cos(pi * t / steps)) / 2 (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"]


class Plateau(Section):
    """lr(t) = lr * gamma^(number of plateaus before t); every `patience` evaluations without a new best are a plateau.

    What counts is val_error, or val_loss where there are no errors (regression, a loss of the model's own).
    """

    kind: Literal["plateau"]
    patience: Count = Field(
        description="Evaluations without a new best after which lr drops; 2 here is 1 in torch's ReduceLROnPlateau."
    )
    min_delta: NonNegative = Field(0.0, description="A new best is lower than the one before it by more than this.")
    gamma: Positive = Field(0.1, description="Factor at every plateau.")


Schedule = Annotated[Constant | Step | Cosine | Plateau, Field(discriminator="kind")]


class Train(Section):
    """How a variant is trained."""

    steps: Count = Field(description="Number of optimiser steps.")
    batch_size: Count = Field(128, description="Examples in a minibatch.")
    micro_batch: AllOrCount = Field(
        "all",
        description="Largest number of examples in one forward and backward pass, which decides the memory. A "
        "minibatch is cut into pieces of nearly one size, and their gradients are added up. BatchNorm sees each piece "
        "alone.",
    )
    sync_bn: bool = Field(
        False,
        description="With several processes: BatchNorm over the current examples of all processes. Otherwise each "
        "process normalises its own, and the running statistics are those of the first process.",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="torch.optim's SGD, Adam or AdamW.")
    lr: Positive = Field(0.1, description="Learning rate.")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Momentum of SGD.")
    nesterov: bool = Field(False, description="Nesterov's momentum (SGD).")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999), description="Decay rates of the moments (Adam, AdamW)."
    )
    weight_decay: NonNegative = Field(
        0.0,
        description="lambda of the penalty lambda/2 * |theta|^2 over all parameters; AdamW decays the weights "
        "directly.",
    )
    schedule: Schedule = Field(Constant(), description="How lr changes: constant, step, cosine or plateau.")
    warmup: Annotated[int, Field(ge=0)] = Field(
        0, description="Steps of linear warm-up: lr is multiplied by (t + 1) / warmup while t < warmup."
    )
    warmup_lr: Positive | None = Field(
        None, description="Constant learning rate of the warm-up, instead of the linear one (He et al. 2015)."
    )
    eval_every: Count = Field(
        1000, description="Steps between evaluations; also before the first step and after the last."
    )
    eval_examples: Literal["all", "none"] | Count = Field(
        "all",
        description="Training examples over which train_loss and train_error are computed (stratified); none: train.nc "
        "has neither. The test set is always used in full.",
    )
    checkpoint_every: Count = Field(
        1000, description="Steps between checkpoints; also before the first step and after the last."
    )
    precision: Precision = Field(
        "auto",
        description="Arithmetic; auto is float32. tf32: CUDA matrix products with 10-bit mantissas. bfloat16: "
        "automatic mixed precision, weights and sums in float32; also faster on CPUs that have it. Probes measure in "
        "float32 then; scans may differ.",
    )
    compile: AutoOrBool = Field(
        "auto",
        description="torch.compile the network. auto is false: it takes half a minute, and on a CPU wins some 15 %.",
    )
    channels_last: AutoOrBool = Field(
        "auto", description="Memory layout of images; auto is true (1.5 x faster on a CPU)."
    )

    @property
    def remembers(self) -> bool:
        """Whether a step depends on what a checkpoint does not hold: momentum, moments, earlier evaluations."""
        return self.optimizer != "sgd" or self.momentum > 0 or self.schedule.kind == "plateau"

    @property
    def penalty_decay(self) -> float:
        """The weight decay that is the gradient of a penalty: AdamW's is not, it acts apart from the loss."""
        return 0.0 if self.optimizer == "adamw" else self.weight_decay

    def conflicts(self) -> Iterator[Refusal]:
        """Options of another optimiser, and spans of steps that do not fit into the training."""
        if self.nesterov and (self.momentum == 0 or self.optimizer != "sgd"):
            yield Refusal(
                "train.nesterov",
                "needs optimizer: sgd and a momentum above 0",
                given=True,
                also=("train.optimizer", "train.momentum"),
            )
        if self.momentum > 0 and self.optimizer != "sgd":
            problem = f"belongs to optimizer: sgd; {self.optimizer} has betas"
            yield Refusal("train.momentum", problem, self.momentum, also=("train.optimizer",))
        if self.betas != type(self).model_fields["betas"].default and self.optimizer == "sgd":
            problem = "belongs to optimizer: adam or adamw; sgd has momentum"
            yield Refusal("train.betas", problem, self.betas, also=("train.optimizer",))
        if self.warmup > self.steps:
            yield Refusal(
                "train.warmup", f"is longer than train.steps = {self.steps}", self.warmup, also=("train.steps",)
            )
        if self.warmup_lr is not None and not self.warmup:
            problem = "needs a train.warmup of at least 1 step"
            yield Refusal("train.warmup_lr", problem, self.warmup_lr, also=("train.warmup",))
        if self.sync_bn and self.compile is True:
            problem = "does not go with train.compile = true; use auto"
            yield Refusal("train.sync_bn", problem, given=True, also=("train.compile",))
        if isinstance(self.schedule, Step) and self.schedule.milestones[-1] >= self.steps:
            problem = f"must lie before train.steps = {self.steps}"
            yield Refusal("train.schedule.milestones", problem, self.schedule.milestones, also=("train.steps",))
