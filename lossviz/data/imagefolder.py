"""ImageNet, or any other set of photographs with one folder for each class."""

from pathlib import Path

import torch
from torch import Tensor

from lossviz.config.data import ImageFolder
from lossviz.data.index import index
from lossviz.data.streamed import StreamedSplit

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagefolder(config: ImageFolder, mean: Tensor, std: Tensor) -> tuple[StreamedSplit, StreamedSplit]:
    """The images of train/, always evaluated on centre crops, and those of val/.

    Raises:
        RequestError: a folder is missing or empty, or train/ and val/ have different classes.
    """
    train, val = index(Path(config.root).expanduser())
    return (
        StreamedSplit(train, config, "centre", torch.tensor(train.labels), mean, std),
        StreamedSplit(val, config, config.evaluation, torch.tensor(val.labels), mean, std),
    )
