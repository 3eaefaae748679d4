"""A small network with everything that directions tell apart, and checkpoints of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lossviz.engine.checkpoint import save_tensors
from lossviz.engine.point import Vector
from lossviz.surface.checkpoints import Checkpoint


def network(seed: int = 0, dtype: torch.dtype = torch.float64, width: int = 4) -> nn.Sequential:
    """Convolution, BatchNorm, linear layer; weights, biases and statistics are all drawn."""
    model = nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width, 3))
    model = model.to(dtype).to(memory_format=torch.channels_last)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draws, dtype=torch.float64) + 0.2)
    return model


def save(path: Path, state: Mapping[str, Tensor]) -> Checkpoint:
    """A state_dict as somebody else's file."""
    save_tensors(path, state)
    return Checkpoint(path.name, path)


def flat(vector: Vector) -> np.ndarray:
    """All tensors of a vector, one after another, float64."""
    return torch.cat([part.detach().flatten().double() for part in vector]).numpy()


def flat_state(state: Mapping[str, Tensor], names: Sequence[str]) -> np.ndarray:
    """Some tensors of a state_dict, one after another, float64."""
    return flat([state[name] for name in names])
