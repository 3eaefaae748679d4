"""Photographs from files to normalised batches: lossviz against a torchvision DataLoader with the same transforms."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from benchmarks.pairs import paired
from lossviz.config.data import ImageFolder
from lossviz.data.imagefolder import MEAN, STD
from lossviz.data.load import load
from lossviz.data.streamed import StreamedSplit
from lossviz.data.streamed_minibatches import StreamedMinibatches

BATCH = 64
CLASSES = 4
WORKERS = 2
# Sides as in ImageNet, whose photographs have 500 x 375 pixels on average and some 110 kB.
SIDES = (500, 375)


def decoding(pairs: int, images: int = 512, workers: int = WORKERS) -> dict[str, Any]:
    """RandomResizedCrop and mirroring, 224x224, two workers each, over JPEGs made of gradients and noise."""
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), images)
        return compared(Path(folder), pairs, 224, workers)


def compared(root: Path, pairs: int, image_size: int, workers: int) -> dict[str, Any]:
    """The same for a folder of images that is there: one epoch of train/, both with workers that run already."""
    geometry = [v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    transform = v2.Compose([*geometry, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    data = TorchvisionFolder(str(root / "train"), transform)
    plain = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=True, drop_last=True)
    config = ImageFolder(name="imagefolder", root=str(root), image_size=image_size, workers=workers)
    split = load(config, seed=0).train
    assert isinstance(split, StreamedSplit)
    split = split.to(torch.device("cpu"), torch.float32)
    steps = len(split) // BATCH
    result = paired(partial(_all, plain), partial(_epoch, split, steps), pairs)
    return {**result, "images_per_s": steps * BATCH / result["lossviz_s"], "workers": workers}


def write_jpegs(root: Path, images: int) -> None:
    """A tree of train/ and val/ whose files decode like photographs: smooth, with grain."""
    draws = np.random.default_rng(0)
    width, height = SIDES
    x, y = np.linspace(0, 200, width), np.linspace(0, 200, height)[:, None]
    for number in range(images):
        colours = [(x * a + y * b) % 256 for a, b in draws.uniform(0.2, 1, (3, 2))]
        pixels = np.stack(colours, axis=-1) + draws.normal(0, 12, (height, width, 1))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        for part in ("train", "val") if number < CLASSES else ("train",):
            folder = root / part / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:05d}.jpg", quality=90)


def _all(batches: DataLoader[tuple[Tensor, Tensor]]) -> None:
    for _ in batches:
        pass


def _epoch(split: StreamedSplit, steps: int) -> None:
    minibatches = StreamedMinibatches(split, BATCH, 0, "random-resized-crop")
    for step in range(steps):
        minibatches(step)
