"""Low-rank updates (LoRA) of a vision transformer of timm: only they move."""

import timm
import torch
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits


def model(classes=10):
    size = {"img_size": 8, "patch_size": 2, "in_chans": 1, "depth": 2}
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **size)
    return get_peft_model(vit, LoraConfig(r=8, target_modules=["qkv", "fc1", "fc2"], modules_to_save=["head"]))


def data(count=1000):
    images, classes = load_digits(return_X_y=True)
    images, classes = torch.tensor(images).float().view(-1, 1, 8, 8) / 16, torch.tensor(classes)
    return (images[:count], classes[:count]), (images[count:], classes[count:])
