"""Square crops of photographs: those that networks are trained on, and those that they are tested on."""

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

TRIES = 10
DRAWS = 3 + 2 * TRIES
"""Uniform numbers that one random crop needs."""

# Of the covariance of ImageNet's RGB values on the scale 0 to 1, as fb.resnet.torch gives them (datasets/imagenet.lua):
# eigenvalues, and eigenvectors as columns. Noise is proportional to the eigenvalues, as Krizhevsky et al. write and
# fb.resnet.torch does; proportional to their square roots, the standard deviations, it would be 2 to 15 times as much.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
COLOUR_STD = 0.1


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to 256/224 of the size (bilinear, antialiased), then the centre: bitwise torchvision's."""
    crop: Image.Image = v2.functional.center_crop(_for_evaluation(image, size), [size, size])
    return crop


def ten_crop(image: Image.Image, size: int) -> Sequence[Image.Image]:
    """Corners and centre, then the same mirrored (Krizhevsky et al. 2012, section 4.1)."""
    crops: Sequence[Image.Image] = v2.functional.ten_crop(_for_evaluation(image, size), [size, size])
    return crops


def he_crop(image: Image.Image, size: int, draws: Sequence[float]) -> Image.Image:
    """Shorter side uniform from 256/224 to 480/224 of the size, a random square of it, mirrored half of the time.

    Args:
        image: RGB.
        size: side of the square.
        draws: DRAWS numbers, uniform from 0 to 1.

    Source:
        He et al. 2015, section 3.4.
    """
    mirror, down, right, scale, *_ = draws
    least, most = round(size * 256 / 224), round(size * 480 / 224)
    width, height = _scaled(image, least + _pick(scale, most - least + 1))
    left, top = _pick(right, width - size + 1), _pick(down, height - size + 1)
    # Only the crop is computed: half of the time that resizing all of a photograph takes.
    x, y = image.width / width, image.height / height
    crop = image.resize(
        (size, size), Image.Resampling.BILINEAR, (left * x, top * y, (left + size) * x, (top + size) * y)
    )
    return _mirrored(crop, mirror)


def random_resized_crop(image: Image.Image, size: int, draws: Sequence[float]) -> Image.Image:
    """8 to 100 % of the area, sides 3:4 to 4:3 (log-uniform), mirrored half of the time; torchvision's.

    Args:
        image: RGB.
        size: side of the square that it is resized to.
        draws: DRAWS numbers, uniform from 0 to 1.

    Source:
        Szegedy et al. 2015, section 6.
    """
    mirror, down, right, *rest = draws
    size_of_try = _random_size(image, rest[:TRIES], rest[TRIES:])
    if size_of_try is None:
        width, height = _largest(image)
        left, top = (image.width - width) // 2, (image.height - height) // 2
    else:
        width, height = size_of_try
        left, top = _pick(right, image.width - width + 1), _pick(down, image.height - height + 1)
    crop = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    return _mirrored(crop, mirror)


def colour_noise(normals: Tensor) -> Tensor:
    """The noise added to red, green and blue of all pixels of an image, on the scale 0 to 1.

    sum over components i of alpha_i * lambda_i * component_i, with alpha_i from N(0, 0.1^2).

    Args:
        normals: (N, 3), standard normal, float64.

    Returns:
        (N, 3).

    Source:
        Krizhevsky et al. 2012, section 4.1.
    """
    alpha = COLOUR_STD * normals
    return alpha * torch.tensor(EIGENVALUES, dtype=alpha.dtype) @ torch.tensor(COMPONENTS, dtype=alpha.dtype).T


def _for_evaluation(image: Image.Image, size: int) -> Image.Image:
    resized: Image.Image = v2.functional.resize(image, [round(size * 256 / 224)])
    return resized


def _scaled(image: Image.Image, shorter: int) -> tuple[int, int]:
    """Width and height with a given shorter side, rounded as torchvision rounds."""
    longer = int(shorter * max(image.size) / min(image.size))
    return (shorter, longer) if image.width <= image.height else (longer, shorter)


def _random_size(image: Image.Image, areas: Sequence[float], shapes: Sequence[float]) -> tuple[int, int] | None:
    """Width and height of the first try that fits."""
    for area, shape in zip(areas, shapes, strict=True):
        pixels = image.width * image.height * (0.08 + 0.92 * area)
        ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
        width, height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            return width, height
    return None


def _largest(image: Image.Image) -> tuple[int, int]:
    """The largest width and height within 3:4 to 4:3."""
    return min(image.width, round(image.height * 4 / 3)), min(image.height, round(image.width * 4 / 3))


def _pick(uniform: float, count: int) -> int:
    """One of 0 to count - 1, each as likely."""
    return int(uniform * count)


def _mirrored(image: Image.Image, uniform: float) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if uniform < 0.5 else image
