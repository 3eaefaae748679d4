"""Activation checkpointing, against the gradient that backward() leaves."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lossviz import loss_surface
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError

BATCH = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
SAYS = r"the network: has reentrant activation checkpointing(?s:.*)accepted: checkpoint\(..., use_reentrant=False\)"


class Checkpointed(nn.Module):
    """Keeps no activations of its block, which follows a frozen layer, as with LoRA."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Linear(5, 6).requires_grad_(False)
        self.block, self.head = nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 4)
        self.reentrant = reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        # As enable_input_require_grads() of transformers does.
        found: Tensor = checkpoint(self.block, self.embedding(inputs).requires_grad_(), use_reentrant=self.reentrant)
        outputs: Tensor = self.head(found)
        return outputs


def test_the_gradient_is_whole_or_refused() -> None:
    minibatch = Minibatch(BATCH, noise=None)
    model = Checkpointed(reentrant=False)
    functional.cross_entropy(model(BATCH[0]), BATCH[1]).backward()
    expected = [each.grad for each in model.parameters() if each.grad is not None]
    found = Objective(model).differentiate(minibatch).gradient
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    hidden = Objective(Checkpointed(reentrant=True))
    for _ in range(2):
        with pytest.raises(RequestError, match=SAYS):
            hidden.differentiate(minibatch)


def test_losses_alone_need_no_gradient() -> None:
    first, second = (loss_surface(Checkpointed(reentrant), [BATCH], x=(-1, 1, 3)) for reentrant in (False, True))
    np.testing.assert_array_equal(first.loss, second.loss)
    with pytest.raises(RequestError, match=SAYS):
        loss_surface(Checkpointed(True), [BATCH], x=(-1, 1, 3), metrics=["gradient"])
