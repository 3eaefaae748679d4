import copy
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import Hessian
from lossviz.engine.evaluation import Evaluation
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import cross_entropy, squared_error
from tests.zoo.networks import InPlace, Net
from tests.zoo.normalizations import PlainTensors, Reassigned, StateInDict

EXAMPLES, CLASSES = 23, 4


def data(examples: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, 3, dtype=torch.float64, generator=draws)
    return inputs, torch.randint(0, CLASSES, (examples,), generator=draws)


def ragged(size: int, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


def linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(3, CLASSES).double()


def losses_by_hand(model: nn.Linear, inputs: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of every example, and its logits, in numpy."""
    logits = inputs.numpy() @ model.weight.detach().numpy().T + model.bias.detach().numpy()
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = rows / rows.sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(len(logits)), targets.numpy()]), logits


def evaluate_losses(values: list[float], dtype: torch.dtype = torch.float64) -> Evaluation:
    """The evaluation of given losses: they are the targets."""
    targets = torch.tensor(values, dtype=dtype)
    objective = Objective(nn.Linear(3, 1).double(), lambda _, targets: targets)
    return objective.evaluate([(torch.zeros(len(values), 3, dtype=torch.float64), targets)])


@given(st.integers(1, EXAMPLES + 5), st.integers(2, EXAMPLES))
def test_evaluate_is_the_mean_over_examples_for_any_batch_size(size: int, examples: int) -> None:
    model, (inputs, targets) = linear(), data(examples)
    found = Objective(model).evaluate(ragged(size, inputs, targets))
    losses, logits = losses_by_hand(model, inputs, targets)
    assert found.loss == pytest.approx(losses.mean(), rel=1e-12)
    assert found.loss_stderr == pytest.approx(np.std(losses, ddof=1) / math.sqrt(examples), rel=1e-9)
    wrong = int((logits.argmax(axis=1) != targets.numpy()).sum())
    assert found.error == 100 * wrong / examples
    assert found.examples == examples


def test_evaluate_sums_float32_losses_in_float64() -> None:
    assert evaluate_losses([2.0**24, 1.0, 1.0, 1.0], torch.float32).loss == (2**24 + 3) / 4
    large = evaluate_losses([1e30, 3e30], torch.float32)  # whose squares float32 cannot hold
    assert large.loss_stderr == pytest.approx(1e30, rel=1e-6)


def test_one_example_has_no_standard_error() -> None:
    found = Objective(linear()).evaluate([data(1)])
    assert math.isfinite(found.loss)
    assert math.isnan(found.loss_stderr)


def test_regression_has_no_error_rate() -> None:
    model, (inputs, _) = linear(), data()
    targets = torch.zeros(EXAMPLES, CLASSES, dtype=torch.float64)
    found = Objective(model, squared_error).evaluate(ragged(10, inputs, targets))
    logits = losses_by_hand(model, inputs, torch.zeros(EXAMPLES, dtype=torch.int64))[1]
    assert found.loss == pytest.approx((logits**2).sum(axis=1).mean(), rel=1e-12)
    assert math.isnan(found.error)
    differential = Objective(model, squared_error).differentiate(Minibatch((inputs, targets), noise=0))
    assert math.isnan(differential.correct.item())


@pytest.mark.parametrize(("strange", "mean"), [(math.nan, math.nan), (math.inf, math.inf), (-math.inf, -math.inf)])
def test_losses_that_are_not_finite_are_kept(strange: float, mean: float) -> None:
    found = evaluate_losses([1.0, strange, 2.0])
    assert found.loss == mean or (math.isnan(found.loss) and math.isnan(mean))
    assert math.isnan(found.loss_stderr)


def test_an_answer_that_is_not_a_number_is_wrong() -> None:
    model, (inputs, targets) = linear(), data()
    nn.init.constant_(model.bias[:1], math.nan)
    assert Objective(model).evaluate([(inputs, torch.zeros_like(targets))]).error == 100
    assert Objective(model).differentiate(Minibatch((inputs, torch.zeros_like(targets)), 0)).correct.item() == 0


def test_zero_and_negative_losses_are_results() -> None:
    for values, mean, stderr in (([0.0, 0.0], 0.0, 0.0), ([-1.0, -3.0], -2.0, 1.0)):
        found = evaluate_losses(values)
        assert (found.loss, found.loss_stderr) == (mean, stderr)


class Moody(nn.Module):
    """BatchNorm and dropout, and a head that is not used in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.first = nn.Linear(3, 8)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.Linear(8, CLASSES)
        self.unused = nn.Linear(2, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.dropout(self.first(self.norm(inputs)).relu()))
        return outputs


def moody() -> Moody:
    torch.manual_seed(2)
    return Moody().double()


@pytest.mark.parametrize("fails", [False, True])
def test_evaluate_uses_eval_mode_and_restores_every_module_s_own(fails: bool) -> None:
    model, (inputs, targets) = moody(), data()
    model.train()
    model.norm.eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    batches = [(inputs, targets), (inputs, targets[:3])] if fails else [(inputs, targets)]
    if fails:
        with pytest.raises(ValueError, match="batch"):
            Objective(model).evaluate(batches)
    else:
        evaluated = Objective(model).evaluate(batches).loss
        assert evaluated == Objective(model.eval()).evaluate(batches).loss  # no dropout
        model.train()
        model.norm.eval()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("grad", [False, True])
def test_differentiate_is_the_gradient_and_leaves_grad_untouched(grad: bool) -> None:
    model, (inputs, targets) = linear(), data()
    losses, logits = losses_by_hand(model, inputs, targets)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slopes = (shares - np.eye(CLASSES)[targets.numpy()]) / EXAMPLES  # d mean CE / d logits
    kept = torch.full_like(model.weight, 7.0)
    model.weight.grad = kept.clone()
    with torch.set_grad_enabled(grad):
        found = Objective(model).differentiate(Minibatch((inputs, targets), noise=0))
    np.testing.assert_allclose(found.gradient[0].numpy(), slopes.T @ inputs.numpy(), rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(found.gradient[1].numpy(), slopes.sum(axis=0), rtol=1e-11, atol=1e-15)
    assert float(found.loss) == pytest.approx(losses.mean(), rel=1e-13)
    assert int(found.correct) == (logits.argmax(axis=1) == targets.numpy()).sum()
    assert torch.equal(model.weight.grad, kept)
    assert model.bias.grad is None
    assert not found.loss.requires_grad
    assert not any(tensor.requires_grad for tensor in found.gradient)


def test_frozen_parameters_have_no_gradient_and_unused_ones_zeros() -> None:
    model, (inputs, targets) = moody(), data()
    model.first.bias.requires_grad_(False)
    objective = Objective(model)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert "first.bias" not in names
    found = dict(zip(names, objective.differentiate(Minibatch((inputs, targets), 0)).gradient, strict=True))
    for name, tensor in found.items():
        assert tensor.shape == model.get_parameter(name).shape
        assert bool(tensor.any()) != name.startswith("unused")


def test_gradient_with_respect_to_some_parameters() -> None:
    model, (inputs, targets) = moody().eval(), data()
    objective, batch = Objective(model), Minibatch((inputs, targets), 0)
    whole = dict(zip(dict(model.named_parameters()), objective.differentiate(batch).gradient, strict=True))
    some = objective.differentiate(batch, [model.second.bias, model.first.weight]).gradient
    assert torch.equal(some[0], whole["second.bias"])
    torch.testing.assert_close(some[1], whole["first.weight"], rtol=1e-13, atol=0)
    losses = objective.apply(batch)
    assert torch.equal(losses.seen, model(inputs))
    assert torch.equal(torch.autograd.grad(losses.mean, model.second.bias)[0], some[0])


def test_passes_over_one_minibatch_see_the_same_dropout() -> None:
    model, (inputs, targets) = moody(), data()
    model.train()
    batch = Minibatch((inputs, targets), noise=5)
    before = torch.get_rng_state()
    first = Objective(model).differentiate(batch)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    second = Objective(model).differentiate(batch)
    assert torch.equal(first.loss, second.loss)
    assert all(torch.equal(one, other) for one, other in zip(first.gradient, second.gradient, strict=True))
    other = Objective(model).differentiate(batch._replace(noise=6))
    assert not torch.equal(first.loss, other.loss)
    assert not torch.equal(Objective(model.eval()).differentiate(batch).loss, first.loss)


def test_differentiate_keeps_the_mode_it_finds() -> None:
    model, (inputs, targets) = moody(), data()
    for training in (True, False):
        model.train(training)
        Objective(model).differentiate(Minibatch((inputs, targets), 0))
        assert all(module.training == training for module in model.modules())
        assert int(model.state_dict()["norm.num_batches_tracked"]) == 1  # once in train mode, then no more


def test_cross_entropy_of_uniform_logits_is_the_log_of_their_number() -> None:
    found = cross_entropy(torch.full((3, 10), 4.0, dtype=torch.float64), torch.tensor([0, 5, 9]))
    np.testing.assert_allclose(found.numpy(), [math.log(10)] * 3, rtol=1e-15)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Reassigned, PlainTensors, StateInDict])
def test_evaluations_on_the_way_are_of_the_network_as_it_is(norm: type[nn.Module]) -> None:
    """And change nothing: a network that trains without them ends the same."""
    one, other = (_made(norm) for _ in range(2))
    objective = Objective(one)
    draws = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(12, 3, 8, 8, generator=draws, dtype=torch.float64), torch.arange(12) % 4
    for _ in range(3):
        for each in (one, other):
            each.train()
            rate = Objective(each).differentiate(Minibatch((inputs, targets), 0)).gradient
            for parameter, slope in zip(each.parameters(), rate, strict=True):
                parameter.data.sub_(slope)
        found = objective.evaluate([(inputs[:7], targets[:7]), (inputs[7:], targets[7:])])
        plain = copy.deepcopy(other).eval()
        with torch.no_grad():
            expected = nn.functional.cross_entropy(plain(inputs), targets)
        assert found.loss == pytest.approx(float(expected), rel=1e-9)


def _made(norm: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Net(norm).double()


def test_inputs_that_a_network_changes_are_a_copy() -> None:
    """In training as in evaluation, and for the Hessian, which comes again and again."""
    torch.manual_seed(0)
    model, draws = InPlace().double(), torch.Generator().manual_seed(0)
    batch = Minibatch((torch.randn(6, 3, 8, 8, generator=draws, dtype=torch.float64), torch.arange(6) % 4), 0)
    kept, objective = batch.inputs.clone(), Objective(model)
    first = objective.differentiate(batch)
    second = objective.differentiate(batch)
    objective.evaluate([batch.batch])
    operator = Hessian(objective, [batch, batch])
    vector = operator.start()
    assert torch.equal(operator(vector), operator(vector))
    assert torch.equal(batch.inputs, kept)
    assert torch.equal(first.loss, second.loss)


def test_a_compiled_network_is_evaluated_as_written() -> None:
    """Compiling the eval mode too would take its time, and change the last digits."""
    model = Net(nn.Identity)
    model._compiled_call_impl = lambda *_: pytest.fail("compiled")
    inputs, targets = torch.randn(6, 3, 8, 8), torch.arange(6) % 4
    found = Objective(model).evaluate([(inputs, targets)]).loss
    model._compiled_call_impl = None
    assert found == Objective(model).evaluate([(inputs, targets)]).loss
