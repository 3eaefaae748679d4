"""What a loop has is bitwise the same before and after a probe, whatever the loop does."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lossviz import Probe
from lossviz.config.measures import MEASURES
from lossviz.results import load_results
from tests.faults.tiny import flat

BATCH = (torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3)


class Restless(nn.Module):
    """BatchNorm (one of two in eval mode), dropout, noise of numpy and of Python, and an attribute that counts."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.first, self.norm = nn.Linear(6, 5), nn.BatchNorm1d(5)
        self.second, self.still = nn.Linear(5, 5), nn.BatchNorm1d(5)
        self.out = nn.Linear(5, 3)
        self.passes, self.seen = 0, [0.0]
        self.still.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        self.seen.append(float(inputs.detach().mean()))
        hidden = functional.dropout(self.norm(self.first(inputs)).relu(), 0.3, self.training)
        hidden = hidden + self.noise * (float(np.random.rand()) + random.random())
        outputs: Tensor = self.out(self.still(self.second(hidden)).relu())
        return outputs


def network(noise: float = 1e-3) -> Restless:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Restless(noise)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Everything that a probe must leave."""
    tensors = [*model.parameters(), *model.buffers()]
    attributes = [dict(vars(each)) for each in model.modules()]
    return {
        "tensors": [(id(each), flat(each.detach())) for each in tensors],
        "versions": [each._version for each in tensors],  # a graph that waits for its backward pass looks at them
        "grads": [(id(each.grad), None if each.grad is None else flat(each.grad)) for each in model.parameters()],
        "optimizer": flat(copy.deepcopy(optimizer.state_dict())),
        "flags": [each.training for each in model.modules()],
        "attributes": [{name: id(value) for name, value in each.items()} for each in attributes],
        "counts": [repr(each.get("passes")) + repr(each.get("seen")) for each in attributes],
        "random": (flat(torch.get_rng_state()), repr(np.random.get_state()), repr(random.getstate())),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "switches": (torch.get_autocast_dtype("cpu"), torch.backends.cudnn.allow_tf32, torch.get_default_dtype()),
    }


def every_measure(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Probe:
    """All measures at every step."""
    settings: dict[str, Any] = {"layers": [1, 3], "lengths": [0.1], "every": 1, "measures": list(MEASURES)}
    return Probe(folder, model, optimizer=optimizer, batches=[BATCH], **settings)


def backward(model: nn.Module) -> None:
    functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()


@contextmanager
def mixed() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize("surroundings", [nullcontext, mixed, torch.no_grad], ids=["plain", "autocast", "no_grad"])
@pytest.mark.parametrize("accumulated", [False, True], ids=["fresh", "accumulated"])
def test_everything_is_as_it_was(
    tmp_path: Path, surroundings: Callable[[], AbstractContextManager[None]], accumulated: bool
) -> None:
    model = network()
    optimizer = adam(model)
    backward(model)
    optimizer.step()  # there are moments
    if accumulated:
        backward(model)
    else:
        optimizer.zero_grad()
    with every_measure(tmp_path / "run", model, optimizer) as probe, surroundings():
        before = state(model, optimizer)
        probe(BATCH)
        assert state(model, optimizer) == before
    assert len(load_results(probe.run.probe_file).data_vars) > 20


@pytest.mark.parametrize("own", [False, True], ids=["global generator", "own generator"])
def test_a_training_with_a_probe_is_the_training_without(tmp_path: Path, own: bool) -> None:
    """Of a loop with gradient accumulation, autocast and a shuffling loader, from which the probe takes batches too."""

    def trained(probed: bool) -> list[object]:
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        model, losses = network(), []
        optimizer, data = adam(model), TensorDataset(torch.randn(40, 6), torch.arange(40) % 3)
        generator = torch.Generator().manual_seed(3) if own else None
        loader = DataLoader(data, 8, shuffle=True, generator=generator, drop_last=True)
        probe = Probe(
            tmp_path / "run",
            model,
            every=2,
            measures=["landscape", "gradient-noise-scale", "critical-sharpness"],
            optimizer=optimizer,
            batches=loader,
        )
        with probe:
            for epoch in range(2):
                for i, batch in enumerate(loader):
                    if probed and i % 2 == 0:
                        probe(batch, step=5 * epoch + i)
                    with torch.autocast("cpu", torch.bfloat16):
                        loss = functional.cross_entropy(model(batch[0]), batch[1])
                    loss.backward()
                    losses.append(loss.item())
                    if i % 2:
                        optimizer.step()
                        optimizer.zero_grad()
        return [
            losses,
            state(model, optimizer)["optimizer"],
            [flat(each.detach()) for each in model.state_dict().values()],
        ]

    assert trained(probed=False) == trained(probed=True)
    assert load_results(tmp_path / "run" / "probe.nc").step.values.tolist() == [0, 2, 4, 7, 9]


def test_between_forward_and_backward_the_graph_stays_valid(tmp_path: Path) -> None:
    """Its tensors must not change their versions, which BatchNorm's statistics would tell at once."""
    model, plain = network(), network()
    with every_measure(tmp_path / "run", model, adam(model)) as probe:
        gradients = []
        for each in (model, plain):
            torch.manual_seed(0), np.random.seed(0), random.seed(0)
            loss = functional.cross_entropy(each(BATCH[0]), BATCH[1])
            if each is model:
                probe(BATCH)
            loss.backward()
            gradients.append([flat(parameter.grad) for parameter in each.parameters()])
    assert gradients[0] == gradients[1]


def test_no_hook_of_a_parameter_and_no_hook_of_the_optimizer_is_called(tmp_path: Path) -> None:
    """They belong to the training: they clip gradients, or take a step in the backward pass."""
    model = network()
    called: list[object] = []
    optimizer = adam(model)
    handles = [parameter.register_hook(called.append) for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(called.append)
    optimizer.register_step_pre_hook(lambda *given: called.append(given))
    with every_measure(tmp_path / "run", model, optimizer) as probe:
        probe(BATCH)
    assert not called
    backward(model)
    assert len(called) == 2 * len(handles)  # they are still there


def test_the_measurements_do_not_depend_on_what_surrounds_them(tmp_path: Path) -> None:
    """Autocast, no_grad and the state of the random numbers."""
    found = []
    around: list[Callable[[], AbstractContextManager[None]]] = [nullcontext, mixed, torch.no_grad]
    for i, surroundings in enumerate(around):
        model = network(noise=0.0)
        torch.manual_seed(i)
        with every_measure(tmp_path / str(i), model, adam(model)) as probe, surroundings():
            probe(BATCH)
        found.append(load_results(probe.run.probe_file))
    for other in found[1:]:
        assert other.identical(found[0].assign_attrs(other.attrs))
