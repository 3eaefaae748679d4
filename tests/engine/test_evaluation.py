"""The mean over examples: against numpy, whatever the batches, the losses and the precision."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.batch import Batch
from lossviz.engine.evaluation import Evaluation, evaluate
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample, cross_entropy
from lossviz.engine.terms import Losses
from tests.zoo.networks import Forces, ForcesAsInTraining

EXAMPLES = 23


def batches(inputs: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return iter(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


def identity(loss: PerExample) -> Callable[[Batch], Losses]:
    """The losses of a network that hands on its inputs."""
    return OfOutputs(loss).judged(lambda rows: rows)


def of_losses(values: np.ndarray, size: int = 4) -> Evaluation:
    """The evaluation of given losses: they are the inputs."""
    inputs = torch.from_numpy(values)
    return evaluate(identity(lambda outputs, _: outputs), batches(inputs, torch.zeros(len(values)), size))


def logits(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(EXAMPLES, 5, generator=draws, dtype=dtype), torch.randint(0, 5, (EXAMPLES,), generator=draws)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(1, 45))
def test_mean_and_standard_error(values: list[float], size: int) -> None:
    """A smaller last batch counts by its examples: 12 of the second list of peers' mistakes."""
    losses = np.array(values)
    found = of_losses(losses, size)
    scale = np.abs(losses).max()
    assert found.loss == pytest.approx(losses.mean(), rel=1e-12, abs=1e-12 * scale)
    assert found.loss_stderr == pytest.approx(losses.std(ddof=1) / math.sqrt(len(losses)), rel=1e-7, abs=1e-12 * scale)
    assert found.examples == len(losses)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40), st.integers(1, 45))
def test_the_same_to_the_last_bit_for_every_batch_size(values: list[float], size: int) -> None:
    losses = np.array(values, dtype=np.float32)
    whole, found = of_losses(losses, len(losses)), of_losses(losses, size)
    np.testing.assert_array_equal((found.loss, found.loss_stderr), (whole.loss, whole.loss_stderr))


@pytest.mark.parametrize("size", [1, 2, 5, 22, 23, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_and_error_in_batches(size: int, dtype: torch.dtype) -> None:
    """All of an evaluation, bitwise, and against numpy."""
    outputs, targets = logits(dtype)
    found = evaluate(identity(cross_entropy), batches(outputs, targets, size))
    assert found == evaluate(identity(cross_entropy), [(outputs, targets)])
    rows = outputs.double().numpy()
    losses = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(EXAMPLES), targets.numpy()]
    precision = 1e-6 if dtype == torch.float32 else 1e-12
    assert found.loss == pytest.approx(losses.mean(), rel=precision)
    assert found.loss_stderr == pytest.approx(losses.std(ddof=1) / math.sqrt(EXAMPLES), rel=10 * precision)
    assert found.error == 100 * (rows.argmax(axis=1) != targets.numpy()).sum() / EXAMPLES


def ignoring_one(outputs: Tensor, targets: Tensor, ignore_index: int = 1) -> Tensor:
    return functional.cross_entropy(outputs, targets, ignore_index=ignore_index, reduction="none")


@pytest.mark.parametrize(
    ("loss", "label"),
    [
        (cross_entropy, -100),
        (nn.CrossEntropyLoss(reduction="none"), -100),
        (nn.CrossEntropyLoss(reduction="none", ignore_index=255), 255),
        (partial(functional.cross_entropy, reduction="none", ignore_index=-1), -1),
        (ignoring_one, 1),
        (partial(ignoring_one, ignore_index=3), 3),
        (lambda outputs, targets: 1.0 * cross_entropy(outputs, targets), -100),
    ],
)
@pytest.mark.parametrize("size", [2, 5, 23])
def test_examples_that_the_loss_ignores_do_not_count(loss: PerExample, label: int, size: int) -> None:
    """Against the mean reduction of torch, and numpy over those that are left; one batch has none of them."""
    outputs, targets = logits()
    targets[targets == label] = 2
    targets[4:10] = targets[15] = label
    kept = targets != label
    found = evaluate(identity(loss), batches(outputs, targets, size))
    assert found.loss == pytest.approx(float(functional.cross_entropy(outputs, targets, ignore_index=label)), rel=1e-12)
    losses = functional.cross_entropy(outputs[kept], targets[kept], reduction="none").numpy()
    assert found.loss_stderr == pytest.approx(losses.std(ddof=1) / math.sqrt(len(losses)), rel=1e-10)
    wrong = (outputs.argmax(dim=1) != targets)[kept].double().mean()
    assert found.error == pytest.approx(100 * float(wrong), rel=1e-12)
    assert found.examples == EXAMPLES - 7


def test_nothing_is_known_where_every_example_is_ignored() -> None:
    outputs, targets = logits()
    found = evaluate(identity(cross_entropy), batches(outputs, torch.full_like(targets, -100), 5))
    assert np.isnan([found.loss, found.loss_stderr, found.error]).all()
    assert found.examples == 0


def test_numbers_that_are_no_classes_are_never_ignored() -> None:
    """-100 is a target like any other of a regression, also in whole numbers."""
    targets = torch.tensor([-100, 3])
    found = evaluate(identity(lambda out, y: (out[:, 0] - y).abs()), [(torch.zeros(2, 1), targets)])
    assert found.loss == 51.5
    assert found.examples == 2


@pytest.mark.parametrize("values", [[1.0, math.nan, 2.0], [1.0, math.inf], [-math.inf, 3.0], [math.inf, -math.inf]])
def test_losses_that_are_not_finite_are_results(values: list[float]) -> None:
    found = of_losses(np.array(values))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found.loss, np.array(values).mean())
    assert math.isnan(found.loss_stderr)


def test_losses_are_added_in_float64() -> None:
    """2^24 + 1 is no float32."""
    assert of_losses(np.array([2.0**24, 1.0, 1.0, 1.0], np.float32), 4).loss == (2**24 + 3) / 4


def test_squares_that_overflow_have_no_standard_error() -> None:
    found = of_losses(np.array([1e200, -1e200]))
    assert found.loss == 0
    assert math.isnan(found.loss_stderr)


def test_one_example_has_no_standard_error() -> None:
    assert math.isnan(of_losses(np.array([3.0])).loss_stderr)
    assert of_losses(np.array([3.0])).loss == 3


def test_no_gradients_are_kept() -> None:
    """And the network's mode is the caller's business."""
    model, modes = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5)).double(), []
    model[0].register_forward_hook(lambda module, _, outputs: modes.append((module.training, outputs.requires_grad)))
    inputs, targets = logits()
    for training in (True, False):
        evaluate(Objective(model.train(training)).losses(model), batches(inputs, targets, 23))
    assert modes == [(True, False), (False, False)]


@pytest.mark.parametrize(
    ("outputs", "targets", "right"),
    [
        (torch.eye(3), torch.tensor([0, 1, 0]), 2.0),
        (torch.tensor([[math.nan, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), 1.0),  # NaN is no answer
        (torch.full((2, 3), math.inf), torch.tensor([0, 1]), 1.0),
        (torch.zeros(2, 3), torch.zeros(2, 3), math.nan),  # regression
        (torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int64), math.nan),  # a class at every place
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), math.nan),
    ],
)
def test_right_answers(outputs: Tensor, targets: Tensor, right: float) -> None:
    losses = identity(lambda out, _: out.flatten(1).sum(1) if out.dim() > 1 else out)
    np.testing.assert_array_equal(losses((outputs, targets)).correct.item(), right)


def test_bfloat16_is_close_to_float32_and_no_more() -> None:
    """Mixed precision computes the network in bfloat16, and the loss in the parameters' own type."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 5))
    inputs, targets = logits(torch.float32)
    seen: list[torch.dtype] = []

    def loss(outputs: Tensor, classes: Tensor) -> Tensor:
        seen.append(outputs.dtype)
        return cross_entropy(outputs, classes)

    short = Objective(model, loss, torch.bfloat16)
    plain = Objective(model, loss).evaluate(batches(inputs, targets, 10))
    mixed = short.evaluate(batches(inputs, targets, 10))
    assert mixed.loss == pytest.approx(plain.loss, rel=2e-2)
    assert mixed.loss != plain.loss
    assert set(seen) == {torch.float32}
    hidden: list[torch.dtype] = []
    model[0].register_forward_hook(lambda _, __, outputs: hidden.append(outputs.dtype))
    short.evaluate(batches(inputs, targets, 23))
    assert hidden == [torch.bfloat16]


@pytest.mark.parametrize("make", [Forces, ForcesAsInTraining])
def test_networks_that_differentiate_by_their_inputs(make: type[nn.Module]) -> None:
    """As a plain loop with gradients computes it, and no graph is left."""
    torch.manual_seed(0)
    model = make().double()
    inputs, targets = torch.randn(7, 3, 8, 8, dtype=torch.float64), torch.arange(7) % 4
    found = Objective(model).evaluate([(inputs[:4], targets[:4]), (inputs[4:], targets[4:])])
    model.eval()
    expected = nn.functional.cross_entropy(model(inputs.clone()), targets)
    assert found.loss == pytest.approx(float(expected.detach()), rel=1e-12)
    assert not inputs.requires_grad
