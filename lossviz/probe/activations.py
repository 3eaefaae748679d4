"""The distribution of what a layer hands to its non-linearity."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lossviz.models.layers import WeightLayer
from lossviz.seeding import generator

BINS = 64


@contextmanager
def listening(model: nn.Module, layers: Sequence[WeightLayer], seed: int | None) -> Iterator[dict[str, Tensor]]:
    """Describe the outputs of some layers during the one forward pass inside the block.

    An output is a weight layer's after normalisation and noise and before the non-linearity, over all of its
    dimensions but the channel: batch and space, or batch and tokens. Histograms have 64 bins of equal width from the
    smallest to the largest finite value. A layer that is called several times is described at its first call; one
    that this pass does not call (a block that is skipped at random) has a mean and a variance of NaN.

    Args:
        model: the network.
        layers: the layers.
        seed: draws one channel (or unit) of each layer, the same at every step; None takes all together.

    Yields:
        A mapping that is filled when the block ends, float64: activation_mean, activation_variance
        (biased), (layers,); activation_histogram, counts, (layers, 64); activation_edge (layers, 65).

    Source:
        Santurkar et al. 2018, appendix A.2.1 and figures 2 and 8.
    """
    heard: dict[int, dict[str, Tensor]] = {}

    def listen(layer: WeightLayer) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            values = output.detach()
            if seed is not None:
                values = values.select(layer.channel, channel(seed, layer.number, output.shape[layer.channel]))
            if layer.number not in heard:
                heard[layer.number] = describe(values)  # now and not later: the ReLU that follows works in place

        return hook

    handles = [model.get_submodule(layer.output).register_forward_hook(listen(layer)) for layer in layers]
    found: dict[str, Tensor] = {}
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    if layers:
        unheard = describe(next(model.parameters()).new_full((1,), math.nan))
        rows = [heard.get(layer.number, unheard) for layer in layers]
        found |= {name: torch.stack([row[name] for row in rows]) for name in unheard}


def channel(seed: int, number: int, channels: int) -> int:
    """The channel of a layer that stands for it."""
    return int(torch.randint(channels, (), generator=generator(seed, "activation", number)))


def describe(values: Tensor) -> dict[str, Tensor]:
    """Mean, variance and histogram of a tensor as a whole."""
    flat = values.double().flatten()
    finite = flat[flat.isfinite()]
    low, high = (finite.min(), finite.max()) if len(finite) else (flat.new_zeros(()), flat.new_zeros(()))
    width = torch.where(high > low, high - low, torch.ones_like(high))
    edges = low + width * torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=flat.device)
    place = ((finite - low) / width * BINS).long().clamp_(0, BINS - 1)
    return {
        "activation_mean": flat.mean(),
        "activation_variance": flat.var(unbiased=False),
        "activation_histogram": torch.bincount(place, minlength=BINS).double(),
        "activation_edge": edges,
    }
