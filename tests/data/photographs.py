"""Small trees of picture files, in every colour mode that people have."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lossviz.data.load import Dataset
from lossviz.data.streamed import StreamedSplit

Reading = Callable[..., Dataset]
"""From keys of the `data` section to the data."""

MODES = {"RGB": "jpg", "L": "jpg", "CMYK": "jpg", "RGBA": "png", "P": "png", "LA": "png", "1": "png"}


def picture(number: int, mode: str = "RGB", sides: tuple[int, int] = (45, 37)) -> Image.Image:
    """Smooth noise, another for every number."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(sides, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "jpg") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG", "png": "PNG"}[kind])
    return buffer.getvalue()


def write_tree(root: Path, classes: int = 3, train: int = 7, val: int = 3) -> Path:
    """root/{train,val}/c<class>/<number>.<kind>, sizes and modes mixed."""
    modes = list(MODES)
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"c{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * (part == "val") + 100 * label + number
                mode = modes[number % len(modes)]
                image = picture(seed, mode, (40 + 3 * number, 61 - 5 * number))
                (folder / f"{number}.{MODES[mode]}").write_bytes(encoded(image, MODES[mode]))
    return root


def damage(root: Path, part: str = "train", label: int = 1, number: int = 2) -> Path:
    """A JPEG cut in half."""
    (path,) = (root / part / f"c{label}").glob(f"{number}.*")
    content = encoded(picture(0, sides=(90, 90)))
    path.write_bytes(content[: len(content) // 2])
    return path


def everything(split: StreamedSplit, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*split.batches(size), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def train_of(data: Dataset) -> StreamedSplit:
    assert isinstance(data.train, StreamedSplit)
    return data.train
