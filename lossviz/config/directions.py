"""The `surface.directions` section: one class a kind of direction."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lossviz.config.section import AllOrCount, Section, Seed


def _is_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


Expression = Annotated[str, AfterValidator(_is_expression)]
Ignore = tuple[Literal["bias", "norm"], ...]
Normalize = Literal["filter", "layer", "weight", "none"]
# last is the run's newest checkpoint, a number the step of one of its checkpoints, other text a path.
Checkpoint = Literal["last"] | Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
_NORMALIZE = (
    "filter: every filter of the direction (the weights of one output) gets the norm of the weights' own; layer: every "
    "tensor does; weight: every entry is multiplied by its weight; none: as drawn."
)


_IGNORE = (
    "Kinds of parameters that stay. norm: normalisation layers, and layers that hold vectors only (PReLU, LayerScale); "
    "bias: the vectors of other layers. Both together: every tensor of one dimension."
)


class Parameters(Section):
    """Parameters by name, as regular expressions that are searched for in it: `layer3`, `conv1.weight$`."""

    include: tuple[Expression, ...] = Field((".",), description="Parameters that the directions move.")
    exclude: tuple[Expression, ...] = Field((), description="Parameters that stay although `include` names them.")


class Selection(Section):
    """Which parameters directions move; the others stay at the checkpoint's values."""

    ignore: Ignore = Field((), description=_IGNORE)
    parameters: Parameters = Field(Parameters(), description="Which parameters move, by name.")


class Random(Selection):
    """Gaussian directions, one number per parameter, rescaled to the weights (Li et al. 2018, section 4)."""

    kind: Literal["random"] = "random"
    ignore: Ignore = Field(("bias", "norm"), description=_IGNORE)
    normalize: Normalize = Field("filter", description=_NORMALIZE)
    seed: Seed = Field(123, description="Seed of the draw; independent of the experiment's seed.")
    keep: bool = Field(
        True,
        description="false: draw the directions again at every point and keep the checkpoint in a temporary file: a "
        "scan of a large network then needs little more memory than the network. The same numbers, later.",
    )


class Toward(Selection):
    """Toward other checkpoints: x = 1 is the first of them, y = 1 the second."""

    kind: Literal["toward"] = "toward"
    checkpoints: Annotated[tuple[Checkpoint, ...], Field(min_length=1, max_length=2)] = Field(
        description="One for a line, two for a plane: last, steps of this run, or paths."
    )
    orthonormalize: bool = Field(
        False,
        description="Make d2 perpendicular to d1 and as long as it, so that a plane is drawn undistorted; the second "
        "checkpoint is then marked where it lies.",
    )


class Pca(Selection):
    """The plane in which a run's checkpoints spread most: unit vectors, never rescaled (Li et al. 2018, section 7)."""

    kind: Literal["pca"] = "pca"
    checkpoints: Literal["all"] | Annotated[tuple[Checkpoint, ...], Field(min_length=3)] = Field(
        "all", description="Checkpoints whose spread counts: all of the run, or three or more."
    )


class Hessian(Selection):
    """Eigenvectors of the Hessian of the mean loss at the checkpoint, in eval mode: unit vectors, never rescaled."""

    kind: Literal["hessian"] = "hessian"
    eigenvectors: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] = Field(
        (1, 2), description="For x and y: 1 has the largest eigenvalue, 2 the next; -1 the smallest (most negative)."
    )
    examples: AllOrCount = Field(1000, description="Training examples over which the loss is averaged (stratified).")


class Gradient(Selection):
    """d1 is the negative gradient at the checkpoint, in eval mode, never rescaled: x is a step length. d2 is random."""

    kind: Literal["gradient"] = "gradient"
    examples: AllOrCount = Field("all", description="Training examples over which the loss is averaged (stratified).")
    normalize: Normalize = Field("filter", description=f"Rescaling of d2. {_NORMALIZE}")
    seed: Seed = Field(123, description="Seed of the draw of d2.")


class File(Section):
    """Directions from a file, unchanged: those of another scan, or the official tool's (.h5)."""

    kind: Literal["file"] = "file"
    path: Annotated[str, Field(min_length=1)] = Field(
        description="A directions-NAME.safetensors, with tensors x/PARAMETER and y/PARAMETER; or the official .h5."
    )


Directions = Annotated[Random | Toward | Pca | Hessian | Gradient | File, Field(discriminator="kind")]
