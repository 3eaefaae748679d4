"""Saving and reading networks: sealed safetensors of our own, and foreign files that hold data only."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lossviz.errors import Refusal, RequestError, either, first_line
from lossviz.files import BLANK_SEAL, MARK, atomic_write, read, read_sealed, seal

SAFETENSORS = ".safetensors"
_ADVICE = "restore it from a copy, or train again: lossviz train ... --fresh"
# Wrappers around the names of parameters that other tools leave behind.
_WRAPPERS = ("module", "_orig_mod")
_NESTS = ("state_dict", "model_state_dict", "model", "net")


class _Ignored:
    """In place of numpy's scalars and arrays, such as an accuracy beside the weights: nothing of numpy is called."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_NUMPY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Ignored, name)
    for name in (
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{maker}" for core in ("core", "_core") for maker in ("scalar", "_reconstruct")),
    )
]


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, sealed.

    Tied tensors are one tensor under several names. The file holds it under the first of them, and its metadata map
    each other name to that one, as those of `safetensors.torch.save_model` do.
    """
    tied = tied_names(tensors)
    # Cloned, because safetensors refuses tensors that share memory, such as a weight and its transpose.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if name not in tied}
    storages = Counter(tensor.untyped_storage().data_ptr() for tensor in plain.values())
    plain = {n: t.clone() if storages[t.untyped_storage().data_ptr()] > 1 else t for n, t in plain.items()}
    content = safetensors.torch.save(plain, {"seal": BLANK_SEAL.decode(), **tied})
    atomic_write(path, seal(_in_order(content) if tied else content))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote, tied tensors under all their names.

    Raises:
        RequestError: there is no such file.
        WorkError: it was cut short or altered.
    """
    return _safetensors(read_sealed(path, _ADVICE))


def tied_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Every name whose tensor an earlier name has too, with that earlier name."""
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            earlier = first.setdefault(place, name)
            if earlier != name:
                found[name] = earlier
    return found


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read a network that another tool saved: safetensors, a state_dict, or a dict that holds one.

    PyTorch files are read with weights_only=True, so they cannot run code; wrappers' prefixes are removed.

    Raises:
        RequestError: there is no such file, or no tensors can be read from it.
    """
    content = read(path)
    if path.suffix == SAFETENSORS and MARK in content:
        return load_tensors(path)
    try:
        if path.suffix == SAFETENSORS:
            tree: Any = _safetensors(content)
        else:
            with torch.serialization.safe_globals(_NUMPY):
                tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything: IndexError, struct.error, AssertionError
        problem = f"is not a checkpoint that can be read without running its code: {_reason(error)}"
        accepted = f"safetensors, or a PyTorch state_dict (alone, or in a dict under {either(_NESTS)})"
        raise RequestError(Refusal(str(path), problem, None, accepted, advice="save model.state_dict()")) from error
    found = _state_dict(tree, path)
    bare = {_bare(name): tensor for name, tensor in found.items()}
    return bare if len(bare) == len(found) else found


def fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy named tensors into a network in place.

    Raises:
        RequestError: as `check_fit`.
    """
    fitting = check_fit(model, tensors, path)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in fitting:
                tensor.copy_(fitting[name])


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Named tensors under the network's own names; those of wrappers around it, or in it, do not matter.

    A file may hold tensors that the network ties under all their names or under one of them.

    Raises:
        RequestError: they belong to another architecture; names the first tensor that differs, and both shapes.
    """
    own = model.state_dict()
    names = {_unwrapped(name): name for name in own}
    renamed = {name: name if name in own else names.get(_unwrapped(name), name) for name in tensors}
    if len(set(renamed.values())) < len(tensors):
        raise _misfit(path, "it holds a tensor twice, with and without the name of a wrapper (module, _orig_mod)")
    tensors = _with_tied({renamed[name]: tensor for name, tensor in tensors.items()}, tied_names(own), path)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            continue  # old checkpoints have none, and it matters only for cumulative averages
        if name not in tensors:
            raise _misfit(path, f"{name} {tuple(tensor.shape)} is missing in the file")
        if tensors[name].shape != tensor.shape:
            there, here = tuple(tensors[name].shape), tuple(tensor.shape)
            raise _misfit(path, f"{name} is {there} in the file and {here} in the network")
    for name, tensor in tensors.items():
        if name not in own:
            raise _misfit(path, f"{name} {tuple(tensor.shape)} is in the file and not in the network")
    return tensors


def save_resume(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write all that training needs to go on after `step` updates.

    Schedule and random numbers are pure functions of the seed and the step, so there is nothing else.
    """
    buffer = io.BytesIO()
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    atomic_write(path, seal(buffer.getvalue()))


def load_resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put network and optimiser into the saved state; returns the step.

    Raises:
        WorkError: the file was cut short or altered.
    """
    state = torch.load(io.BytesIO(read_sealed(path, _ADVICE)), map_location="cpu", weights_only=True)
    fit(model, state["model"], path)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _with_tied(tensors: dict[str, Tensor], tied: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Tensors under all names of those that a network ties, where they have one of the names.

    Raises:
        RequestError: two names of one tensor have different values.
    """
    found = dict(tensors)
    for other, name in tied.items():
        if other in found and name not in found:
            found[name] = found[other]
    for other, name in tied.items():
        if name not in found:
            continue  # check_fit says that it is missing
        one, two = found[name], found.setdefault(other, found[name])
        if one.shape == two.shape and not torch.allclose(one, two.to(one.dtype), rtol=0, atol=0, equal_nan=True):
            raise _misfit(path, f"{name} and {other} are one tensor in the network, and differ in the file")
    return found


def _safetensors(content: bytes) -> dict[str, Tensor]:
    """Named tensors of a safetensors file; those that it holds once for several names, under all of them."""
    tensors = safetensors.torch.load(content)
    metadata = _header(content).get("__metadata__", {})
    tied = {other: name for other, name in metadata.items() if name in tensors and other not in tensors}
    return tensors | {other: tensors[name] for other, name in tied.items()}


def _header(content: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata in order: the library writes them in another one every time."""
    size, header = int.from_bytes(content[:8], "little"), _header(content)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _reason(error: Exception) -> str:
    """What an error says in one line, without PyTorch's advice to let the file run its code."""
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    if code:
        return f"it holds {code[1]}"
    return type(error).__name__ if "weights_only" in str(error) else first_line(error)


def _state_dict(tree: object, path: Path) -> dict[str, Tensor]:
    if isinstance(tree, Mapping):
        for nest in _NESTS:
            if isinstance(tree.get(nest), Mapping):
                return _state_dict(tree[nest], path)
        if tree and all(isinstance(value, Tensor) for value in tree.values()):
            return {str(name): value for name, value in tree.items()}
    there = f"a dict of {', '.join(map(str, tree)) or 'nothing'}" if isinstance(tree, Mapping) else type(tree).__name__
    advice = f"looked for tensors at the top and under {', '.join(_NESTS)}: save model.state_dict()"
    raise RequestError(Refusal(str(path), f"holds no state_dict, but {there}", advice=advice))


def _bare(name: str) -> str:
    """The name without wrappers of the whole network."""
    head, dot, rest = name.partition(".")
    return _bare(rest) if dot and head in _WRAPPERS else name


def _unwrapped(name: str) -> str:
    """The name without wrappers anywhere: `features.module.0.weight` is `features.0.weight` in parallel."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _misfit(path: Path, difference: str) -> RequestError:
    return RequestError(
        Refusal(str(path), f"belongs to another network: {difference}", advice="check the model section")
    )
