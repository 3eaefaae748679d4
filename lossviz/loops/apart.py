"""Computing within a loop without a trace in what all code of the process shares."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lossviz.engine.backend import full_precision
from lossviz.engine.precision import without_autocast


@contextmanager
def apart(model: nn.Module, data: object = None) -> Iterator[None]:
    """Random numbers, autocast, gradient mode and torch.compile are inside as measurements need them, and outside kept.

    Inside: gradients, full precision, networks as they are written and not compiled.

    Args:
        model: on whose devices random numbers are put back, beside those of the CPU, of numpy and of Python.
        data: whose own generators are put back, if it is a DataLoader.
    """
    generators = generators_of(data)
    kept = [generator.get_state() for generator in generators]
    python, numpy = random.getstate(), np.random.get_state()
    devices = {parameter.device for parameter in model.parameters()}
    cuda = [device for device in devices if device.type == "cuda"]
    try:
        with (
            torch.random.fork_rng(devices=cuda),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.compiler.set_stance("force_eager"),
            full_precision(),
            without_autocast(model),
        ):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in zip(generators, kept, strict=True):
            generator.set_state(state)


def generators_of(data: object) -> Sequence[torch.Generator]:
    """The generators that draw the order of a DataLoader."""
    if not isinstance(data, DataLoader):
        return []
    holders = [data, data.sampler, data.batch_sampler, getattr(data.batch_sampler, "sampler", None)]
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())
