"""Which files are examples, of which class, and when a folder is scanned again."""

import os
import time
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from lossviz.data import index as module
from lossviz.data.index import index
from lossviz.errors import RequestError
from tests.data.photographs import encoded, picture, write_tree

LONG_AGO = 1_500_000_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_tree(tmp_path / "images")


def settle(root: Path) -> None:
    """As if nothing had changed for years."""
    for folder in (root, *root.rglob("*")):
        if folder.is_dir():
            os.utime(folder, (LONG_AGO, LONG_AGO))


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that are read."""
    names: list[str] = []
    scan = module._scan

    def spy(folder: Path, changed: int) -> module.Listing:
        names.append(folder.name)
        return scan(folder, changed)

    monkeypatch.setattr(module, "_scan", spy)
    return names


def refusal(root: Path) -> str:
    with pytest.raises(RequestError) as caught:
        index(root)
    return str(caught.value)


def test_order_and_classes_are_torchvision_s(root: Path) -> None:
    (root / "train" / "c1" / "README.txt").write_text("not an example")
    (root / "train" / "c1" / "._0.jpg").write_text("a resource fork")
    (root / "train" / ".cache").mkdir()
    parts = index(root)
    (root / "train" / ".cache").rmdir()  # to torchvision it is a class
    for part in parts:
        theirs = ImageFolder(str(part.folder), is_valid_file=lambda path: not path.endswith(("txt", "._0.jpg")))
        assert list(part.classes) == theirs.classes
        ours = [(str(part.folder / name), label) for name, label in zip(part.names, part.labels, strict=True)]
        assert ours == theirs.samples
        assert list(part.sizes) == [Path(path).stat().st_size for path, _ in theirs.samples]


def test_folders_within_a_class_count(root: Path) -> None:
    deep = root / "train" / "c0" / "images" / "more"
    deep.mkdir(parents=True)
    (deep / "9.jpg").write_bytes(encoded(picture(9)))
    train, _ = index(root)
    assert "c0/images/more/9.jpg" in train.names
    assert train.labels[train.names.index("c0/images/more/9.jpg")] == 0


def test_nothing_is_scanned_twice(root: Path, scanned: list[str]) -> None:
    settle(root)
    first = index(root)
    assert sorted(scanned) == ["c0", "c0", "c1", "c1", "c2", "c2", "train", "val"]
    scanned.clear()
    assert index(root) == first
    assert scanned == []


def test_names_need_not_be_text(root: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    (root / "train" / "c1" / odd).write_bytes(encoded(picture(99)))
    settle(root)
    first = index(root)
    assert f"c1/{odd}" in first[0].names
    assert index(root) == first, "from the cache"


def test_a_file_that_comes_or_goes_is_seen(root: Path, scanned: list[str]) -> None:
    settle(root)
    before, _ = index(root)
    scanned.clear()
    (root / "train" / "c1" / "99.jpg").write_bytes(encoded(picture(99)))
    after, _ = index(root)
    assert set(after.names) - set(before.names) == {"c1/99.jpg"}
    assert scanned == ["c1"]
    (root / "train" / "c1" / "99.jpg").unlink()
    assert index(root)[0] == before


def test_a_folder_that_changed_just_now_is_not_trusted(root: Path) -> None:
    index(root)
    folder, stamp = root / "train" / "c1", (root / "train" / "c1").stat().st_mtime_ns
    (folder / "99.jpg").write_bytes(encoded(picture(99)))
    os.utime(folder, ns=(stamp, stamp))  # within one tick of the file system's clock
    assert "c1/99.jpg" in index(root)[0].names


@pytest.mark.parametrize("skew_s", [-3600, 0, 3600])
def test_the_clock_of_the_file_server_may_be_an_hour_off(
    root: Path, monkeypatch: pytest.MonkeyPatch, skew_s: int
) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + skew_s * 1_000_000_000)
    test_a_folder_that_changed_just_now_is_not_trusted(root)


def test_two_roots_do_not_share_a_cache(root: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other", train=2)
    for each in (root, other):
        settle(each)
    index(root)
    assert len(index(other)[0].names) == 6
    assert len(index(root)[0].names) == 21


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"train": 3}'])
def test_a_cache_that_is_no_cache_is_made_anew(root: Path, tmp_path: Path, content: bytes) -> None:
    settle(root)
    expected = index(root)
    (file,) = (tmp_path / "cache" / "lossviz").iterdir()
    file.write_bytes(content)
    assert index(root) == expected


def test_a_cache_with_another_name_in_it_is_made_anew(root: Path, tmp_path: Path) -> None:
    """One bit makes one image of another: it would count twice."""
    settle(root)
    expected = index(root)
    (file,) = (tmp_path / "cache" / "lossviz").iterdir()
    first, second = (name.partition("/")[2].encode() for name in expected[0].names[:2])
    assert first in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(first, second, 1))
    assert index(root) == expected


def test_a_cache_that_cannot_be_written_costs_time_only(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    assert len(index(root)[0].names) == 21
    assert sorted(path.name for path in root.iterdir()) == ["train", "val"]  # and nothing goes into the data


def test_different_classes_are_refused_by_name(root: Path) -> None:
    (root / "train" / "c9").mkdir()
    for number in range(7):
        (root / "val" / f"d{number}").mkdir()
    message = refusal(root)
    assert message.startswith(f"{root}: train/ and val/ have different class folders")
    assert "only in train/: c9" in message
    assert "only in val/: d0, d1, d2, d3, ... (7 in all)" in message


def test_a_missing_folder_is_named(root: Path, tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere' / 'train'}: cannot be listed: No such file" in refusal(tmp_path / "nowhere")
    (root / "val").rename(root / "validation")
    assert f"{root / 'val'}: cannot be listed" in refusal(root)


def test_an_empty_class_is_named(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "empty").mkdir()
    assert f"{root / 'train' / 'empty'}: holds no image" in refusal(root)


def test_unsorted_validation_images_are_explained(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    (flat / "val").mkdir(parents=True)
    (root / "train").rename(flat / "train")
    (flat / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(encoded(picture(0)))
    assert f"{flat / 'val'}: has no class folders" in refusal(flat)
