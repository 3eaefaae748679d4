"""Gaussian vectors and a linear map to learn: the data of the deep linear network."""

import torch
from torch import Tensor

from lossviz.config.data import Gaussian
from lossviz.seeding import generator


def gaussian(config: Gaussian, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """As many training as test pairs (x, A x), float64 (N, features) each; x and A have independent N(0, 1) entries.

    Source:
        Santurkar et al. 2018, appendix A.1.
    """
    draws = generator(seed, "gaussian")
    matrix = torch.randn(config.features, config.features, generator=draws, dtype=torch.float64)
    parts = {}
    for name in ("train", "test"):
        inputs = torch.randn(config.examples, config.features, generator=draws, dtype=torch.float64)
        parts[name] = (inputs, inputs @ matrix.T)
    return parts
