"""Which networks depend on the batch, found by what they do."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.surface import BatchNormMode
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError
from lossviz.surface.batch_dependence import depends_on_batch
from lossviz.surface.batch_norm import treatment_of, unknown
from tests.zoo.networks import ZOO, Net
from tests.zoo.normalizations import PlainTensors, Reassigned, StateInDict

INPUTS = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = (INPUTS, torch.zeros(len(INPUTS)))
ANY = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("forward", "depends"),
    [
        (lambda rows: rows.relu(), False),
        (lambda rows: functional.dropout(rows, 0.5), False),
        (lambda rows: rows - rows.mean(0), True),
        (lambda rows: rows - rows.mean((1, 2, 3), keepdim=True), False),
        (lambda rows: rows / 0, False),
    ],
)
def test_dependence(forward: Callable[[Tensor], Tensor], depends: bool) -> None:
    state = torch.get_rng_state()
    assert depends_on_batch(ANY, forward, INPUTS) == depends
    assert torch.equal(torch.get_rng_state(), state)
    assert not depends_on_batch(ANY, forward, INPUTS[:1])


NORMS: dict[str, tuple[Callable[[int], nn.Module], list[str], bool]] = {
    "BatchNorm": (nn.BatchNorm2d, [], False),
    "BatchNorm without statistics": (lambda n: nn.BatchNorm2d(n, track_running_stats=False), [], True),
    "InstanceNorm": (lambda n: nn.InstanceNorm2d(n, track_running_stats=True), [], False),
    "GroupNorm": (lambda n: nn.GroupNorm(1, n), [], False),
    "Dropout": (lambda _: nn.Dropout(0.5), [], False),
    "SyncBatchNorm": (nn.SyncBatchNorm, [], False),
    "re-assigned": (Reassigned, ["norm1 (Reassigned)", "norm2 (Reassigned)"], False),
    "of d2l": (PlainTensors, ["norm1 (PlainTensors)", "norm2 (PlainTensors)"], False),
    "state in a dict": (StateInDict, ["norm1 (StateInDict)", "norm2 (StateInDict)"], False),
}


@pytest.mark.parametrize("norm", NORMS)
def test_norms_that_are_not_known_are_named(norm: str) -> None:
    """And the network is as it was."""
    make, names, in_eval_mode = NORMS[norm]
    torch.manual_seed(0)
    model = Net(make)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert unknown(Objective(model), BATCH) == names
    assert all(module.training for module in model.modules())
    model.eval()
    forward = Objective(model).outputs(model)
    assert without_gradients(lambda: depends_on_batch(model, forward, BATCH)) == in_eval_mode
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_state_that_every_pass_changes_is_no_dependence() -> None:
    assert unknown(Objective(ZOO["spectral norm"]()), BATCH) == []


class OwnCode(Net):
    """Normalises in the network's own forward pass."""

    def features(self, inputs: Tensor) -> Tensor:
        inputs = functional.batch_norm(inputs, torch.zeros(3), torch.ones(3), training=self.training)
        return super().features(inputs)


def test_a_network_that_normalises_itself() -> None:
    assert unknown(Objective(OwnCode()), BATCH) == ["the network (OwnCode)"]


@pytest.mark.parametrize("mode", ["batch", "recalibrate", "interpolate"])
def test_a_mode_that_would_leave_what_it_does_not_know_is_refused(mode: BatchNormMode) -> None:
    objective = Objective(OwnCode().eval())
    with pytest.raises(RequestError, match=rf"mode = {mode}: would leave modules .*: the network \(OwnCode\)"):
        treatment_of(mode, objective, BATCH, list, "mode")
    assert treatment_of("frozen", objective, BATCH, list, "mode").pairs is not None
