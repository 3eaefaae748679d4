"""Segmentation with a loss of its own: which digit a pixel belongs to, where grey pixels do not count."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy


def model(width=32):
    one, two = nn.Conv2d(1, width, 5, padding=2), nn.Conv2d(width, width, 5, padding=2)
    return nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), nn.Conv2d(width, 11, 1))


def data(count=1000):
    ink, digits = load_digits(return_X_y=True)
    ink, digits = torch.tensor(ink).float().view(-1, 1, 8, 8) / 16, torch.tensor(digits)
    pixels = torch.where(ink[:, 0] > 0.5, digits[:, None, None], 10)
    pixels[(ink[:, 0] > 0.25) & (ink[:, 0] <= 0.5)] = 255
    return (ink[:count], pixels[:count]), (ink[count:], pixels[count:])


def loss(model, batch):
    images, pixels = batch
    losses = cross_entropy(model(images), pixels, ignore_index=255, reduction="none")
    return losses.sum(dim=(1, 2)), (pixels != 255).sum(dim=(1, 2))
