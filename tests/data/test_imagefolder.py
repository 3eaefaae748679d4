"""Images in files: what is in a batch, that it is the same however it was decoded, and what damaged files do."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder as TorchvisionFolder
from torchvision.transforms import v2

from lossviz.config.data import ImageFolder
from lossviz.data import streamed
from lossviz.data.ahead import automatic_workers
from lossviz.data.crops import DRAWS, colour_noise, he_crop
from lossviz.data.load import Dataset, load
from lossviz.data.minibatches import Minibatch
from lossviz.data.streamed import Crops, Cut, StreamedSplit
from lossviz.data.streamed_minibatches import StreamedMinibatches
from lossviz.errors import RequestError, WorkError
from lossviz.seeding import generator
from tests.data.photographs import encoded, picture, write_tree

AUGMENTS = ("none", "he", "random-resized-crop")
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
Reading = Callable[..., Dataset]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_tree(tmp_path / "images")


@pytest.fixture
def reading(root: Path) -> Reading:
    def read(seed: int = 0, **keys: object) -> Dataset:
        given = {"name": "imagefolder", "root": str(root), "image_size": 32, "workers": 0, **keys}
        config = ImageFolder.model_validate_json(json.dumps(given))
        return load(config, seed).to(torch.device("cpu"), torch.float64)

    return read


def train_of(data: Dataset) -> StreamedSplit:
    assert isinstance(data.train, StreamedSplit)
    return data.train


def same(first: Minibatch, second: Minibatch) -> bool:
    tensors = zip(first[:2], second[:2], strict=True)
    return first.noise == second.noise and all(torch.equal(one, other) for one, other in tensors)


def damage(root: Path, part: str = "train", label: int = 1, number: int = 2) -> Path:
    """A JPEG cut in half."""
    (path,) = (root / part / f"c{label}").glob(f"{number}.*")
    content = encoded(picture(0, sides=(90, 90)))
    path.write_bytes(content[: len(content) // 2])
    return path


def everything(split: StreamedSplit, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*split.batches(size), strict=True)
    return torch.cat(inputs), torch.cat(targets)


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


def test_gradients_of_what_was_first_evaluated(reading: Reading) -> None:
    split = train_of(reading())
    with torch.inference_mode():
        everything(split, 4)
    inputs, targets = next(split.batches(4))
    weight = torch.zeros(3 * 32 * 32, 3, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(inputs.flatten(1) @ weight, targets)
    assert torch.autograd.grad(loss, weight)[0].abs().sum() > 0


@pytest.mark.parametrize("number", [0, 2])
def test_a_damaged_file_stops_the_work_and_is_named(root: Path, reading: Reading, number: int) -> None:
    path = damage(root)
    data = reading(workers=number)
    minibatches = data.minibatches(3, 0)
    hit = next(step for step in range(7) if 9 in minibatches.indices(step))
    for step in range(hit):
        minibatches(step)  # what is decoded ahead does not stop what comes before
    with pytest.raises(WorkError, match=rf"{path}: is damaged: image file is truncated[\s\S]*data\.corrupt: skip"):
        minibatches(hit)
    with pytest.raises(WorkError, match=str(path)):
        list(data.train.batches(4))
    assert data.damaged == {}


@pytest.mark.parametrize("number", [0, 2])
def test_the_next_readable_file_takes_the_place_of_damaged_ones(root: Path, reading: Reading, number: int) -> None:
    reference = reading().minibatches(3, 0, "he")
    batches = [reference(step) for step in range(7)]
    paths = [damage(root, number=5), damage(root, number=6)]  # and so the next is the first of the next class
    data = reading(corrupt="skip", workers=number)
    minibatches = data.minibatches(3, 0, "he")
    for step, before in enumerate(batches):
        after = minibatches(step)
        for row, i in enumerate(minibatches.indices(step).tolist()):
            if i in (12, 13):
                assert after.targets[row] == 2
            else:
                assert torch.equal(after.inputs[row], before.inputs[row])
                assert after.targets[row] == before.targets[row]
    assert list(data.damaged) == [str(path) for path in paths]
    assert "truncated" in data.damaged[str(paths[0])]
    inputs, targets = everything(train_of(data), 4)
    assert torch.equal(inputs[12], inputs[14])
    assert torch.equal(inputs[13], inputs[14])
    assert targets[11:15].tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("number", [0, 2])
def test_only_files_that_were_wanted_are_counted(root: Path, reading: Reading, number: int) -> None:
    path = damage(root)
    data = reading(corrupt="skip", workers=number)
    minibatches = data.minibatches(3, 0)
    hit = next(step for step in range(7) if 9 in minibatches.indices(step))
    for step in range(hit):
        minibatches(step)
    assert data.damaged == {}
    minibatches(hit)
    assert list(data.damaged) == [str(path)]


def test_a_class_of_damaged_files_only(root: Path, reading: Reading) -> None:
    for label in range(3):
        for number in range(3):
            damage(root, "val", label, number)
    with pytest.raises(WorkError, match=r"val: all of 9 files are damaged"):
        list(reading(corrupt="skip").test.batches(4))


def test_a_file_that_cannot_be_read_is_never_skipped(root: Path, reading: Reading) -> None:
    data = reading(corrupt="skip")
    path = root / "train" / "c0" / train_of(data).index.names[0].removeprefix("c0/")
    path.unlink()
    with pytest.raises(WorkError, match=f"{path}: cannot be read: No such file"):
        list(data.train.batches(4))


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 1), (9, 8), (64, 8)])
def test_automatic_workers(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert automatic_workers() == expected


@pytest.mark.parametrize(("processes", "expected"), [("1", 8), ("4", 3), ("15", 1), ("16", 1)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, processes: str, expected: int) -> None:
    """As torchrun says; each of them decodes ahead, unless there is one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert automatic_workers() == expected


def test_steps_are_decoded_ahead_and_once(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[int]] = []
    decode = StreamedSplit.decode

    def spy(split: StreamedSplit, indices: Sequence[int], cut: Cut, views: int = 1) -> Crops:
        started.append(list(indices))
        return decode(split, indices, cut, views)

    monkeypatch.setattr(StreamedSplit, "decode", spy)
    for number, ahead in ((0, 0), (2, 2)):
        started.clear()
        minibatches = reading(workers=number).minibatches(4, 0)
        for step in (0, 0, 1, 2):  # a probe and the step itself ask for the same
            minibatches(step)
        assert started == [minibatches.indices(step).tolist() for step in range(3 + ahead)]
