"""A minibatch in pieces: their gradients add up to that of the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lossviz.distributed.group import Group
from lossviz.distributed.ranks import Ranks
from lossviz.engine.checkpoint import load_tensors
from lossviz.errors import RequestError
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.command import train
from lossviz.training.shard import Shard, shard_of
from tests.faults import tiny
from tests.faults.tiny import QUIET


def sharded(setup: Setup, ranks: Ranks | None = None) -> Shard:
    return shard_of(setup.train, setup.minibatches(), Group(ranks), setup.model())


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7])
def test_pieces_add_up_to_the_whole(tmp_path: Path, micro_batch: int) -> None:
    sections: dict[str, Any] = {"precision": "float64", "momentum": 0.9, "weight_decay": 1e-3}
    whole = tiny.setup(tmp_path, train=sections)
    pieces = tiny.setup(tmp_path, "pieces", train={**sections, "micro_batch": micro_batch})
    seen = [len(pieces.minibatches()(0, part).targets) for part in sharded(pieces).parts]
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
    ("keys", "world", "parts"),
    [
        ({"batch_size": 8, "micro_batch": 2}, 1, 4),
        ({"batch_size": 8, "micro_batch": 2}, 4, 1),
        ({"batch_size": 8, "micro_batch": 1, "sync_bn": True}, 2, 4),
    ],
)
def test_two_examples_are_enough_for_batch_norm(tmp_path: Path, keys: dict[str, Any], world: int, parts: int) -> None:
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, train=keys)
    assert len(sharded(setup, Ranks(0, world)).parts) == parts


@pytest.mark.parametrize(
    ("keys", "world", "problem", "least", "fewer"),
    [
        ({"batch_size": 9, "micro_batch": 2}, 1, "micro_batch = 2: cuts a minibatch of 9 into 5 pieces", 3, ", or all"),
        ({"batch_size": 8, "micro_batch": 1}, 1, "micro_batch = 1: cuts a minibatch of 8 into 8 pieces", 2, ", or all"),
        ({"batch_size": 9, "micro_batch": 2}, 2, "micro_batch = 2: cuts a minibatch of 9 into 6 pieces", 3, ", or all"),
        ({"batch_size": 9}, 5, "batch_size = 9: is too small for 5 processes", 10, ", or at most 4 processes"),
        ({"batch_size": 3}, 2, "batch_size = 3: is too small for 2 processes", 4, ", or at most 1 process"),
    ],
)
def test_batch_norm_needs_two_examples_in_every_piece(
    tmp_path: Path, keys: dict[str, Any], world: int, problem: str, least: int, fewer: str
) -> None:
    """The advice ends: the least that is accepted is accepted, and one less is not."""

    def changed(**more: int) -> Shard:
        setup = tiny.setup(tmp_path, model={"norm": "batch"}, train={**keys, **more})
        return sharded(setup, Ranks(0, world))

    accepted = f"train.{problem}.*BatchNorm needs two examples in each\n  accepted: at least {least}{fewer}$"
    with pytest.raises(RequestError, match=accepted):
        changed()
    key, *_ = problem.split(" = ")
    assert changed(**{key: least}).parts
    with pytest.raises(RequestError, match=f"accepted: at least {least}"):
        changed(**{key: least - 1})


def test_a_network_without_statistics_needs_one_example_in_every_piece(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train={"batch_size": 5, "micro_batch": 1})
    with pytest.raises(RequestError, match=r"5 into 8 pieces: each needs one example\n  accepted: at least 2, or all"):
        sharded(setup, Ranks(0, 4))


def test_no_process_is_without_an_example(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train={"batch_size": 8})
    assert sharded(setup, Ranks(7, 8)).parts == ((7, 8),)
    with pytest.raises(RequestError, match=r"batch_size = 8: is too small for 9 processes: each needs one example\n"):
        sharded(setup, Ranks(0, 9))


def test_the_network_and_not_its_configuration_says_whether_it_has_statistics(tmp_path: Path) -> None:
    """torchvision's networks and people's own have no key `norm`."""
    setup = tiny.setup(tmp_path, train={"micro_batch": 1})
    assert len(sharded(setup).parts) == 8
    with pytest.raises(RequestError, match=r"train\.micro_batch = 1: .*BatchNorm"):
        shard_of(setup.train, setup.minibatches(), Group(), nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))


def test_l_p_norms_are_not_normalised_over_processes(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, model={"norm": "l1"}, train={"sync_bn": True})
    assert sharded(setup).parts == ((0, 1),)
    with pytest.raises(RequestError, match=r"train\.sync_bn = true: is for BatchNorm.*\n  accepted: false"):
        sharded(setup, Ranks(0, 2))
