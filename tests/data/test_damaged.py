"""Files that are no usable image: what stops, what is left out, what is replaced, and what is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lossviz import work
from lossviz.config import read
from lossviz.data import streamed
from lossviz.errors import WorkError
from lossviz.results import load_results
from lossviz.run import run_of
from tests.data.photographs import Reading, damage, everything, train_of


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


@pytest.mark.parametrize("most_held", [0, 2**28])
@pytest.mark.parametrize("number", [0, 2])
def test_evaluation_leaves_damaged_files_out(
    root: Path, reading: Reading, most_held: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the examples are cut into batches, one of them damaged as a whole, and shared by processes."""
    monkeypatch.setattr(streamed, "MOST_HELD", most_held)
    inputs, targets = everything(train_of(reading()), 4)
    kept = [i for i in range(21) if i not in (7, 12, 13)]
    paths = [damage(root, number=i) for i in (0, 5, 6)]
    split = train_of(reading(corrupt="skip", workers=number))
    for world in (1, 2, 3):
        for size in (2, 4, 21):
            shares = [split.take(torch.arange(21)[21 * i // world : 21 * (i + 1) // world]) for i in range(world)]
            found = [batch for share in shares for batch in share.batches(size)]
            assert all(len(classes) for _, classes in found)
            assert torch.equal(torch.cat([images for images, _ in found]), inputs[kept])
            assert torch.equal(torch.cat([classes for _, classes in found]), targets[kept])
    assert set(split.damaged) == {str(path) for path in paths}


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


@pytest.mark.parametrize("most_held", [0, 2**28])
def test_damaged_files_only(root: Path, reading: Reading, most_held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "MOST_HELD", most_held)
    for part, count in (("train", 7), ("val", 3)):
        for label in range(3):
            for number in range(count):
                damage(root, part, label, number)
    data = reading(corrupt="skip")
    with pytest.raises(WorkError, match=r"val: all of 9 files are damaged"):
        list(data.test.batches(4))
    with pytest.raises(WorkError, match=r"train: all of 21 files are damaged"):
        data.minibatches(4, 0)(0)


def test_a_file_that_cannot_be_read_is_never_skipped(root: Path, reading: Reading) -> None:
    data = reading(corrupt="skip")
    path = root / "train" / "c0" / train_of(data).index.names[0].removeprefix("c0/")
    path.unlink()
    with pytest.raises(WorkError, match=f"{path}: cannot be read: No such file"):
        list(data.train.batches(4))


@pytest.mark.parametrize(("numbers", "said"), [((1,), "1 damaged file was skipped"), ((0, 1), "2 damaged files were")])
def test_a_training_says_and_records_what_it_skipped(
    root: Path, tmp_path: Path, numbers: tuple[int, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [damage(root, "val", 2, number) for number in numbers]
    file = tmp_path / "skips.yaml"
    file.write_text(
        f"name: skips\ndata: {{name: imagefolder, root: {root}, image_size: 32, workers: 0, corrupt: skip}}\n"
        "model: {name: vgg, width: 0.0625}\ntrain: {steps: 1, batch_size: 4}\n"
    )
    (config,) = read(str(file))
    run = run_of(config, tmp_path / "runs")
    work.train([(run, config)], work.Options("cpu"))
    assert f"  warning: {said}" in capsys.readouterr().out
    assert list(run.record()["damaged files"]) == [str(path) for path in paths]
    # The error is a share of those images that are left.
    wrong = load_results(run.train_file).val_error.values / 100 * (9 - len(paths))
    np.testing.assert_allclose(wrong, wrong.round(), rtol=0, atol=1e-9)
    assert (wrong > 0).any()
