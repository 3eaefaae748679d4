"""What He et al. 2015 published of plain and residual networks, and which runs can stand beside it."""

import csv
from collections.abc import Mapping
from importlib.resources import files

from lossviz.config import Config
from lossviz.config.data import Cifar10, ImageFolder
from lossviz.config.model import ImagenetResnet, Resnet
from lossviz.config.train import Constant, Plateau, Step, Train

HE = "He et al. 2015"
HE_NEEDED = f"""{HE}, figure residual: model.shortcut none or A, norm batch, width 1, init he; data.examples all;
    train: optimizer sgd with lr 0.1, momentum 0.9, weight_decay 1.0e-4, no warm-up (but of depth 110), micro_batch
      of 32 or more; steps beyond where the published curve begins
    Figure 4: data imagefolder of 1,000 classes (ImageNet) with image_size 224 and augment he; train.batch_size 256,
      schedule plateau, or step with milestones [150000, 300000] (those before train.steps);
      model resnet-imagenet of depth 18 or 34; the curves begin between steps 10,000 and 58,000
    Figure 6: data cifar10 with augment crop-flip; train.batch_size 128, schedule step with milestones [32000, 48000]
      (those before train.steps; constant where there is none);
      model resnet of depth 20, 32, 44, 56, or 110 with shortcut A; the curves begin between steps 2,000 and 22,000"""
IMAGENET_CLASSES = 1000
# From so many planned steps on, a run is as long as the published ones.
WHOLE = {"resnet-imagenet": 500_000, "resnet": 60_000}
# BatchNorm of the paper saw so many images, a share of each of eight GPUs.
LEAST_PIECE = 32

# Model, depth and shortcut; then what the names of the files begin with.
_CURVES: dict[tuple[str, int, str], str] = {
    ("resnet-imagenet", 18, "none"): "fig4_plain18",
    ("resnet-imagenet", 34, "none"): "fig4_plain34",
    ("resnet-imagenet", 18, "A"): "fig4_resnet18",
    ("resnet-imagenet", 34, "A"): "fig4_resnet34",
    **{("resnet", depth, "none"): f"fig6_plain{depth}" for depth in (20, 32, 44, 56)},
    **{("resnet", depth, "A"): f"fig6_res{depth}" for depth in (20, 32, 44, 56, 110)},
}


def he_files(config: Config) -> Mapping[str, str]:
    """The published counterparts of a run by quantity, train_error and val_error: names of files in reference/."""
    network = _counterpart(config)
    if network not in _CURVES:
        return {}
    name = _CURVES[network]
    if isinstance(config.data, Cifar10):
        return {"train_error": f"{name}_train", "val_error": f"{name}_test"}
    of_centre = {"val_error": f"{name}_val"} if getattr(config.data, "evaluation", "") == "centre" else {}
    return {"train_error": f"{name}_train"} | of_centre


def he_final(config: Config) -> Mapping[str, str]:
    """The published errors of the counterpart of a run that is planned as long, after all of its training, in %.

    Keys are training and validation (the ends of the curves in Figure 4 or 6), table (Table 2, 3 or 6) and
    reproduction (akamaster/pytorch_resnet_cifar10); a value may be empty, and there is none without a counterpart.
    """
    network = _counterpart(config)
    if network is None or config.train is None or config.train.steps < WHOLE[network[0]]:
        return {}
    with (files("lossviz") / "reference" / "he_final.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row.pop("model"), int(row.pop("depth")), row.pop("shortcut")) == network:
                return row
    return {}


def _counterpart(config: Config) -> tuple[str, int, str] | None:
    """Model, depth and shortcut of a run that was trained as the published networks were, on the same data."""
    data, model, train = config.data, config.model, config.train
    if isinstance(data, ImageFolder) and isinstance(model, ImagenetResnet):
        batch_size, seen, milestones = 256, data.image_size == 224 and data.augment == "he", (150_000, 300_000)
        strides = model.depth < 50 or model.stride_in == "1x1"
    elif isinstance(data, Cifar10) and isinstance(model, Resnet):
        batch_size, seen, milestones = 128, data.augment == "crop-flip", (32_000, 48_000)
        strides = True
    else:
        return None
    if not (seen and strides and data.examples == "all" and data.mean is None and data.std is None and train):
        return None
    recipe = (train.optimizer, train.lr, train.momentum, train.nesterov, train.weight_decay, train.batch_size)
    usual = recipe == ("sgd", 0.1, 0.9, False, 1e-4, batch_size) and _is_scheduled(train, milestones, model.depth)
    plain = (model.norm, model.width, model.init) == ("batch", 1, "he")
    return (model.name, model.depth, model.shortcut) if usual and plain else None


def _is_scheduled(train: Train, milestones: tuple[int, int], depth: int) -> bool:
    """Whether learning rate and pieces are the paper's: for ImageNet it names a plateau, and drew milestones."""
    schedule, due = train.schedule, tuple(each for each in milestones if each < train.steps)
    if isinstance(schedule, Step):
        drops = schedule.milestones == due and schedule.gamma == 0.1
    elif isinstance(schedule, Plateau):
        drops = train.batch_size == 256 and schedule.gamma == 0.1
    else:
        drops = isinstance(schedule, Constant) and not due
    pieces = train.micro_batch == "all" or train.micro_batch >= LEAST_PIECE
    return drops and pieces and (train.warmup == 0 or depth == 110)
