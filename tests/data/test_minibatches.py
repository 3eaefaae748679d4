from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossviz.data.minibatches import Minibatch, Minibatches, crop_flip, draw_crops
from lossviz.data.split import Split


def make_split(count: int, channels: int = 3, side: int = 8) -> Split:
    draws = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=draws)
    statistics = torch.full((2, channels, 1, 1), 0.4, dtype=torch.float64)
    images = images.contiguous(memory_format=torch.channels_last)
    return Split(images, torch.arange(count), statistics[0], statistics[1])


def same(first: Minibatch, second: Minibatch) -> bool:
    tensors = zip(first.batch, second.batch, strict=True)
    return first.noise == second.noise and all(torch.equal(one, other) for one, other in tensors)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8),
    st.integers(1, 13),
    st.integers(0, 99),
    st.sampled_from(["none", "crop-flip"]),
)
def test_minibatch_is_a_pure_function_of_seed_and_step(steps: list[int], size: int, seed: int, augment: str) -> None:
    split = make_split(13)
    used = Minibatches(split, size, seed, augment)
    for step in steps:  # in any order, with repetitions
        torch.manual_seed(step)
        assert same(used(step), Minibatches(split, size, seed, augment)(step))


def test_minibatches_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Minibatches(make_split(13), 4, 0, "crop-flip")(5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("count", "size"), [(12, 4), (13, 4), (13, 13), (13, 12), (5, 12), (1, 1), (3, 10)])
def test_every_epoch_visits_every_example_once(count: int, size: int) -> None:
    minibatches = Minibatches(make_split(count), size, seed=3)
    epochs = 12
    steps = [minibatches.indices(step) for step in range(-(-epochs * count // size))]
    assert all(len(indices) == size for indices in steps)
    stream = torch.cat(steps)[: epochs * count].reshape(epochs, count)
    assert torch.equal(stream.sort(dim=1).values, torch.arange(count).expand(epochs, count))
    assert count < 12 or len({tuple(epoch.tolist()) for epoch in stream}) == epochs


def test_orders_are_uniform() -> None:
    draws = (Minibatches(make_split(3), 3, seed).indices(0).tolist() for seed in range(1200))
    counts = Counter(map(tuple, draws))
    # Six permutations of 200 each on average: chi-squared with 5 degrees of freedom, 99.9 % quantile.
    assert len(counts) == 6
    assert sum((number - 200) ** 2 / 200 for number in counts.values()) < 20.5


def test_seeds_and_steps_differ() -> None:
    split = make_split(64)
    orders = {tuple(Minibatches(split, 64, seed).indices(step).tolist()) for seed in range(5) for step in range(5)}
    noises = {Minibatches(split, 4, seed)(step).noise for seed in range(5) for step in range(5)}
    assert len(orders) == len(noises) == 25


def test_minibatch_holds_the_examples_of_its_indices() -> None:
    split = make_split(13)
    minibatches = Minibatches(split, 5, seed=1)
    batch, indices = minibatches(2), minibatches.indices(2)
    assert torch.equal(batch.targets, indices)  # the labels number the examples
    assert torch.equal(batch.inputs, split.normalise(split.inputs)[indices])
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_is_the_step_s_own() -> None:
    split = make_split(16, side=16)
    augmented = Minibatches(split, 16, 0, "crop-flip")
    for step in (0, 7):
        originals = split.normalise(split.inputs)[augmented.indices(step)]
        assert not torch.equal(augmented(step).inputs, originals)
        assert torch.equal(Minibatches(split, 16, 0)(step).inputs, originals)
        assert augmented(step).noise == Minibatches(split, 16, 0)(step).noise


def test_every_step_and_seed_has_an_augmentation_of_its_own() -> None:
    split = make_split(6, side=16)
    alike = replace(split, inputs=split.inputs[:1].expand(6, -1, -1, -1))  # so that the order does not matter
    seen = {
        Minibatches(alike, 6, seed, "crop-flip")(step).inputs.numpy().tobytes() for seed in (0, 1) for step in range(4)
    }
    assert len(seen) == 8


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_ranks_share_a_minibatch(world: int, augment: str) -> None:
    minibatches = Minibatches(make_split(13), 10, seed=4, augment=augment)
    whole, parts = minibatches(3), [minibatches(3, (rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert max(len(part.targets) for part in parts) - min(len(part.targets) for part in parts) <= 1
    assert parts[0].noise == whole.noise
    assert len({part.noise for part in parts}) == world


def test_minibatches_of_vectors_are_their_rows() -> None:
    vectors = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    minibatches = Minibatches(Split(vectors[0], vectors[1], torch.zeros(1), torch.ones(1)), 5, seed=2)
    batch, indices = minibatches(1), minibatches.indices(1)
    assert torch.equal(batch.inputs, vectors[0][indices].float())
    assert torch.equal(batch.targets, vectors[1][indices])


def crop_flip_by_hand(image: np.ndarray, top: int, left: int, mirrored: bool) -> np.ndarray:
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 8, width + 8), dtype=np.uint8)
    padded[:, 4 : 4 + height, 4 : 4 + width] = image
    cropped = padded[:, top : top + height, left : left + width]
    return cropped[:, :, ::-1] if mirrored else cropped


def recover(image: np.ndarray, result: np.ndarray) -> tuple[int, int, bool]:
    """The one crop and mirroring that explain a result."""
    choices = [(top, left, flip) for top in range(9) for left in range(9) for flip in (False, True)]
    found = [choice for choice in choices if np.array_equal(crop_flip_by_hand(image, *choice), result)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_crop_flip_against_a_loop(layout: torch.memory_format) -> None:
    images = make_split(200, channels=2, side=10).inputs.contiguous(memory_format=layout)
    results = crop_flip(images, draw_crops(200, torch.Generator().manual_seed(1)))
    assert results.shape == images.shape
    assert results.dtype == torch.uint8
    pairs = zip(images.numpy(), results.numpy(), strict=True)
    tops, lefts, mirrored = np.array([recover(image, result) for image, result in pairs]).T
    assert set(tops) == set(lefts) == set(range(9))  # all offsets, both ends included
    assert 70 < mirrored.sum() < 130
    for first, second in ((tops, lefts), (tops, mirrored), (lefts, mirrored)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / 200**0.5


def test_crop_flip_keeps_wide_images_wide() -> None:
    images = torch.randint(1, 256, (6, 1, 5, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    results: Tensor = crop_flip(images, draw_crops(6, torch.Generator().manual_seed(2)))
    for image, result in zip(images.numpy(), results.numpy(), strict=True):
        recover(image, result)
