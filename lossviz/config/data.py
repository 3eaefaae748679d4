"""The `data` section: which examples there are, and how they are normalised and augmented."""

from typing import Annotated, Literal

from pydantic import Field

from lossviz.config.own import Own
from lossviz.config.section import AllOrCount, Count, Positive, Section

Channels = Annotated[tuple[float, ...], Field(min_length=1)]
Scales = Annotated[tuple[Positive, ...], Field(min_length=1)]


class Images(Section):
    """Keys that all sets of labelled images have."""

    name: str
    examples: AllOrCount = Field("all", description="Number of training examples that are used.")
    choose: Literal["stratified", "first"] = Field(
        "stratified",
        description="Which examples, if fewer than all. stratified: the same share of each class, drawn with the seed. "
        "first: the first ones.",
    )
    mean: Channels | None = Field(
        None, description="Subtracted from each channel, on the scale 0 to 1. Default: the data set's own."
    )
    std: Scales | None = Field(
        None, description="Divides each channel, on the scale 0 to 1. Default: the data set's own."
    )


class Resident(Images):
    """Small images of one size, held in memory."""

    augment: Literal["none", "crop-flip"] = Field(
        "none", description="crop-flip: pad by 4 pixels, crop at random, mirror half of the images (training only)."
    )


class Digits(Resident):
    """scikit-learn's 1,797 handwritten digits, 8x8 grey, up-sampled to 32x32; 1,437 train, 360 test.

    Default mean and std: 0.3054 and 0.3237.
    """

    name: Literal["digits"]


class Cifar10(Resident):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 in 10 classes (Krizhevsky 2009).

    Default mean and std: 0.4914, 0.4822, 0.4465 and 0.2470, 0.2435, 0.2616.
    """

    name: Literal["cifar10"]
    root: str = Field("data", description="Folder that holds, or will hold, cifar-10-batches-py/.")
    download: bool = Field(True, description="Download the data set (170 MB) if it is missing.")


class OwnData(Own, Resident):
    """Your own: `target(**args)` returns (train, test), each (inputs, targets), a Dataset, or batches.

    Images are uint8 (N, C, H, W), scaled by mean and std (default: 0 and 1, so only to 0 .. 1). Other real inputs get
    the dtype of the network; whole numbers, such as tokens, stay as they are. Targets are classes, whole numbers (N,),
    sequences of them, (N, T), where -100 does not count, vectors, float (N, G), or what a loss of your own takes.
    """


class ImageFolder(Images):
    """Images of any size, one folder per class as in ImageNet: root/train/<class>/ and root/val/<class>/.

    Classes are numbered in the order of the folders' names, as in torchvision's ImageFolder.
    """

    name: Literal["imagefolder"]
    mean: Channels | None = Field(
        None,
        description="Subtracted from each channel, on the scale 0 to 1. Default: ImageNet's, 0.485, 0.456, 0.406.",
    )
    std: Scales | None = Field(
        None, description="Divides each channel, on the scale 0 to 1. Default: ImageNet's, 0.229, 0.224, 0.225."
    )
    root: str = Field(description="Folder that holds train/ and val/, with the same class folders in both.")
    image_size: Count = Field(224, description="Side of the square crops that the network sees.")
    augment: Literal["none", "he", "random-resized-crop"] = Field(
        "none",
        description="Training crops. he: shorter side drawn from 256/224 to 480/224 of image_size, random crop, PCA "
        "colour noise (He et al. 2015). random-resized-crop: 8 to 100 % of the area, sides 3:4 to 4:3. Both mirror "
        "half of the images. none: the crops of evaluation, not mirrored.",
    )
    evaluation: Literal["centre", "ten-crop"] = Field(
        "centre",
        description="Crops of evaluation, from images whose shorter side is 256/224 of image_size. centre: the centre "
        "crop. ten-crop: for val/ also the four corners, and all five mirrored; their probabilities are averaged.",
    )
    corrupt: Literal["stop", "skip"] = Field(
        "stop",
        description="What a damaged file does. stop: end the command. skip: it is counted and left out of the means of "
        "evaluations and scans; in a minibatch the next readable file takes its place.",
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="Threads that decode images ahead; they change the speed, never the numbers. auto: all cores but "
        "one, at most 8.",
    )


class Gaussian(Section):
    """Pairs (x, A x) with independent N(0, 1) entries of x and of the matrix A, drawn with the seed; squared error."""

    name: Literal["gaussian"]
    features: Count = Field(10, description="Size of x and of A x.")
    examples: Count = Field(1000, description="Number of training pairs, and of test pairs.")


class Text(Section):
    """Text in sequences of bytes, each of which is a token; the targets are the bytes that follow.

    By default it is the help pages that Python ships (pydoc_data.topics), about 470,000 bytes, which differ a little
    between versions of Python; run.json has their SHA-256. The first nine tenths are for training.
    """

    name: Literal["text"]
    path: str | None = Field(None, description="File of a text of your own.")
    context: Count = Field(64, description="Tokens in a sequence, which is an example.")
    examples: AllOrCount = Field("all", description="Number of training sequences that are used, the first ones.")


Data = Annotated[Digits | Cifar10 | ImageFolder | Gaussian | Text | OwnData, Field(discriminator="name")]
