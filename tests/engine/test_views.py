"""One answer from several views of an example."""

import torch
from torch import nn
from torch.nn import functional

from lossviz.engine.views import over_views


def network() -> nn.Module:
    draws = torch.Generator().manual_seed(0)
    linear = nn.Linear(12, 4, dtype=torch.float64)
    nn.init.normal_(linear.weight, std=3, generator=draws)
    return nn.Sequential(nn.Flatten(), linear)


def test_probabilities_of_the_views_are_averaged() -> None:
    model, draws = network(), torch.Generator().manual_seed(1)
    inputs = torch.randn(5, 10, 3, 2, 2, generator=draws, dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 3, 0])
    outputs = over_views(model, inputs)
    mean = torch.stack([torch.stack([model(view[None])[0].softmax(0) for view in image]).mean(0) for image in inputs])
    torch.testing.assert_close(outputs.exp(), mean)
    losses = functional.cross_entropy(outputs, targets, reduction="none")
    torch.testing.assert_close(losses, -mean[range(5), targets].log())


def test_views_of_sure_networks_do_not_overflow() -> None:
    model = nn.Flatten()
    inputs = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]])[None, :, :, None, None]
    torch.testing.assert_close(over_views(model, inputs).exp(), torch.tensor([[0.5, 0.5, 0.0]]))


def test_single_views_are_used_as_they_are() -> None:
    model, inputs = network(), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    assert torch.equal(over_views(model, inputs), model(inputs))
