"""Images in files: what is in a batch, and that it is the same however it was decoded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from lossviz.data import streamed
from lossviz.data.crops import DRAWS, colour_noise, he_crop
from lossviz.data.minibatches import Minibatch
from lossviz.data.pictures import read_picture
from lossviz.data.streamed import Crops, Cut, StreamedSplit
from lossviz.data.streamed_minibatches import StreamedMinibatches
from lossviz.errors import RequestError
from lossviz.seeding import generator
from tests.data.photographs import Reading, everything, train_of

AUGMENTS = ("none", "he", "random-resized-crop")
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
# Of all crops of train/.
BYTES = 21 * 3 * 32 * 32


def same(first: Minibatch, second: Minibatch) -> bool:
    tensors = zip(first.batch, second.batch, strict=True)
    return first.noise == second.noise and all(torch.equal(one, other) for one, other in tensors)


@pytest.mark.parametrize("most_held", [0, 2**28])
@pytest.mark.parametrize("number", [0, 2])
def test_evaluation_is_torchvision_s(
    root: Path, reading: Reading, most_held: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greyscale, CMYK, transparent, palette and black-and-white files among them."""
    monkeypatch.setattr(streamed, "MOST_HELD", most_held)
    geometry = [v2.Resize(37), v2.CenterCrop(32), v2.PILToTensor()]
    numbers = [v2.ToDtype(torch.float64, scale=True), v2.Normalize(MEAN.flatten(), STD.flatten())]
    transform = v2.Compose([*geometry, *numbers])
    data = reading(workers=number)
    for name, split in (("train", data.train), ("val", data.test)):
        theirs = TorchvisionFolder(str(root / name), transform)
        images, labels = zip(*theirs, strict=True)
        assert isinstance(split, StreamedSplit)
        for _ in range(2):
            inputs, targets = everything(split, 4)
            assert [len(part) for _, part in split.batches(4)][-2:] == [4, 1]  # of 21 and of 9
            assert targets.tolist() == list(labels)
            torch.testing.assert_close(inputs, torch.stack(images), rtol=0, atol=1e-12)
    assert (data.channels, data.outputs, len(data.train), len(data.test)) == (3, 3, 21, 9)


@pytest.mark.parametrize("augment", AUGMENTS)
def test_minibatches_are_the_same_whatever_the_workers_and_the_order(reading: Reading, augment: str) -> None:
    by_workers = [reading(workers=number).minibatches(8, 5, augment) for number in (0, 2, 3)]
    sequence = [by_workers[0](step) for step in range(7)]  # 56 of 21 examples: three epochs
    for minibatches in by_workers[1:]:
        assert all(same(minibatches(step), batch) for step, batch in enumerate(sequence))
    for steps in ([6, 0, 3, 3, 4, 2], [5]):  # a resume, a probe, a replay
        for number in (0, 2):
            fresh = reading(workers=number).minibatches(8, 5, augment)
            assert all(same(fresh(step), sequence[step]) for step in steps)
    # Every step and every seed has numbers of its own.
    assert len({batch.inputs.numpy().tobytes() for batch in sequence}) == 7
    assert not same(reading().minibatches(8, 6, augment)(0), sequence[0])


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_a_minibatch(reading: Reading, augment: str, world: int) -> None:
    whole = reading().minibatches(8, 0, augment)(2)
    parts = [reading(workers=rank).minibatches(8, 0, augment)(2, (rank, world)) for rank in range(world)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert len({part.noise for part in parts}) == world


def test_an_epoch_visits_every_image_once(reading: Reading) -> None:
    minibatches = reading().minibatches(7, 0)
    seen = torch.cat([minibatches.indices(step) for step in range(3)])
    assert seen.sort().values.tolist() == list(range(21))
    assert torch.cat([minibatches(step).targets for step in range(3)]).tolist() == (seen // 7).tolist()


def test_he_by_hand(root: Path, reading: Reading) -> None:
    batch = reading().minibatches(5, 3, "he")(4)
    split = train_of(reading())
    indices = StreamedMinibatches(split, 5, 3).indices(4).tolist()
    draws = torch.rand(5, DRAWS, dtype=torch.float64, generator=generator(3, "augment", 4)).tolist()
    shifts = colour_noise(torch.randn(5, 3, dtype=torch.float64, generator=generator(3, "colour", 4)))
    for row, i in enumerate(indices):
        image = Image.open(root / "train" / split.index.names[i]).convert("RGB")
        pixels = torch.tensor(np.array(he_crop(image, 32, draws[row]))).permute(2, 0, 1)
        expected = (pixels / 255 + shifts[row][:, None, None] - MEAN) / STD
        torch.testing.assert_close(batch.inputs[row], expected, rtol=0, atol=1e-6)
        assert float(shifts[row].abs().max()) > 1e-4
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


def test_random_resized_crop_has_no_colour_noise(reading: Reading) -> None:
    batch = reading().minibatches(5, 3, "random-resized-crop")(0)
    levels = (batch.inputs * STD + MEAN) * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("most_held", [0, 2**28])
def test_ten_crops_are_views_of_the_test_set_only(
    root: Path, reading: Reading, most_held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "MOST_HELD", most_held)
    data = reading(evaluation="ten-crop")
    batches = list(data.test.batches(40))
    assert [tuple(inputs.shape) for inputs, _ in batches] == [
        (4, 10, 3, 32, 32),
        (4, 10, 3, 32, 32),
        (1, 10, 3, 32, 32),
    ]
    assert next(iter(data.train.batches(40)))[0].shape == (21, 3, 32, 32)
    assert isinstance(data.test, StreamedSplit)
    image = Image.open(root / "val" / data.test.index.names[5]).convert("RGB")
    crops = v2.functional.ten_crop(v2.functional.resize(image, [37]), [32, 32])
    expected = torch.stack([(v2.functional.pil_to_tensor(crop) / 255.0 - MEAN) / STD for crop in crops])
    torch.testing.assert_close(batches[1][0][1], expected, rtol=0, atol=1e-6)


def test_subsets_are_those_of_other_data(reading: Reading) -> None:
    chosen = train_of(reading(examples=6, seed=2))
    assert torch.bincount(chosen.targets).tolist() == [2, 2, 2]
    first = train_of(reading(examples=6, choose="first"))
    assert first.index.names == train_of(reading()).index.names[:6]
    inputs, targets = everything(chosen.choose(3, "first", 0), 2)
    assert torch.equal(inputs, everything(chosen, 6)[0][:3])
    assert targets.tolist() == chosen.targets[:3].tolist()
    with pytest.raises(RequestError, match=r"data\.examples = 22: there are 21"):
        reading(examples=22)


def test_fingerprint_follows_names_and_sizes(root: Path, reading: Reading) -> None:
    before = reading().fingerprint()
    assert reading(workers=2).fingerprint() == before
    assert reading(mean=[0, 0, 0]).fingerprint()["test"] != before["test"]
    assert reading(examples=6).fingerprint()["train"] != before["train"]
    (root / "val" / "c0" / "0.jpg").rename(root / "val" / "c0" / "00.jpg")
    after = reading().fingerprint()
    assert after["train"] == before["train"]
    assert after["test"] != before["test"]


@pytest.mark.parametrize("key", ["mean", "std"])
def test_statistics_need_three_channels(reading: Reading, key: str) -> None:
    with pytest.raises(RequestError, match=rf"data\.{key} = \[0\.5\].*3 channel"):
        reading(**{key: [0.5]})


def test_steps_are_decoded_ahead_and_once(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[int]] = []
    decode = StreamedSplit.decode

    def spy(split: StreamedSplit, indices: Sequence[int], cut: Cut, *, replace_damaged: bool) -> Crops:
        started.append(list(indices))
        return decode(split, indices, cut, replace_damaged=replace_damaged)

    monkeypatch.setattr(StreamedSplit, "decode", spy)
    for number, ahead in ((0, 0), (2, 2)):
        started.clear()
        minibatches = reading(workers=number).minibatches(4, 0)
        for step in (0, 0, 1, 2):  # a probe and the step itself ask for the same
            minibatches(step)
        assert started == [minibatches.indices(step).tolist() for step in range(3 + ahead)]


@pytest.mark.parametrize(("most_held", "times"), [(None, 1), (BYTES, 1), (BYTES - 1, 3)])
def test_few_images_are_decoded_only_once(
    reading: Reading, most_held: int | None, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of evaluation, whose crops fit into the bytes that may be held; a scan asks for them at every point."""
    if most_held is not None:
        monkeypatch.setattr(streamed, "MOST_HELD", most_held)
    opened: list[Path] = []

    def spy(path: Path) -> Image.Image:
        opened.append(path)
        return read_picture(path)

    monkeypatch.setattr(streamed, "read_picture", spy)
    split = train_of(reading())
    for _ in range(3):
        everything(split, 4)
    assert len(opened) == 21 * times
