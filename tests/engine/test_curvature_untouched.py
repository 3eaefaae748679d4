"""Products with the Hessian leave no trace, and depend on nothing around them."""

import pytest
import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import (
    Hessian,
    eigenpairs,
    extremes,
    gradient_norm,
)
from lossviz.engine.losses import OfModel
from lossviz.engine.objective import Objective
from tests.engine.dense import convolutions, cut, images, weights


@pytest.mark.parametrize("sizes", [(13,), (5, 5, 3)])
def test_measuring_leaves_no_trace(sizes: tuple[int, ...]) -> None:
    model, batches = convolutions(), cut(images(), *sizes)
    model.insert(3, nn.Dropout(0.5).train())
    objective = Objective(model)
    for i, parameter in enumerate(objective.parameters):
        parameter.grad = None if i == 2 else torch.full_like(parameter, i)
    grads = [parameter.grad for parameter in objective.parameters]
    values = [(grad, grad.clone()) for grad in grads if grad is not None]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    extremes(objective, batches, weights(model))
    eigenpairs(objective, batches, [1], weights(model))
    gradient_norm(objective, batches, weights(model))
    assert all(parameter.grad is grad for parameter, grad in zip(objective.parameters, grads, strict=True))
    assert all(torch.equal(grad, value) for grad, value in values)
    for name, tensor in model.state_dict().items():
        assert tensor.numpy().tobytes() == state[name].numpy().tobytes(), name
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("batches", [1, 2])
def test_gradients_of_tensors_outside_of_the_network_stay(batches: int) -> None:
    """A head that only the loss knows, and inputs that want a gradient."""
    model, head = nn.Linear(3, 4).double(), nn.Linear(4, 1).double()
    inputs = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        found: Tensor = head(model(batch)).squeeze(1).square()
        return found

    loss(model, inputs).sum().backward()
    kept = [each.grad.clone() for each in (inputs, *head.parameters(), *model.parameters()) if each.grad is not None]
    parts = [Minibatch(part, 0) for part in (inputs,) * batches]
    product = Hessian(Objective(model, OfModel(loss)), parts)
    product(product(product.start()))
    assert len(kept) == 5
    for before, each in zip(kept, (inputs, *head.parameters(), *model.parameters()), strict=True):
        assert each.grad is not None
        assert torch.equal(each.grad, before)


@pytest.mark.parametrize("batches", [1, 2])
def test_no_step_is_taken_in_the_backward_pass(batches: int) -> None:
    """A fused optimiser steps in hooks of the parameters, and frees their gradients."""
    model, parts = convolutions(), cut(images(), *(13,) if batches == 1 else (7, 6))
    expected = extremes(Objective(model), parts)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    steps: dict[Tensor, torch.optim.Optimizer] = {
        parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in model.parameters()
    }

    def step(parameter: Tensor) -> None:
        steps[parameter].step()
        steps[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    assert extremes(Objective(model), parts) == expected
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    Objective(model).apply(parts[0]).mean.backward()
    assert not all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())  # they are back


def test_the_start_is_that_of_any_default_device() -> None:
    product = Hessian(
        Objective(nn.Linear(3, 2)), [Minibatch((torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)), None)]
    )
    start = product.start()
    with torch.device("meta"):
        assert torch.equal(product.start(), start)


def test_every_product_sees_the_same_noise() -> None:
    """Else the operator would be another one at every product."""
    model = convolutions()
    model.insert(3, nn.Dropout(0.5).train())
    product = Hessian(Objective(model), cut(images(), 7, 6))
    vector = product.start()
    assert torch.equal(product(vector), product(vector))
