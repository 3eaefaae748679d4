from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import transforms

from lossviz.data.split import Split, stratified
from lossviz.errors import RequestError

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
labels_of_a_set = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def column(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def make_split(labels: list[int] | None = None, count: int = 50) -> Split:
    draws = torch.Generator().manual_seed(0)
    targets = torch.tensor(labels) if labels is not None else torch.randint(0, 4, (count,), generator=draws)
    images = torch.randint(0, 256, (len(targets), 3, 6, 5), dtype=torch.uint8, generator=draws)
    return Split(images.contiguous(memory_format=torch.channels_last), targets, column(MEAN), column(STD))


def test_normalise_is_torchvision_s_bitwise() -> None:
    every_byte = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[:, :, None]
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    expected = reference(every_byte.permute(1, 2, 0).numpy())
    split = make_split().to(torch.device("cpu"), torch.float32)
    assert torch.equal(split.normalise(every_byte[None])[0], expected)


def test_normalise_in_float64_and_without_changing_the_images() -> None:
    split = make_split()
    before = split.inputs.clone()
    x = split.inputs.numpy().astype(np.float64)
    expected = (x / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_array_equal(split.normalise(split.inputs).numpy(), expected)
    assert torch.equal(split.inputs, before)


@pytest.mark.parametrize("size", [1, 7, 25, 50, 64])
def test_batches_are_the_whole_split_in_order(size: int) -> None:
    split = make_split()
    batches = list(split.batches(size))
    assert [len(labels) for _, labels in batches] == [min(size, 50 - start) for start in range(0, 50, size)]
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.targets)
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split.normalise(split.inputs))


def test_choose_all_and_first() -> None:
    split = make_split()
    assert split.choose("all", "stratified", 0) is split
    first = split.choose(7, "first", 0)
    assert torch.equal(first.inputs, split.inputs[:7])
    assert torch.equal(first.targets, split.targets[:7])
    assert first.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("how", ["first", "stratified"])
def test_choose_refuses_more_than_there_are(how: str) -> None:
    assert len(make_split().choose(50, how, 0)) == 50
    with pytest.raises(RequestError, match=r"(?s)key = 51: there are 50 examples in the test split"):
        make_split().choose(51, how, 0, "key", "test")


def test_choose_stratified_takes_images_with_their_labels() -> None:
    split = make_split()
    numbered = replace(split, inputs=split.targets.to(torch.uint8)[:, None, None, None].expand(-1, 3, 6, 5))
    chosen = numbered.choose(20, "stratified", 0)
    assert torch.equal(chosen.inputs[:, 0, 0, 0].long(), chosen.targets)


@given(labels_of_a_set, st.data(), st.integers(0, 5))
def test_stratified_gives_every_class_its_share(labels: list[int], data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(1, len(labels)))
    chosen = stratified(torch.tensor(labels), count, seed).tolist()
    assert len(chosen) == count
    assert chosen == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < len(labels)
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs(sum(labels[index] == label for index in chosen) - share) < 1
    assert chosen == stratified(torch.tensor(labels), count, seed).tolist()


def test_stratified_serves_the_largest_remainders() -> None:
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)  # shares of 4 in 10: 2.0, 1.2, 0.8
    assert torch.bincount(labels[stratified(labels, 4, seed=0)]).tolist() == [2, 1, 1]


def test_stratified_is_drawn_with_the_seed() -> None:
    labels = torch.arange(400) % 4
    subsets = [set(stratified(labels, 100, seed).tolist()) for seed in range(4)]
    overlaps = [len(subsets[a] & subsets[b]) for a in range(4) for b in range(a)]
    assert max(overlaps) < 50  # 25 expected, not the head of the set again and again
    assert min(min(subset) for subset in subsets) < 20
    assert max(max(subset) for subset in subsets) > 380


def test_stratified_subsets_of_one_seed_are_nested_per_class() -> None:
    labels = torch.arange(100) % 4
    assert set(stratified(labels, 20, 0).tolist()) <= set(stratified(labels, 40, 0).tolist())


def test_fingerprint_sees_every_pixel_label_and_statistic() -> None:
    split = make_split()
    pixel, label, mean, std = split.inputs.clone(), split.targets.clone(), split.mean.clone(), split.std.clone()
    pixel[-1, 2, 5, 4] ^= 1
    label[-1] += 1
    mean[2] += 1e-9
    std[0] += 1e-9
    others = [
        replace(split, inputs=pixel),
        replace(split, targets=label),
        replace(split, mean=mean),
        replace(split, std=std),
        replace(split, inputs=split.inputs.transpose(2, 3)),
        replace(split, inputs=split.inputs.contiguous().view(50, 3, 5, 6)),  # the same bytes in another shape
        split.choose(49, "first", 0),
    ]
    prints = {each.fingerprint() for each in [split, *others]}
    assert len(prints) == 8
    assert all(len(each) == len("sha256:") + 64 for each in prints)


def test_fingerprint_ignores_the_layout() -> None:
    split = make_split()
    assert replace(split, inputs=split.inputs.contiguous()).fingerprint() == split.fingerprint()
    assert replace(split, targets=split.targets.clone()).fingerprint() == split.fingerprint()


def test_vectors_are_taken_as_they_are() -> None:
    inputs, targets = torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    split = Split(inputs, targets, column((0.5,)), column((2.0,)))
    chosen = split.choose(5, "stratified", 3)  # there are no classes
    assert torch.equal(chosen.inputs, inputs[:5])
    assert torch.equal(chosen.targets, targets[:5])
    ((given, wanted),) = chosen.to(torch.device("cpu"), torch.float32).batches(5)
    assert torch.equal(given, inputs[:5].float())
    assert torch.equal(wanted, targets[:5].float())
    assert split.fingerprint() != replace(split, targets=targets + 1e-9).fingerprint()
