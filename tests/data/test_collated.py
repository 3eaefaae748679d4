"""Datasets of anything: collated when needed, the same whatever the order, and never held whole."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset as TorchDataset

from lossviz.data.collated import CollatedMinibatches, CollatedSplit
from lossviz.data.iterated import IteratedSplit
from lossviz.data.minibatches import Order
from lossviz.errors import RequestError, WorkError

CPU = torch.device("cpu")
ONE = torch.ones(1, 1, 1)


class Drawn(TorchDataset[Any]):
    """Examples as dicts, with a random transform."""

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        return {"x": torch.full((2,), float(index)) + 0.1 * torch.rand(2), "index": index}


class Ragged(Drawn):
    def __getitem__(self, index: int) -> Any:
        return torch.ones(1 + index % 3)

    @staticmethod
    def collate_fn(examples: list[Tensor]) -> list[Tensor]:
        return examples


def split(source: Any, seed: int = 0) -> CollatedSplit:
    return CollatedSplit(source, range(len(source)), 0 * ONE, ONE, seed)


def test_draws_belong_to_the_example_whatever_the_batches() -> None:
    """And to the seed; the generator of everybody else is left alone."""
    state = torch.get_rng_state()
    whole = torch.cat([batch["x"] for batch in split(Drawn()).batches(10)])
    for size in (1, 3, 7):
        assert torch.equal(torch.cat([batch["x"] for batch in split(Drawn()).batches(size)]), whole)
    assert not torch.equal(next(split(Drawn(), 1).batches(10))["x"], whole)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_minibatch_is_a_pure_function_of_seed_and_step() -> None:
    source = Drawn()
    minibatches = CollatedMinibatches(split(source), 4, 3)
    order = Order(10, 4, 3)
    first = {step: minibatches(step).batch for step in range(6)}
    for step in (5, 0, 3):
        repeated = CollatedMinibatches(split(Drawn()), 4, 3)(step).batch
        assert torch.equal(repeated["x"], first[step]["x"])
        assert repeated["index"].tolist() == order.indices(step).tolist()
    parts = [minibatches(2, (rank, 3)).batch for rank in range(3)]
    assert torch.equal(torch.cat([part["x"] for part in parts]), first[2]["x"])
    # A draw of its own at every step and in every row, of the same example.
    again = CollatedMinibatches(split(Drawn(1)), 2, 3)
    assert len({float(x) for step in range(3) for x in again(step).batch["x"].flatten()}) == 12


class Masked(Drawn):
    """Masks that are drawn for a batch, as transformers' collator for language models draws them."""

    @staticmethod
    def collate_fn(examples: list[Any]) -> Tensor:
        return torch.rand(len(examples))


def test_what_is_drawn_for_a_batch_is_drawn_under_the_seed() -> None:
    """The same at every point of a scan, and another one at every step of a training."""
    state = torch.get_rng_state()
    one, other = (torch.cat(list(split(Masked()).batches(4))) for _ in range(2))
    assert torch.equal(one, other)
    assert len(one.unique()) == 10
    steps = [CollatedMinibatches(split(Masked()), 4, 3)(step).batch for step in (0, 1, 0)]
    assert torch.equal(steps[0], steps[2])
    assert not torch.equal(steps[0], steps[1])
    parts = [CollatedMinibatches(split(Masked()), 4, 3)(0, (rank, 2)).batch for rank in range(2)]
    assert not torch.equal(*parts)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_collate_fn_of_its_own() -> None:
    (batch,) = split(Ragged(4)).batches(4)
    assert [len(each) for each in batch] == [1, 2, 3, 1]
    assert all(each.dtype == torch.float64 for each in next(split(Ragged(4)).to(CPU, torch.float64).batches(4)))


def test_examples_that_do_not_go_together_are_told() -> None:
    class Plain(Ragged):
        collate_fn: Any = torch.utils.data.default_collate

    with pytest.raises(WorkError, match=r"while examples are collated \(a Dataset may bring a collate_fn of its own\)"):
        next(split(Plain(4)).batches(4))


def test_a_part_of_the_examples() -> None:
    source = Drawn()
    few = split(source).choose(3, "stratified", 0)
    assert [batch["index"].tolist() for batch in few.batches(2)] == [[0, 1], [2]]
    assert [batch["index"].tolist() for batch in few.take(torch.tensor([2])).batches(2)] == [[2]]
    with pytest.raises(RequestError, match=r"examples = 11: there are 10 examples in the train split"):
        split(source).choose(11, "first", 0)


def test_the_fingerprint_is_of_what_is_the_same_twice() -> None:
    """A few examples, whatever they draw."""
    source = Drawn(1000)
    found = split(source).fingerprint()
    assert len(source.asked) <= 2 * 16 + 1
    assert found == split(Drawn(1000)).fingerprint()
    assert found != split(Drawn(999)).fingerprint()
    assert split(Ragged(9)).fingerprint() != split(Ragged(8)).fingerprint()


class Counted(TorchDataset[Any]):
    """Knows how many of its examples are alive."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.full((3,), float(index))
        self.alive.add(x)
        self.most = max(self.most, len(self.alive))
        return {"x": x}

    @staticmethod
    def collate_fn(examples: list[dict[str, Tensor]]) -> list[Tensor]:
        return [each["x"] for each in examples]  # the very tensors


def test_a_data_set_is_never_held_whole() -> None:
    """Neither while it is gone through nor afterwards: no more examples live than two batches have."""
    source = Counted()
    part = split(source)
    part.fingerprint()
    minibatches = CollatedMinibatches(part, 10, 0)
    for batch in part.batches(10):
        assert len(batch) == 10
    for step in range(40):
        minibatches(step)
    del batch
    gc.collect()
    assert source.most <= 20
    assert len(source.alive) <= 1  # the first, which tells the form


class Pairs(Counted):
    """The same with one of four classes beside it."""

    def __init__(self, label: Callable[[int], Any] = int) -> None:
        super().__init__()
        self.label, self.asked = label, list[int]()

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)["x"], self.label(index % 4)


def test_the_classes_of_pairs_are_known_without_their_inputs() -> None:
    """Each example is read once for its target, and no other is alive then."""
    source = Pairs()
    part = split(source)
    assert part.outputs == 4
    assert part.to(CPU, torch.float64).take(torch.arange(3, 9)).targets.tolist() == [3, 0, 1, 2, 3, 0]
    gc.collect()
    assert source.most <= 3
    asked = len(source.asked)
    assert part.choose(8, "stratified", 0).targets.bincount().tolist() == [2, 2, 2, 2]
    assert len(source.asked) <= asked + 1  # the first of the part, which tells the form
    assert split(Pairs(np.int64)).targets.tolist() == part.targets.tolist()


def in_bytes(index: int) -> tuple[Tensor, Tensor]:
    return torch.full((1, 2, 2), index, dtype=torch.uint8), torch.arange(1 + index % 3)


def stacked(examples: list[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.stack([image for image, _ in examples])


class Collating(Drawn):
    """Images in bytes with tags of different lengths, and a collate_fn of some form."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        super().__init__()
        self.collate_fn = collate_fn

    def __getitem__(self, index: int) -> Any:
        return in_bytes(index)


def test_the_form_of_a_batch_is_that_of_the_collate_fn() -> None:
    """And not that of an example."""
    images = torch.stack([in_bytes(index)[0] for index in range(10)])
    forms: list[Callable[[Any], Any]] = [
        lambda examples: {"images": stacked(examples)},
        lambda examples: (
            torch.stack([each for each, _ in examples]),
            pad_sequence([each for _, each in examples], True),
        ),
        lambda examples: (torch.stack([each for each, _ in examples]) / 255, torch.arange(len(examples))),
    ]
    mapping, padded, floats = (next(split(Collating(each)).to(CPU, torch.float64).batches(10)) for each in forms)
    assert split(Collating(forms[0])).outputs == 3
    assert torch.equal(mapping["images"], images)
    torch.testing.assert_close(padded[0], images.double() / 255)
    torch.testing.assert_close(floats[0].float(), images / 255)
    cropped = CollatedMinibatches(split(Collating(forms[0])), 5, 0, augment="crop-flip")
    with pytest.raises(RequestError, match=r"data\.augment = crop-flip: its collate_fn returns dict"):
        cropped(0)


def batches() -> list[dict[str, Any]]:
    return [{"x": torch.full((2,), float(i)), "name": "text"} for i in range(3)]


def test_batches_that_are_gone_through_again() -> None:
    found = IteratedSplit(batches(), CPU, torch.float64)
    assert len(found) == 3
    for _ in range(2):
        assert [float(batch["x"][0]) for batch in found.batches(7)] == [0, 1, 2]
    assert next(found.batches())["x"].dtype == torch.float64
    assert [float(batch["x"][0]) for batch in found.take(torch.arange(2)).batches()] == [0, 1]
    assert found.fingerprint() == IteratedSplit(batches(), CPU, torch.float32).fingerprint()
    assert found.choose("all", "first", 0) is found
    with pytest.raises(RequestError, match=r"examples = 2: .* one after another\n  accepted: all; or a Dataset"):
        found.choose(2, "first", 0)
