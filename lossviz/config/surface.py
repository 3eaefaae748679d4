"""The `surface` section: which line or plane through a trained network is scanned, on which data."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from lossviz.config.directions import Checkpoint, Directions, Hessian, Random, Toward
from lossviz.config.section import AllOrCount, AutoOrBool, Count, Name, Section
from lossviz.config.train import Precision
from lossviz.errors import Refusal

Bound = Literal["auto"] | float
Metric = Literal["gradient", "hessian"]
BatchNormMode = Literal["frozen", "batch", "recalibrate", "interpolate"]


def _grows(axis: tuple[Bound, Bound, int]) -> tuple[Bound, Bound, int]:
    low, high, _ = axis
    if low != "auto" and high != "auto" and low >= high:
        raise ValueError(f"must grow: min = {low:g} is not below max = {high:g}")
    return axis


Axis = Annotated[tuple[Bound, Bound, Annotated[int, Field(ge=2)]], AfterValidator(_grows)]


def _share(value: object) -> float:
    """From 2% or 0.02 to 0.02."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        text = str(value).strip()
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError("must be a share, such as 2% or 0.02") from None
    if not 0 < share <= 1:
        raise ValueError("must be above 0 and at most 100%")
    return share


def _accuracy(value: object) -> object:
    if value == "exact":
        return value
    if not isinstance(value, dict):
        return _share(value)
    if len(value) != 1 or not value.keys() <= {"absolute", "range"}:
        raise ValueError("must be exact, a share such as 2%, {absolute: a loss} or {range: a share}")
    if "range" in value:
        return {"range": _share(value["range"])}
    absolute = value["absolute"]
    if isinstance(absolute, bool) or not isinstance(absolute, int | float) or not 0 < absolute < float("inf"):
        raise ValueError("absolute must be a number above 0, in the unit of the loss")
    return {"absolute": float(absolute)}


Accuracy = Annotated[Literal["exact"] | float | dict[Literal["absolute", "range"], float], BeforeValidator(_accuracy)]


class SurfaceData(Section):
    """The examples over which the loss of every point is averaged; never augmented."""

    split: Literal["train", "test", "both"] = Field("train", description="Which split of the data set, or each.")
    examples: AllOrCount = Field("all", description="Number of examples (of each split).")
    choose: Literal["first", "stratified"] = Field(
        "first",
        description="Which examples, if fewer than all. first: the first ones, which in an imagefolder have one class "
        "or a few. stratified: the same share of each class, drawn with the seed.",
    )


class Statistics(Section):
    """Minibatches from which BatchNorm takes its statistics in the modes batch and recalibrate."""

    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="Examples in each.")
    batches: Count = Field(20, description="Number of minibatches of training examples (recalibrate).")


class Surface(Section):
    """A scan of the loss around a checkpoint theta: L(theta + x * d1 + y * d2)."""

    name: Name = Field("main", description="Name of the scan; scans of one run lie side by side under their names.")
    checkpoint: Checkpoint = Field(
        "last",
        description="last, a step, or a path: a file of safetensors or of torch.save, a folder of Hugging Face's "
        "libraries or of torch.distributed.checkpoint.",
    )
    x: Axis = Field(
        ("auto", "auto", 51),
        description="min, max and number of points along the first direction. auto: -1 and 1; for toward about -0.5 "
        "and 1.5; for pca the path and a fifth of it on either side; for gradient minus one and four learning rates.",
    )
    y: Axis | None = Field(None, description="The same along the second direction; without it the scan is a line.")
    directions: Directions = Field(Random(), description="The directions d1 and d2.")
    trajectory: AutoOrBool = Field(
        "auto",
        description="Also measure the run's checkpoints: their own loss, their place in the plane, their distance from "
        "it and the loss there. auto: if directions are pca.",
    )
    batch_norm: BatchNormMode = Field(
        "frozen",
        description="BatchNorm at a moved point. frozen: the checkpoint's running statistics (Li et al.). batch: "
        "those of each minibatch. recalibrate: re-estimated at every point. interpolate: running statistics move with "
        "the directions (kinds toward, pca and file).",
    )
    statistics: Statistics = Field(Statistics(), description="Minibatches of the modes batch and recalibrate.")
    metrics: tuple[Metric, ...] = Field(
        (),
        description="What to compute beside loss and error, for the parameters that directions may move. gradient: its "
        "norm. hessian: the extreme eigenvalues of the Hessian and |smallest / largest|, the convexity map. Both cost "
        "many passes.",
    )
    data: SurfaceData = Field(SurfaceData(), description="The examples of the scan.")
    accuracy: Accuracy = Field(
        "exact",
        description="Standard error of the loss that is good enough at a point, which then takes as many examples as "
        "that needs (docs/accuracy.md). exact: all of them. 2% or 0.02: of its loss. {range: 2%}: of the difference "
        "between the highest and the lowest loss. {absolute: 0.01}: of the loss as it is.",
    )
    batch_size: Literal["auto"] | Count = Field(
        "auto",
        description="Examples per forward pass; changes the cost, or last digits. auto: the fastest, measured.",
    )
    precision: Precision = Field(
        "auto", description="Arithmetic of the scan, as train.precision; auto: the same as that of the training."
    )
    compile: AutoOrBool = Field(
        "auto", description="torch.compile the forward pass. auto: when the scan is long enough to pay for it."
    )

    def conflicts(self) -> Iterator[Refusal]:
        """Directions that are not as many as axes, and what does not go with a mode of BatchNorm."""
        plane, directions = self.y is not None, self.directions
        if isinstance(directions, Toward) and plane != (len(directions.checkpoints) == 2):
            problem = (
                "a plane needs two checkpoints" if plane else "two checkpoints make a plane, which needs surface.y"
            )
            yield Refusal("surface.directions.checkpoints", problem, directions.checkpoints, also=("surface.y",))
        if isinstance(directions, Hessian):
            ranks = directions.eigenvectors
            if len(set(ranks)) < len(ranks) or 0 in ranks or (plane and len(ranks) < 2):
                accepted = (
                    "one for x, another for y: 1, 2, ... from the largest eigenvalue, -1, -2, ... from the smallest"
                )
                yield Refusal("surface.directions.eigenvectors", "", ranks, accepted, also=("surface.y",))
        if isinstance(directions, Random) and not directions.keep and directions.normalize == "weight":
            problem = "does not go with surface.directions.normalize = weight, which needs the weights at every point"
            yield Refusal("surface.directions.keep", problem, False, "true", also=("surface.directions.normalize",))
        if self.batch_norm == "interpolate" and directions.kind not in ("toward", "pca", "file"):
            yield Refusal(
                "surface.batch_norm",
                f"needs directions with running statistics, and surface.directions.kind = {directions.kind} has none",
                self.batch_norm,
                advice="the kinds toward, pca and file have them",
                also=("surface.directions.kind",),
            )
        if self.accuracy != "exact":
            yield from self._no_sample()
        if self.batch_norm == "batch" and self.batch_size != "auto":
            yield Refusal(
                "surface.batch_size",
                "does not go with surface.batch_norm = batch, where surface.statistics.batch_size decides",
                self.batch_size,
                "auto",
                also=("surface.batch_norm",),
            )

    def _no_sample(self) -> Iterator[Refusal]:
        """What needs all examples, or batches of them."""
        if self.batch_norm == "batch":
            problem = (
                "does not go with surface.batch_norm = batch: there the loss of an example depends on the examples "
                "beside it, and a sample of them has another mean"
            )
            advice = "surface.batch_norm: recalibrate takes the statistics from training minibatches"
            yield Refusal("surface.accuracy", problem, self.accuracy, "exact", advice, also=("surface.batch_norm",))
        if self.metrics:
            problem = "does not go with surface.metrics, which are over all examples"
            advice = "scan the metrics under a name of their own, on fewer surface.data.examples"
            yield Refusal("surface.accuracy", problem, self.accuracy, "exact", advice, also=("surface.metrics",))
