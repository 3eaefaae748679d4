"""A compiled forward pass: never at the price of a wrong number."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch
from lossviz.engine.evaluation import evaluate
from lossviz.engine.objective import Objective
from lossviz.engine.terms import Losses
from lossviz.surface.forward import ExecutionPlan, Forward

EXAMPLES = 1000
INPUTS = torch.randn(EXAMPLES, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(EXAMPLES) % 3


def batches(size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return iter(zip(torch.split(INPUTS, size), torch.split(TARGETS, size), strict=True))


class Recorder:
    """In place of torch.compile: what it is given, and that it only ever sees full batches."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.size, self.error = size, error
        self.compiled, self.calls = 0, 0

    def __call__(self, plain: Callable[[Tensor], Tensor], **options: Any) -> Callable[[Tensor], Tensor]:
        self.compiled += 1
        assert options["dynamic"] is False

        def faster(inputs: Tensor) -> Tensor:
            assert len(inputs) == self.size
            self.calls += 1
            if self.error:
                raise self.error
            return plain(inputs)

        return faster


def outputs_of(losses: Callable[[Batch], Losses], inputs: Tensor) -> Tensor:
    """What a network makes of inputs, whose classes do not matter."""
    found = losses((inputs, torch.zeros(len(inputs), dtype=torch.int64))).outputs
    assert found is not None
    return found


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


@pytest.mark.parametrize("size", [7, 64, 100, 1000, 1200])
def test_compiled_batches_are_always_full(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Smaller ones are filled up, and what the filling gives is thrown away: every example counts once."""
    recorder, model = Recorder(size), network()
    monkeypatch.setattr(torch, "compile", recorder)
    objective = Objective(model)
    forward = Forward(objective, ExecutionPlan(size, compiled=True))
    plain = evaluate(objective.losses(model), batches(size))
    for _ in range(2):
        found = evaluate(forward(model), batches(size))
        assert found.examples == EXAMPLES
        np.testing.assert_allclose((found.loss, found.loss_stderr), (plain.loss, plain.loss_stderr), rtol=1e-6)
        assert found.error == plain.error
    assert recorder.compiled == 1
    assert recorder.calls == 2 * -(-EXAMPLES // size)


def test_filling_up_keeps_images_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layout would be compiled once more."""
    seen: list[tuple[int, ...]] = []

    def compiled(plain: Callable[[Tensor], Tensor], **_: Any) -> Callable[[Tensor], Tensor]:
        def faster(inputs: Tensor) -> Tensor:
            seen.append(inputs.stride())
            return plain(inputs)

        return faster

    monkeypatch.setattr(torch, "compile", compiled)
    model = nn.Flatten()
    forward = Forward(Objective(network()), ExecutionPlan(4, compiled=True))(model)
    images = torch.randn(10, 3, 8, 8).to(memory_format=torch.channels_last)
    outputs = torch.cat([outputs_of(forward, part) for part in torch.split(images, 4)])
    assert torch.equal(outputs, images.flatten(1))
    assert len(set(seen)) == 1
    assert len(seen) == 3


def test_a_batch_that_is_larger_than_the_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes the plain way."""
    recorder, model = Recorder(4), network()
    monkeypatch.setattr(torch, "compile", recorder)
    outputs = outputs_of(Forward(Objective(model), ExecutionPlan(4, compiled=True))(model), INPUTS[:6])
    assert torch.equal(outputs, model(INPUTS[:6]))
    assert recorder.calls == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore"), "No working C++ compiler found"),
        (ImportError("no triton"), "no triton"),
        (OSError("cannot write"), "cannot write"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_without_a_compiler_the_scan_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    recorder, model = Recorder(64, error), network()
    monkeypatch.setattr(torch, "compile", recorder)
    said: list[str] = []
    objective = Objective(model)
    forward = Forward(objective, ExecutionPlan(64, compiled=True), said.append)
    for _ in range(2):
        assert evaluate(forward(model), batches(64)) == evaluate(objective.losses(model), batches(64))
    assert len(said) == 1
    assert said[0].startswith("not compiled,")
    assert said[0].endswith(reason)
    assert recorder.calls == 1  # it is not tried again


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_is_no_broken_compiler(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """After halving, the same network is compiled for the smaller batch."""
    recorder, model = Recorder(64, error), network()
    monkeypatch.setattr(torch, "compile", recorder)
    said: list[str] = []
    forward = Forward(Objective(model), ExecutionPlan(64, compiled=True), said.append)
    with pytest.raises(RuntimeError):
        outputs_of(forward(model), INPUTS[:64])
    forward.halve()
    recorder.error, recorder.size = None, 32
    outputs_of(forward(model), INPUTS[:32])
    assert (recorder.compiled, recorder.calls) == (2, 2)
    assert said == ["warning: out of memory: continuing with 32 examples a batch, which may change the last digits"]


def test_uncompiled_is_the_network_itself() -> None:
    model = network()
    assert torch.equal(outputs_of(Forward(Objective(model), ExecutionPlan(8))(model), INPUTS), model(INPUTS))


def test_halving_ends_at_one() -> None:
    forward = Forward(Objective(network()), ExecutionPlan(3))
    for size in (1, 1):
        forward.halve()
        assert forward.plan.batch_size == size


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, and there is no g++")
def test_really_compiled() -> None:
    """A folded network with BatchNorm, moved after compiling, a ragged last batch: all as the plain one, to 1e-5."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    model.eval()
    images = torch.randn(10, 3, 8, 8).to(memory_format=torch.channels_last)
    labels = torch.arange(10) % 3
    data = list(zip(torch.split(images, 4), torch.split(labels, 4), strict=True))
    objective, said = Objective(model), list[str]()
    forward = Forward(objective, ExecutionPlan(4, compiled=True), said.append)
    follow = objective.follow((images, labels))
    for _ in range(3):
        plain = evaluate(objective.losses(model), data)
        found = evaluate(forward(follow()), data)
        np.testing.assert_allclose((found.loss, found.loss_stderr), (plain.loss, plain.loss_stderr), rtol=1e-5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.2)
    assert said == []
