"""The plain loops that a competent user writes; what lossviz is measured against.

DataLoader with ToTensor and Normalize, two workers, batch 128, eager, contiguous, `.item()` per batch,
weights copied tensor by tensor.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

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
