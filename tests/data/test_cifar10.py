import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from lossviz.config.data import Cifar10
from lossviz.data import cifar10 as module
from lossviz.data.cifar10 import MEAN, STD, cifar10
from lossviz.data.load import load
from lossviz.errors import RequestError

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of four images a file, in the official layout, whose checksums torchvision takes for the official."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate(BATCHES):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [0, 9, number, 3]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in BATCHES[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {**CIFAR10.meta, "md5": sums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setattr(module, "FILES", tuple(sums.items()))
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def refusal(root: Path | str, download: bool) -> str:
    with pytest.raises(RequestError) as caught:
        load(Cifar10(name="cifar10", root=str(root), download=download), seed=0)
    return str(caught.value)


def test_reads_images_channel_by_channel(fake: Path) -> None:
    parts = cifar10(Cifar10(name="cifar10", root=str(fake.parent), download=False))
    images, labels = parts["train"]
    assert images.shape == (20, 3, 32, 32)
    second = pickle.loads((fake / "data_batch_2").read_bytes())
    np.testing.assert_array_equal(images[4].numpy().ravel(), second["data"][0])  # red, green, blue; row by row
    assert labels.tolist() == [label for number in range(5) for label in (0, 9, number, 3)]
    assert parts["test"][1].tolist() == [0, 9, 5, 3]


def test_reads_a_root_below_the_home_folder(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fake.parent))
    assert len(load(Cifar10(name="cifar10", root="~", download=False), seed=0).train) == 20


def test_missing_and_no_download(tmp_path: Path) -> None:
    message = refusal(tmp_path, download=False)
    folder = tmp_path / "cifar-10-batches-py"
    for part in (f"{folder}: CIFAR-10 is not there", "data.download is false", "cifar-10-python.tar.gz", "data.root"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_missing_and_no_network(tmp_path: Path) -> None:
    message = refusal(tmp_path / "data", download=True)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    for part in (f"{folder}: CIFAR-10 is not there", "name resolution", f"{folder}/data_batch_1", "data.root"):
        assert part in message
    assert len(message.splitlines()) == 2


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", [*BATCHES, "batches.meta"])
@pytest.mark.parametrize("download", [False, True])
def test_one_bad_file_is_named(fake: Path, name: str, download: bool) -> None:
    path = fake / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    message = refusal(fake.parent, download)
    assert message.startswith(f"{path}: is damaged")
    assert "cifar-10-python.tar.gz" in message
    path.unlink()
    assert refusal(fake.parent, download).startswith(f"{path}: is missing")


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_a_bad_file_is_fetched_again(fake: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(fake, "cifar-10-batches-py")
    (fake.parent / CIFAR10.filename).write_bytes(archive.getvalue())
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    (fake / name).write_bytes(b"damaged")
    assert len(load(Cifar10(name="cifar10", root=str(fake.parent)), seed=0).train) == 20


def test_files_fetched_by_two_at_once(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one process downloads, another one fetches and reads everything."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(fake, "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.getvalue()).hexdigest())
    root, waiting = fake.parent / "empty", [Cifar10(name="cifar10", root=str(fake.parent / "empty"))]

    def download(_: str, folder: str, name: str, __: str) -> None:
        with Path(folder, name).open("wb") as file:
            file.write(archive.getvalue()[:100])
            if waiting:
                assert len(load(waiting.pop(), seed=0).train) == 20
            file.write(archive.getvalue()[100:])

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    assert len(load(waiting[0], seed=0).train) == 20
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.usefixtures("offline")
def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "is not there" in refusal(tmp_path / "data", download=True)


@pytest.mark.parametrize("key", ["mean", "std"])
def test_statistics_of_the_wrong_length(fake: Path, key: str) -> None:
    with pytest.raises(RequestError, match=rf"data\.{key} = \[0\.5\].*3 channel"):
        load(Cifar10.model_validate({"name": "cifar10", "root": str(fake.parent), key: (0.5,)}), seed=0)


def test_counts_the_classes_of_the_whole_training_set(fake: Path) -> None:
    data = load(Cifar10(name="cifar10", root=str(fake.parent), examples=1, choose="first"), seed=0)
    assert (len(data.train), data.outputs, data.channels) == (1, 10, 3)


@pytest.mark.cifar
def test_the_real_data(cifar_root: str) -> None:
    parts = cifar10(Cifar10(name="cifar10", root=cifar_root, download=False))
    for name, each_class in (("train", 5000), ("test", 1000)):
        images, labels = parts[name]
        assert images.shape == (10 * each_class, 3, 32, 32)
        assert images.dtype == torch.uint8
        assert torch.bincount(labels).tolist() == [each_class] * 10
    pixels = parts["train"][0].numpy()
    counts = [np.bincount(pixels[:, channel].ravel(), minlength=256) for channel in range(3)]
    levels = np.arange(256) / 255
    means = np.array([count @ levels / count.sum() for count in counts])
    stds = np.array([count @ levels**2 / count.sum() for count in counts] - means**2) ** 0.5
    np.testing.assert_allclose(means, MEAN, atol=5.1e-5)
    np.testing.assert_allclose(stds, STD, atol=5.1e-5)
