"""The `data` section: which examples, how they are normalised and augmented."""

from typing import Annotated, Literal

from pydantic import Field

from lossviz.config.section import AllOrCount, Count, Positive, Section

Channels = Annotated[tuple[float, ...], Field(min_length=1)]


class Images(Section):
    """What all sets of labelled images share."""

    name: str
    examples: AllOrCount = Field("all", description="How many training examples are used.")
    choose: Literal["stratified", "first"] = Field(
        "stratified",
        description="Which ones, when fewer than all: the same share of each class, drawn with the seed; or the first.",
    )
    augment: Literal["none", "crop-flip"] = Field(
        "none", description="crop-flip: pad by 4 pixels, crop at random, mirror half of the images (training only)."
    )
    mean: Channels | None = Field(
        None, description="Subtracted from each channel, on the scale 0 to 1. Default: the data set's own."
    )
    std: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        None, description="Divides each channel, on the scale 0 to 1. Default: the data set's own."
    )


class Digits(Images):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, up-sampled to 32x32; 1,437 train, 360 test."""

    name: Literal["digits"]


class Cifar10(Images):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 in 10 classes (Krizhevsky 2009)."""

    name: Literal["cifar10"]
    root: str = Field("data", description="Folder that holds, or will hold, cifar-10-batches-py/.")
    download: bool = Field(True, description="Fetch the data set (170 MB) when it is not there.")


class Gaussian(Section):
    """Pairs (x, A x) with independent N(0, 1) entries of x and of the matrix A, drawn with the seed; squared error."""

    name: Literal["gaussian"]
    features: Count = Field(10, description="Size of x and of A x.")
    examples: Count = Field(1000, description="Number of training pairs, and of test pairs.")


Data = Annotated[Digits | Cifar10 | Gaussian, Field(discriminator="name")]
