"""The `surface` section: which line or plane through a trained network is scanned, on which data."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lossviz.config.section import AllOrCount, Count, Name, Section, Seed


def _grows(axis: tuple[float, float, int]) -> tuple[float, float, int]:
    low, high, _ = axis
    if low >= high:
        raise ValueError(f"the range must grow: min = {low:g} is not below max = {high:g}")
    return axis


Axis = Annotated[tuple[float, float, Annotated[int, Field(ge=2)]], AfterValidator(_grows)]


class Directions(Section):
    """Gaussian directions, one number per parameter, rescaled to the weights (Li et al. 2018, section 4)."""

    kind: Literal["random"] = Field("random", description="How the directions are found. random: drawn.")
    normalize: Literal["filter", "layer", "none"] = Field(
        "filter",
        description="Give every filter (output channel or row), or every tensor, of the direction "
        "the norm of the weights' own.",
    )
    ignore: tuple[Literal["bias", "norm"], ...] = Field(
        ("bias", "norm"), description="Kinds of parameters that stay at the checkpoint's values."
    )
    seed: Seed = Field(123, description="Of the draw; independent of the experiment's seed.")


class SurfaceData(Section):
    """The examples over which the loss of every point is averaged; never augmented."""

    split: Literal["train", "test"] = Field("train", description="Which split of the data set.")
    examples: AllOrCount = Field("all", description="How many examples.")
    choose: Literal["first", "stratified"] = Field("first", description="Which ones, when fewer than all.")


class Surface(Section):
    """A scan of the loss around a checkpoint theta: L(theta + x * d1 + y * d2)."""

    name: Name = Field("main", description="Several scans of one run live side by side under their names.")
    checkpoint: Literal["last"] | Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] = Field(
        "last", description="last, a step, or the path of a safetensors file or a PyTorch state_dict."
    )
    x: Axis = Field((-1.0, 1.0, 51), description="min, max and number of points along the first direction.")
    y: Axis | None = Field(None, description="The same along the second direction; without it the scan is a line.")
    directions: Directions = Field(default_factory=Directions, description="The directions d1 and d2.")
    batch_norm: Literal["frozen"] = Field(
        "frozen", description="BatchNorm at a moved point. frozen: the checkpoint's running statistics (Li et al.)."
    )
    data: SurfaceData = Field(default_factory=SurfaceData, description="The examples of the scan.")
    batch_size: Literal["auto"] | Count = Field(
        "auto",
        description="Examples per forward pass; changes the cost, not the meaning. auto: 64 on a CPU, 1000 on a GPU.",
    )
