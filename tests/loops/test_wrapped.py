"""Networks and optimizers that libraries wrap are measured as they are inside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.fx import GraphModule
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from lossviz import Probe
from lossviz.config.measures import MEASURES
from lossviz.errors import RequestError
from lossviz.results import load_results
from tests.faults.tiny import flat, results
from tests.training.together import together

STEPS = 4


class Activation(nn.Module):
    """Calls a function, which may be compiled."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def batch(rank: int = 0) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(rank)), torch.arange(8) % 3


def trained(folder: Path | None, called: nn.Module, model: nn.Module, rank: int = 0) -> list[object]:
    """A few steps; probed where there is a folder. The weights afterwards."""
    optimizer, here = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), batch(rank)
    settings: dict[str, Any] = {"measures": list(MEASURES), "layers": [1, 2], "every": 2, "lengths": [0.1]}
    probe = folder and Probe(folder, called, optimizer=optimizer, batches=[here], **settings)
    for _ in range(STEPS):
        if probe:
            probe(here)
        loss = functional.cross_entropy(called(here[0]), here[1])
        if probe and rank == 0:
            probe.record(loss=loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if probe:
        probe.close()
    return [flat(each.detach()) for each in model.state_dict().values()]


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, bytes]:
    """What a probe of the plain network finds."""
    model = network()
    trained(tmp_path / "plain", model, model)
    return results(tmp_path / "plain" / "probe.nc")


@pytest.mark.parametrize("what", ["model.compile()", "torch.compile(model)", "part", "function"])
def test_compiled(tmp_path: Path, plain: dict[str, bytes], what: str) -> None:
    """The code that the loop compiled stays, none is compiled for the probe, and the numbers are the network's own."""
    compiled: list[GraphModule] = []

    def backend(graph: GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        compiled.append(graph)
        return graph.forward

    weights, counts = [], []
    for folder in (None, tmp_path / "run"):
        compiled.clear()
        torch.compiler.reset()
        model = network()
        called: Any = model
        if what == "model.compile()":
            model.compile(backend=backend)
        elif what == "torch.compile(model)":
            called = torch.compile(model, backend=backend)
        elif what == "part":
            part: Any = torch.compile(model[3], backend=backend)
            model[3] = part
        else:
            model[2] = Activation(torch.compile(torch.relu, backend=backend))
        weights.append(trained(folder, called, model))
        counts.append(len(compiled))
    assert weights[0] == weights[1]
    assert counts[0] == counts[1] > 0
    assert results(tmp_path / "run" / "probe.nc") == plain


@dataclass
class Member:
    """A process of a training by DDP."""

    folder: Path
    world: int

    def __call__(self, rank: int) -> None:
        distributed.init_process_group("gloo")
        for folder in (None, self.folder / "run"):
            model = network()
            weights = trained(folder, DistributedDataParallel(model), model, rank)
            (self.folder / f"{bool(folder)}-{rank}").write_text(repr(weights), encoding="utf-8")
        wrong: list[tuple[Any, str]] = [
            (fully_shard(network()), "model: is sharded: each process holds a part"),
            (nn.Sequential(nn.Linear(6, 3), nn.SyncBatchNorm(3)), "model: has SyncBatchNorm, which needs all"),
        ]
        for network_, says in wrong:
            if self.world > 1 or "sharded" in says:
                with pytest.raises(RequestError, match=says):
                    Probe(self.folder / "refused", network_)
        distributed.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2])
def test_distributed(tmp_path: Path, plain: dict[str, bytes], world: int) -> None:
    """The first process measures its own part of the minibatch, and all train as without a probe."""
    assert together(world, Member(tmp_path, world)) == [0] * world
    for rank in range(world):
        assert (tmp_path / f"True-{rank}").read_text() == (tmp_path / f"False-{rank}").read_text()
    found = load_results(tmp_path / "run" / "probe.nc")
    assert found.step.values.tolist() == [0, 2]
    assert load_results(tmp_path / "run" / "train.nc").step.values.tolist() == list(range(STEPS))
    if world == 1:
        assert results(tmp_path / "run" / "probe.nc") == plain


def by_accelerate(optimizer: Optimizer) -> Any:
    """While gradients are accumulated, in which its step does nothing."""
    accelerate = pytest.importorskip("accelerate", reason="not installed: pip install accelerate")
    prepared = accelerate.Accelerator(cpu=True).prepare(optimizer)
    accelerate.state.GradientState()._set_sync_gradients(False)
    return prepared


def by_fabric(optimizer: Optimizer) -> Any:
    wrappers = pytest.importorskip("lightning.fabric.wrappers", reason="not installed: pip install lightning")
    return wrappers._FabricOptimizer(optimizer, strategy=None)


def by_lightning(optimizer: Optimizer) -> Any:
    core = pytest.importorskip("lightning.pytorch.core.optimizer", reason="not installed: pip install lightning")
    return core.LightningOptimizer(optimizer)


class Lookahead(Optimizer):
    """Holds another one, and takes a step of its own: half of that one's."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer.param_groups, {})
        self.optimizer = optimizer

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        before = [each.clone() for group in self.param_groups for each in group["params"]]
        self.optimizer.step(closure)
        for one, each in zip(before, (each for group in self.param_groups for each in group["params"]), strict=True):
            each.lerp_(one, 0.5)


@pytest.mark.parametrize("wrap", [by_accelerate, by_fabric, by_lightning, Lookahead])
def test_an_optimizer_that_a_library_wraps(tmp_path: Path, wrap: Callable[[Optimizer], Any]) -> None:
    """Its step is the one within; that of an optimizer that makes more of another's step is its own."""
    found = []
    for folder, given in (("plain", lambda optimizer: optimizer), ("wrapped", wrap)):
        model = network()
        optimizer = given(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        with Probe(tmp_path / folder, model, optimizer=optimizer, measures=["critical-sharpness"]) as probe:
            probe(batch())
        found.append(load_results(probe.run.probe_file).critical_sharpness.item())
    assert found[1] == (pytest.approx(found[0] / 2, rel=1e-2) if wrap is Lookahead else found[0])
