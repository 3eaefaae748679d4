"""Network, data and loss that do not fit together are told before anything is written."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset as TorchDataset

from lossviz.data.collated import CollatedSplit
from lossviz.data.load import Dataset
from lossviz.data.split import Split
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample, cross_entropy, squared_error
from lossviz.engine.rehearsal import rehearse, rehearse_closure
from lossviz.errors import RequestError, WorkError
from tests.engine.test_graph import Checkpointed


def cross_entropy_without(outputs: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    return functional.cross_entropy(outputs, targets, ignore_index=ignore_index, reduction="none")


ZERO, ONE = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)


class Net(nn.Module):
    """A linear layer, and what is done with its outputs."""

    def __init__(self, outputs: int = 4, then: Callable[[Tensor], object] = lambda outputs: outputs) -> None:
        super().__init__()
        self.layer = nn.Linear(5, outputs)
        self.then = then

    def forward(self, inputs: Tensor) -> object:
        return self.then(self.layer(inputs))


def data(targets: Tensor) -> Dataset:
    split = Split(torch.rand(len(targets), 5), targets, ZERO, ONE)
    return Dataset(split, split, 4)


CLASSES, VECTORS = data(torch.arange(8) % 4), data(torch.rand(8, 4))


def unreduced(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(outputs, targets, reduction="none")


@pytest.mark.parametrize(
    ("net", "loss", "examples"),
    [
        (Net(), cross_entropy, CLASSES),
        (Net(6), cross_entropy, CLASSES),  # more outputs than classes are a choice
        (Net(), squared_error, VECTORS),
        (Net(), lambda outputs, targets: unreduced(outputs, targets).mean(1), VECTORS),
        (Net(8, lambda out: out.reshape(-1, 2, 4)), lambda out, _: out.sum((1, 2)), CLASSES),
        (Net(), cross_entropy, data(torch.tensor([0, 3]))),
        (Net(), cross_entropy, data(torch.tensor([2]))),
    ],
)
def test_what_fits(net: Net, loss: PerExample, examples: Dataset) -> None:
    rehearse(Objective(net, loss), examples, differentiable=True)


@pytest.mark.parametrize(
    ("net", "loss", "examples", "message"),
    [
        (
            Net(4, lambda out: (out, out)),
            cross_entropy,
            CLASSES,
            "the network returns tuple\n  accepted: one torch.Tensor",
        ),
        (Net(4, lambda out: {"logits": out}), cross_entropy, CLASSES, "the network returns dict\n"),
        (
            Net(3),
            cross_entropy,
            CLASSES,
            "the network has outputs (3, 3) for 4 classes\n  accepted: one output for each",
        ),
        (Net(3), squared_error, VECTORS, "the network has outputs (3, 3) for targets (3, 4)\n"),
        # torch would broadcast these
        (Net(1), squared_error, VECTORS, "the network has outputs (3, 1) for targets (3, 4)\n"),
        (
            Net(),
            functional.cross_entropy,
            CLASSES,
            'the loss of 3 examples is one number\n  accepted: one for each example, (N,): use reduction="none"',
        ),
        (
            Net(),
            unreduced,
            VECTORS,
            "the loss of 3 examples is (3, 4)\n  accepted: one number for each example, (N,): take the mean over",
        ),
        (Net(), lambda out, _: out.sum(0), CLASSES, "the loss of 3 examples is (4,)\n"),
        (
            Net(),
            lambda out, _: out.sum().item(),
            CLASSES,
            "the loss of 3 examples is float\n  accepted: a torch.Tensor",
        ),
        (Net(), lambda out, _: out.argmax(1).float(), CLASSES, "the loss has no gradient\n"),
        (Net(4, lambda out: out.detach()), cross_entropy, CLASSES, "the loss has no gradient\n"),
    ],
)
def test_what_does_not_fit_is_refused(net: Net, loss: PerExample, examples: Dataset, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        rehearse(Objective(net, loss), examples, differentiable=True)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(reduction="none", ignore_index=3), partial(cross_entropy_without, ignore_index=3)]
)
def test_a_loss_that_ignores_a_class_of_the_data_is_refused(loss: PerExample) -> None:
    """Minibatches of a training are divided by the number of their examples."""
    with pytest.raises(RequestError, match="the loss ignores class 3, which 2 of the 8 training examples have\n"):
        rehearse(Objective(Net(), loss), CLASSES, differentiable=True)
    rehearse(Objective(Net(), loss), data(torch.arange(8) % 3), differentiable=True)


def test_of_a_map_of_classes_a_part_may_not_count() -> None:
    """How the mean of an example is then taken the loss says itself."""
    draws = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 4, (8, 6, 6), generator=draws).masked_fill(torch.rand(8, 6, 6, generator=draws) < 0.3, -100)

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none").sum((1, 2)) / (targets >= 0).sum((1, 2))

    net = Net(4, lambda outputs: outputs[:, :, None, None].expand(-1, -1, 6, 6))
    rehearse(Objective(net, mean), data(maps), differentiable=True)


def test_a_scan_alone_needs_no_gradient() -> None:
    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float()

    rehearse(Objective(Net(), wrong), CLASSES, differentiable=False)


def test_what_fails_says_on_what() -> None:
    net = nn.Sequential(nn.Linear(6, 4))
    with pytest.raises(
        WorkError, match=r"^while the network computes its outputs for inputs \(3, 5\): RuntimeError: .*mat1"
    ):
        rehearse(Objective(net), CLASSES, differentiable=True)
    with pytest.raises(
        WorkError,
        match=r"^while the loss, whose first parameter is not named model, is computed of outputs \(3, 4, 2\) and",
    ):
        rehearse(Objective(Net(8, lambda out: out.reshape(-1, 4, 2))), CLASSES, differentiable=True)


class Recurrent(nn.Module):
    """Keeps its hidden state from call to call."""

    def __init__(self, detach: bool) -> None:
        super().__init__()
        self.layer, self.detach = nn.Linear(1, 1), detach
        self.hidden = torch.zeros(1)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = self.layer(inputs + 0 * self.hidden)
        self.hidden = hidden[0].detach() if self.detach else hidden[0]
        return hidden


def squares(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return model(batch["x"]).square().sum(1)


def in_place(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    batch["x"].add_(1)
    return squares(model, batch)


def popping(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return model(batch.pop("x")).square().sum(1)


def popping_and_failing(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return model(batch.pop("x") + batch["y"]).square().sum(1)


def drawing(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return squares(model, batch) + 0 * torch.rand(3)


def drawing_numpy(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return squares(model, batch) + 0 * float(np.random.rand())


COUNT = itertools.count()


def counting(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return squares(model, batch) + next(COUNT)


def training(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return drawing(model.train(), batch)


def exchanged(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return torch.ones(3), squares(model, batch)


def absent(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return model(batch["x"]).squeeze(1) / (batch["x"].squeeze(1) - 1), batch["x"].squeeze(1) - 1


def negative(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return squares(model, batch), -torch.ones(3)


def constant(model: nn.Module, batch: dict[str, Tensor]) -> Any:
    return squares(model, batch).detach()


@pytest.mark.parametrize(
    ("loss", "model", "message"),
    [
        (
            squares,
            Recurrent(detach=False),
            "the loss: keeps the graph of an earlier call, ",
        ),
        (in_place, nn.Linear(1, 1), "the loss: changes its batch, which other points see too: batch['x']\n  work on"),
        (popping, nn.Linear(1, 1), "the loss: changes its batch, which other points see too: batch['x']\n"),
        (popping_and_failing, nn.Linear(1, 1), "the loss: changes its batch, which other points see too: batch['x']\n"),
        (drawing, nn.Linear(1, 1), "the loss: draws random numbers of torch in eval mode, so it is another function"),
        (drawing_numpy, nn.Linear(1, 1), "the loss: draws random numbers of numpy in eval mode"),
        (counting, nn.Linear(1, 1), "the loss: gives another number at every call, in eval mode too: "),
        (training, nn.Linear(1, 1), "the loss: sets the network to training mode, in which it draws random numbers"),
        (exchanged, nn.Linear(1, 1), "the loss: returned counts that have a gradient\n  accepted: (sums, counts), in"),
        (negative, nn.Linear(1, 1), "the loss: returned counts below 0\n"),
        (absent, nn.Linear(1, 1), "the loss: returned a sum that is not finite for an example that does not count, "),
        (constant, nn.Linear(1, 1), "the loss has no gradient\n"),
        (lambda model, batch: model(batch["x"]).squeeze(1) > 0, nn.Linear(1, 1), "the loss has no gradient\n"),
    ],
)
def test_a_closure_that_is_no_function_of_parameters_and_batch(loss: Any, model: nn.Module, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        rehearse_closure(Objective(model.eval(), loss), {"x": torch.arange(3.0)[:, None] + 1}, differentiable=True)
    assert str(caught.value).startswith(message)


def test_a_closure_that_is_one() -> None:
    """It may keep what is detached, draw from a generator of its own and have terms; and nothing is left of it."""

    def noisy(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        noise = torch.rand(3, 1, generator=torch.Generator().manual_seed(0))
        loss = model(batch["x"] + noise).square().sum(1)
        return {"loss": loss, "other": loss.abs(), "third": loss[:1], "wrong": loss > 1}

    for model, trains in itertools.product((nn.Linear(1, 1), Recurrent(detach=True)), (False, True)):
        state = torch.get_rng_state()
        model.train(trains)
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        found = rehearse_closure(Objective(model, noisy), {"x": torch.arange(3.0)[:, None]}, differentiable=True)
        assert found == ("other", "third", "wrong")
        assert model.training == trains
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_reentrant_checkpoints_are_told_where_gradients_are_needed() -> None:
    """Before anything is written."""
    net = Checkpointed(reentrant=True)
    for loss in (cross_entropy, lambda model, batch: cross_entropy(model(batch[0]), batch[1])):
        with pytest.raises(RequestError, match="use_reentrant=False"):
            rehearse(Objective(net, loss), CLASSES, differentiable=True)
        rehearse(Objective(net, loss), CLASSES, differentiable=False)


def test_a_loss_of_outputs_needs_pairs() -> None:
    class Dicts(TorchDataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"x": torch.ones(5)}

    split = CollatedSplit(Dicts(), range(3), ZERO, ONE, 0)
    with pytest.raises(RequestError, match=r"a batch of the data is dict, .*\n  accepted: pairs"):
        rehearse(Objective(Net()), Dataset(split, split, 4), differentiable=True)
