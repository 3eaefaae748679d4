"""Folders of torch.distributed.checkpoint (FSDP2, Lightning, torchtitan), read without torch's own reader.

That one unpickles `.metadata` with whatever it would run. The format is small: `.metadata` says of each tensor of
which chunks it is made, and of each chunk in which file and from which byte on `torch.save` wrote it.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossviz.engine.pickled import Inert, load_torch, stand_in
from lossviz.errors import Refusal, RequestError, first_line
from lossviz.files import read

METADATA = ".metadata"
_CONVERT = (
    "if it is whole and you trust it, let torch convert it: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt"
)
Record = Mapping[str, Any]
Places = Mapping[tuple[str, object], Record]
"""Where a chunk is stored, by the name of its tensor and the place of its first element there."""


def load_distributed(folder: Path) -> dict[str, Tensor]:
    """The tensors of such a folder under their own names, without those of optimisers.

    Nothing in the folder runs: `.metadata` is unpickled with empty objects in place of its classes, and the chunks are
    read with weights_only=True.

    Raises:
        RequestError: it is damaged, or names code.
    """
    try:
        metadata = _fields(_Reader(io.BytesIO(read(folder / METADATA))).load())
        entries = {name: _fields(entry) for name, entry in metadata["state_dict_metadata"].items()}
        places = {
            (str(key["fqn"]), key.get("offset")): place for key, place in map(_item, metadata["storage_data"].items())
        }
        # What is no tensor, such as a count of steps, has no chunks.
        return {
            name: _tensor(folder, name, entry, places)
            for name, entry in entries.items()
            if entry.get("chunks") and not any(part.startswith("optim") for part in name.split("."))
        }
    except Exception as error:  # a damaged pickle raises nearly anything
        problem = f"is not a checkpoint that can be read without running its code: {first_line(error)}"
        raise RequestError(Refusal(str(folder), problem, advice=_CONVERT)) from error


class _Reader(pickle.Unpickler):
    """Unpickles with an empty class of `stand_in` for every class: nothing that the file names is imported."""

    def find_class(self, module: str, name: str) -> type:
        return tuple if (module, name) == ("torch", "Size") else stand_in(f"{module}.{name}")


def _fields(value: object) -> Record:
    """The fields of a dataclass that was unpickled."""
    state = value.state if isinstance(value, Inert) else None
    return state if isinstance(state, Mapping) else {}


def _item(item: tuple[object, object]) -> tuple[Record, Record]:
    key, value = map(_fields, item)
    return key, value


def _tensor(folder: Path, name: str, entry: Record, places: Places) -> Tensor:
    chunks = {tuple(chunk["offsets"]): tuple(chunk["sizes"]) for chunk in map(_fields, entry["chunks"])}
    parts = {offsets: _values(folder, places[name, offsets]) for offsets in chunks}
    whole = torch.empty(tuple(entry["size"]), dtype=next(iter(parts.values())).dtype)
    for offsets, part in parts.items():
        whole[tuple(slice(o, o + size) for o, size in zip(offsets, chunks[offsets], strict=True))] = part
    if sum(part.numel() for part in parts.values()) != whole.numel():
        raise ValueError("a tensor is incomplete")
    return whole


def _values(folder: Path, place: Record) -> Tensor:
    """The numbers of one chunk."""
    name, start, length = str(place["relative_path"]), int(place["offset"]), int(place["length"])
    if Path(name).name != name:
        raise ValueError(f"it names {name}, which does not lie in the folder")
    if place.get("transform_descriptors"):
        raise ValueError(f"{name} is compressed")
    with (folder / name).open("rb") as file:
        file.seek(start)
        values = load_torch(file.read(length))
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} holds {type(values).__name__} where a tensor was")
    return values
