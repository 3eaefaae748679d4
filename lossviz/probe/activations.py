"""The distribution of what a layer hands to its non-linearity."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lossviz.models.layers import WeightLayer
from lossviz.seeding import generator

BINS = 64


@contextmanager
def listening(layers: Sequence[WeightLayer], seed: int | None) -> Iterator[dict[str, Tensor]]:
    """Describe the outputs of some layers during the one forward pass inside the block.

    An output is a weight layer's after normalisation and noise and before the non-linearity, over batch and
    space. Histograms have 64 bins of equal width from the smallest to the largest finite value.

    Args:
        layers: the layers.
        seed: draws one channel (or unit) of each layer, the same at every step; None takes all together.

    Yields:
        A mapping that is filled when the block ends, float64: activation_mean, activation_variance
        (biased), (layers,); activation_histogram, counts, (layers, 64); activation_edge (layers, 65).

    Source:
        Santurkar et al. 2018, appendix A.2.1 and figures 2 and 8.
    """
    heard: dict[int, dict[str, Tensor]] = {}

    def listen(number: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            # Now and not later: the ReLU that follows works in place.
            values = output.detach() if seed is None else output.detach()[:, channel(seed, number, output.shape[1])]
            heard.setdefault(number, describe(values))

        return hook

    handles = [layer.output.register_forward_hook(listen(layer.number)) for layer in layers]
    found: dict[str, Tensor] = {}
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    for name in heard[layers[0].number] if layers else ():
        found[name] = torch.stack([heard[layer.number][name] for layer in layers])


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
