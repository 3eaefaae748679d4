"""Handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional

MEAN, STD = (0.3054,), (0.3237,)


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """1,437 training and 360 test images, uint8 (N, 1, 32, 32), and labels.

    The 8x8 images of 17 grey levels are up-sampled bilinearly to the 32x32 that the networks expect; the
    split is fixed and stratified.
    """
    source = load_digits()
    levels = torch.from_numpy(source.images)[:, None] * (255 / 16)
    large = functional.interpolate(levels, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8)
    labels = torch.from_numpy(source.target).long()
    parts = train_test_split(np.arange(len(labels)), test_size=360, stratify=source.target, random_state=0)
    train, test = (torch.from_numpy(np.sort(part)) for part in parts)
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
