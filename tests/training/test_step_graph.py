import itertools

import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Noise
from lossviz.config.train import Step, Train
from lossviz.data.minibatches import Minibatches
from lossviz.data.split import Split
from lossviz.engine.objective import Objective
from lossviz.models.normalization import NoiseLayer
from lossviz.training.loop import update
from lossviz.training.shard import Shard
from lossviz.training.step_graph import STEPS_BEFORE_CAPTURE, StepGraph, capturable
from lossviz.training.stepper import Stepper

CPU, STEPS = torch.device("cpu"), 40
CHANGES = Train(
    steps=STEPS, lr=0.1, momentum=0.9, weight_decay=1e-3, schedule=Step(kind="step", milestones=(20,)), batch_size=8
)


def minibatches(device: torch.device) -> Minibatches:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), generator=draws, dtype=torch.uint8)
    split = Split(images, torch.arange(64) % 5, torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    return Minibatches(split.to(device, torch.float32), 8, seed=0)


def network(device: torch.device, extra: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), extra, nn.ReLU(), nn.Flatten(), nn.Linear(216, 5)
    return nn.Sequential(*layers).to(device)


def prepared(device: torch.device, extra: nn.Module, config: Train) -> tuple[Objective, Stepper, Shard]:
    objective = Objective(network(device, extra))
    return objective, Stepper(config, objective.parameters), Shard(minibatches(device))


def test_only_sgd_on_a_gpu_without_random_numbers_is_captured() -> None:
    objective, stepper, shard = prepared(CPU, nn.Identity(), CHANGES)
    assert not capturable(objective, stepper, shard)


def test_without_a_graph_the_update_itself_runs() -> None:
    (mine, stepper, shard), (theirs, their_stepper, their_share) = (
        prepared(CPU, nn.Identity(), CHANGES) for _ in range(2)
    )
    graph = StepGraph(update, mine, stepper, shard, allowed=False)
    for step in range(12):
        for here, there in zip(graph(step), update(theirs, their_stepper, their_share, step), strict=True):
            assert torch.equal(here, there)
    assert all(itertools.starmap(torch.equal, zip(mine.parameters, theirs.parameters, strict=True)))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_replays_are_bitwise_the_updates(momentum: float) -> None:
    device = torch.device("cuda", 0)
    config = CHANGES.model_copy(update={"momentum": momentum})
    (mine, stepper, shard), (theirs, their_stepper, their_share) = (
        prepared(device, nn.Identity(), config) for _ in range(2)
    )
    assert capturable(mine, stepper, shard)
    graph = StepGraph(update, mine, stepper, shard, allowed=True)
    replayed = 0
    for step in range(STEPS):
        if step == 15:  # restoring the optimiser's state puts other tensors in its place
            stepper.optimizer.load_state_dict(stepper.optimizer.state_dict())
        found: list[Tensor] = [number.clone() for number in graph(step)]
        replayed += graph._captured is not None
        for here, there in zip(found, update(theirs, their_stepper, their_share, step), strict=True):
            assert torch.equal(here, there)
        for here, there in zip(mine.model.state_dict().values(), theirs.model.state_dict().values(), strict=True):
            assert torch.equal(here, there)
    assert replayed > STEPS - 3 * (STEPS_BEFORE_CAPTURE + 1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("extra", [nn.Dropout(), NoiseLayer(Noise())])
def test_networks_that_draw_are_not_captured(extra: nn.Module) -> None:
    objective, stepper, shard = prepared(torch.device("cuda", 0), extra, CHANGES)
    assert not capturable(objective, stepper, shard)
