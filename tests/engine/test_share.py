"""A minibatch in pieces: their gradients add up to that of the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossviz.engine.checkpoint import load_tensors
from lossviz.engine.group import Group
from lossviz.engine.ranks import Ranks
from lossviz.engine.share import share_of
from lossviz.engine.train import train
from lossviz.errors import RequestError
from lossviz.results import load_results
from lossviz.signals import StopRequest
from tests.faults import tiny
from tests.faults.tiny import QUIET


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7])
def test_pieces_add_up_to_the_whole(tmp_path: Path, micro_batch: int) -> None:
    sections: dict[str, Any] = {"precision": "float64", "momentum": 0.9, "weight_decay": 1e-3}
    whole = tiny.setup(tmp_path, train=sections)
    pieces = tiny.setup(tmp_path, "pieces", train={**sections, "micro_batch": micro_batch})
    seen = [len(pieces.minibatches()(0, part).targets) for part in share_of(pieces, Group()).parts]
    assert sum(seen) == 8
    assert max(seen) <= micro_batch
    for setup in (whole, pieces):
        train(setup, QUIET, StopRequest())
    found, expected = (load_tensors(setup.run.checkpoint_file(12)) for setup in (pieces, whole))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-13, msg=name)
    curves, exact = (load_results(setup.run.train_file) for setup in (pieces, whole))
    for name in ("loss", "accuracy", "penalty", "val_loss"):
        np.testing.assert_allclose(curves[name], exact[name], rtol=1e-11, err_msg=name)


def test_batch_norm_sees_each_piece_for_itself(tmp_path: Path) -> None:
    """Against torch: two backward passes over halves of the minibatch, one after the other."""
    sections: dict[str, Any] = {"model": {"norm": "batch"}, "train": {"precision": "float64", "weight_decay": 0.0}}
    setup = tiny.setup(tmp_path, model=sections["model"], train={**sections["train"], "micro_batch": 4, "steps": 1})
    train(setup, QUIET, StopRequest())
    model, batch = setup.model(), setup.minibatches()(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for half in (slice(0, 4), slice(4, 8)):
        (torch.nn.functional.cross_entropy(model(batch.inputs[half]), batch.targets[half]) / 2).backward()
    optimizer.step()
    saved = load_tensors(setup.run.checkpoint_file(1))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-11, atol=1e-13, msg=name)


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({"batch_size": 8, "micro_batch": 2}, None),
        ({"batch_size": 9, "micro_batch": 2}, 10),
        ({"batch_size": 8, "micro_batch": 1}, 16),
    ],
)
def test_batch_norm_needs_two_examples_in_every_piece(
    tmp_path: Path, keys: dict[str, Any], refused: int | None
) -> None:
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, train=keys)
    if refused is None:
        assert len(share_of(setup, Group()).parts) == 4
    else:
        with pytest.raises(RequestError, match=f"accepted: at least {refused}; or fewer processes"):
            share_of(setup, Group())


def test_no_process_is_without_an_example(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train={"batch_size": 8})
    assert share_of(setup, Group(Ranks(7, 8))).parts == ((7, 8),)
    with pytest.raises(RequestError, match=r"batch_size = 8: is too small for 9 pieces, 1 for each of 9 process"):
        share_of(setup, Group(Ranks(0, 9)))
