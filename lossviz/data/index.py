"""Which images a folder holds: scanned once, and again only where a folder has changed."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter
from torchvision.datasets.folder import IMG_EXTENSIONS

from lossviz.errors import LossvizError, Refusal, RequestError, WorkError, refuse
from lossviz.files import atomic_write, read_sealed, seal, shown

# Clocks of file systems tick, up to 2 s apart: what changed that recently may change again under the same time. And the
# clock of a file server may be an hour behind this one's, so that "recently" is two hours.
SETTLED_NS = 7_200_000_000_000


class Index(NamedTuple):
    """The images of one split in the order of torchvision's ImageFolder.

    Attributes:
        folder: that names are relative to.
        classes: names of the class folders, sorted; a label is a place in this list.
        names: of the files, `<class>/<file>`, sorted within each class.
        labels: of each file.
        sizes: of each file, in bytes, when its folder was scanned.
    """

    folder: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Listing:
    """One folder: its time of change, images with their sizes, and folders in it; hidden ones left out."""

    changed: int
    files: dict[str, int]
    folders: list[str]


Listings = dict[str, Listing]
"""Folders by their paths from the root."""
LISTINGS = TypeAdapter(Listings)


def index(root: Path) -> tuple[Index, Index]:
    """The images of train/ and val/.

    Listings are kept in the user's cache folder ($XDG_CACHE_HOME or ~/.cache), each for as long as its folder keeps
    its time of change.

    Raises:
        RequestError: a folder is missing or empty, or train/ and val/ have different classes.
    """
    cache = _cache_file(root)
    known, now = _cached(cache), time.time_ns()
    listings = {**_list(root, "train", known), **_list(root, "val", known)}
    settled = {name: each for name, each in listings.items() if now - each.changed > SETTLED_NS}
    if settled != known:
        # What cannot be kept is scanned again by the next command.
        with suppress(WorkError):
            atomic_write(cache, seal(_dumped(settled)))
    _refuse_other_classes(root, listings)
    return _index(root, "train", listings), _index(root, "val", listings)


def _index(root: Path, part: str, listings: Listings) -> Index:
    classes = tuple(listings[part].folders)
    names, labels, sizes = [], [], []
    for label, name in enumerate(classes):
        files = list(_files(f"{part}/{name}", listings))
        if not files:
            problem = "holds no image, and every class needs one"
            refuse(shown(root / part / name), problem, accepted=", ".join(IMG_EXTENSIONS))
        names += [path.removeprefix(f"{part}/") for path, _ in files]
        sizes += [size for _, size in files]
        labels += [label] * len(files)
    return Index(root / part, classes, tuple(names), tuple(labels), tuple(sizes))


def _files(folder: str, listings: Listings) -> Iterator[tuple[str, int]]:
    """Images in a folder and below, with their sizes."""
    for name, size in listings[folder].files.items():
        yield f"{folder}/{name}", size
    for name in listings[folder].folders:
        yield from _files(f"{folder}/{name}", listings)


def _list(root: Path, name: str, known: Listings) -> Listings:
    """Listings of a folder and of all below."""
    folder = root / name
    try:
        changed = folder.stat().st_mtime_ns
        listing = known.get(name)
        if listing is None or listing.changed != changed:
            listing = _scan(folder, changed)
    except OSError as error:
        advice = "data.root: a folder that holds train/<class>/ and val/<class>/ with images"
        problem = f"cannot be listed: {error.strerror}"
        raise RequestError(Refusal(shown(Path(error.filename)), problem, advice=advice)) from error
    found = {name: listing}
    for inner in listing.folders:
        found |= _list(root, f"{name}/{inner}", known)
    return found


def _scan(folder: Path, changed: int) -> Listing:
    files, folders = {}, []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(IMG_EXTENSIONS):
                files[entry.name] = entry.stat().st_size
    return Listing(changed, files, folders)


def _refuse_other_classes(root: Path, listings: Listings) -> None:
    train, val = (set(listings[part].folders) for part in ("train", "val"))
    for part, classes in (("train", train), ("val", val)):
        if not classes:
            refuse(
                shown(root / part),
                "has no class folders",
                advice="data.root: a folder that holds train/<class>/ and val/<class>/; ImageNet's validation images "
                "come unsorted, each belongs in the folder of its class",
            )
    extra = (("train", sorted(train - val)), ("val", sorted(val - train)))
    lines = [f"only in {part}/: {_some(names)}" for part, names in extra if names]
    if lines:
        refuse(shown(root), "train/ and val/ have different class folders", advice="\n".join(lines))


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:4])}, ... ({len(names):,} in all)"


def _cache_file(root: Path) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return folder / "lossviz" / f"imagefolder-{digest}.json"


def _dumped(listings: Listings) -> bytes:
    # Not pydantic's own JSON, which replaces what is no text in a name, and the file would not be found again.
    return json.dumps(LISTINGS.dump_python(listings)).encode("ascii") + b"\n"


def _cached(file: Path) -> Listings:
    # A file that is damaged or of an older version is not read: everything is scanned again.
    try:
        return LISTINGS.validate_python(json.loads(read_sealed(file, "").splitlines()[0]))
    except (LossvizError, ValueError):
        return {}
