"""The plain loops that a competent user writes; what lossviz is measured against.

DataLoader with ToTensor and Normalize, two workers, batch 128, eager, contiguous, `.item()` per batch,
weights copied tensor by tensor.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lossviz.config.model import Model
from lossviz.data.cifar10 import MEAN, STD
from lossviz.models.build import build

Example = tuple[Tensor, int]


class ImageDataset(Dataset[Example]):
    """Images as torchvision's CIFAR10 holds them: an array of bytes, made a PIL image one by one."""

    def __init__(self, images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        """One image, normalised, and its label."""
        image = self.images[index]
        return self.transform(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)), self.labels[index]


def loader(data: ImageDataset, shuffle: bool) -> DataLoader[Example]:
    """What every tutorial uses."""
    return DataLoader(data, batch_size=128, shuffle=shuffle, num_workers=2)


def pictures(count: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """CIFAR-10-shaped noise: arithmetic takes as long on it as on photographs."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 32, 32), generator=draws, dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last), torch.randint(0, 10, (count,), generator=draws)


def prepared(config: Model, count: int, shuffle: bool = False) -> tuple[nn.Module, DataLoader[Example]]:
    """A network, contiguous, and batches of so many pictures."""
    return build(config, 3, 10), loader(ImageDataset(*pictures(count), MEAN, STD), shuffle)


def evaluation(config: Model, count: int) -> Callable[[], Any]:
    """Evaluating a network on so many pictures."""
    model, batches = prepared(config, count)
    return lambda: evaluate(model, batches)


def training(config: Model, steps: int, lr: float, weight_decay: float) -> Callable[[], Any]:
    """Some steps of training a network."""
    model, batches = prepared(config, 128 * steps, shuffle=True)
    return lambda: train(model, batches, steps, lr, weight_decay)


def scanning(config: Model, count: int, places: Sequence[tuple[float, float]]) -> Callable[[], Any]:
    """Some points of a plane through a network."""
    model, batches = prepared(config, count)
    first, second = (
        [torch.randn_like(each) * each.norm() / each.numel() ** 0.5 for each in model.parameters()] for _ in range(2)
    )
    return lambda: scan(model, (first, second), places, batches)


def evaluate(model: nn.Module, batches: DataLoader[Example]) -> tuple[float, float]:
    """Mean loss and error in %."""
    model.eval()
    total, wrong, count = 0.0, 0, 0
    with torch.no_grad():
        for inputs, targets in batches:
            outputs = model(inputs)
            total += functional.cross_entropy(outputs, targets, reduction="sum").item()
            wrong += (outputs.argmax(dim=1) != targets).sum().item()
            count += len(targets)
    return total / count, 100 * wrong / count


def train(model: nn.Module, batches: DataLoader[Example], steps: int, lr: float, weight_decay: float) -> list[float]:
    """Losses of some steps of SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr, weight_decay=weight_decay)
    model.train()
    losses: list[float] = []
    while True:
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                return losses


def scan(
    model: nn.Module,
    directions: tuple[Sequence[Tensor], Sequence[Tensor]],
    points: Sequence[tuple[float, float]],
    batches: DataLoader[Example],
) -> list[float]:
    """Losses at some points of a plane."""
    origin = [parameter.detach().clone() for parameter in model.parameters()]
    losses = []
    for a, b in points:
        for parameter, start, first, second in zip(model.parameters(), origin, *directions, strict=True):
            parameter.data.copy_(start + a * first + b * second)
        losses.append(evaluate(model, batches)[0])
    for parameter, start in zip(model.parameters(), origin, strict=True):
        parameter.data.copy_(start)
    return losses
