"""What lossviz computes, as plain loops over tensors that know nothing of it but its seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from lossviz.data.minibatches import ByStep, Minibatch
from lossviz.seeding import derive

Batch = tuple[Tensor, Tensor]


def mean_loss(model: nn.Module, batches: Iterable[Batch]) -> tuple[float, float]:
    """Mean cross-entropy and error (%) over all examples, in the mode in which the network is."""
    total, wrong, count = 0.0, 0, 0
    for inputs, targets in batches:
        outputs = _outputs(model, inputs.clone())
        total += float(functional.cross_entropy(outputs, targets, reduction="sum"))
        wrong += int((outputs.argmax(1) != targets).sum())
        count += len(targets)
    return total / count, 100 * wrong / count


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            outputs: Tensor = model(inputs)
    except RuntimeError:  # it differentiates
        outputs = model(inputs.detach())
    return outputs.detach()


def train(
    model: nn.Module,
    minibatches: ByStep,
    steps: int,
    batches: Sequence[Batch],
    every: int,
) -> tuple[dict[int, float], dict[int, dict[str, Tensor]]]:
    """SGD with momentum 0.9 at 0.05; loss in eval mode and state_dict at every so many steps."""
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.05, momentum=0.9)
    losses, states = {}, {}
    for step in range(steps + 1):
        if step % every == 0:
            losses[step], _ = mean_loss(model.eval(), batches)
            states[step] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if step < steps:
            (inputs, targets), noise = minibatches(step)
            seed(noise)
            model.train()
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs.clone()), targets).backward()
            optimizer.step()
    return losses, states


def seed(noise: int | None) -> None:
    """Dropout draws as it does there."""
    assert noise is not None
    torch.manual_seed(derive(noise))


def path(make: Callable[[], nn.Module], batch: Minibatch, lengths: Sequence[float]) -> tuple[list[float], list[float]]:
    """Loss, and distance of the gradient from the first one, at theta - eta * g on one minibatch in training mode.

    Every pass has a network of its own: one that reads what its own passes write is another function at each.
    """

    def there(length: float, along: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        model = make().train()
        parameters = [each for each in model.parameters() if each.requires_grad]
        for parameter, slope in zip(parameters, along, strict=False):
            parameter.data = parameter.data - length * slope
        (inputs, targets), noise = batch
        seed(noise)
        loss = functional.cross_entropy(model(inputs.clone()), targets)
        return float(loss.detach()), list(torch.autograd.grad(loss, parameters))

    _, start = there(0.0, ())
    losses, distances = [], []
    for length in lengths:
        loss, gradient = there(length, start)
        losses.append(loss)
        apart = [(one - other).flatten() for one, other in zip(gradient, start, strict=True)]
        distances.append(float(torch.cat(apart).norm()))
    return losses, distances


def moved(model: nn.Module, direction: Mapping[str, Tensor], length: float) -> nn.Module:
    """A network moved along a direction."""
    for name, parameter in model.named_parameters():
        if name in direction:
            parameter.data = parameter.data + length * direction[name]
    return model


def by_batch(model: nn.Module) -> nn.Module:
    """With the norms of torch as in training, and all else as in evaluation."""
    model.eval()
    for module in _norms(model):
        module.train()
    return model


def recalibrated(model: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """With running statistics that are the mean over batches, weighted by their sizes, of those of each batch."""
    by_batch(model)
    seen: list[tuple[int, list[Tensor]]] = []
    for batch in inputs:
        for module in _norms(model):
            module.momentum = 1.0
        _outputs(model, batch.clone())
        seen.append((len(batch), [statistic.clone() for statistic in _statistics(model)]))
    total = sum(count for count, _ in seen)
    for place, statistic in enumerate(_statistics(model)):
        statistic.copy_(sum((count / total * statistics[place] for count, statistics in seen), torch.zeros(())))
    return model.eval()


def _norms(model: nn.Module) -> list[_NormBase]:
    return [module for module in model.modules() if isinstance(module, _NormBase)]


def _statistics(model: nn.Module) -> list[Tensor]:
    found = [each for module in _norms(model) for each in (module.running_mean, module.running_var)]
    return [each for each in found if each is not None]
