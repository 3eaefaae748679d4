"""Saving and reading networks: sealed safetensors of our own, and what is found in files put into a network."""

import io
import json
from collections.abc import Mapping
from io import BufferedRandom
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from lossviz.engine.adapters import check_scale, is_adapter, left_out
from lossviz.engine.names import AmbiguousError, renamed
from lossviz.engine.state import tensors_of, without_extra
from lossviz.errors import Refusal, RequestError
from lossviz.files import BLANK_SEAL, atomic_write, check_owner, check_sealed, read_sealed, seal, seal_file

SAFETENSORS = ".safetensors"
# Names of safetensors.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}
# Where a file says what it is of; no tensor has such a name.
_OF = "is of"
_ADVICE = "restore it from a copy, or train again: lossviz train ... --fresh"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], of: str = "") -> None:
    """Write named tensors as safetensors, sealed.

    Tied tensors are one tensor under several names. The file holds it under the first of them, and its metadata map
    each other name to that one, as those of `safetensors.torch.save_model` do.

    Args:
        path: where to.
        tensors: by name.
        of: what they are, such as a run and a step: a swapped file is told by it.
    """
    tied = tied_names(tensors)
    metadata = dict(sorted({"seal": BLANK_SEAL.decode(), **({_OF: of} if of else {}), **tied}.items()))
    own = {name: tensor.detach() for name, tensor in tensors.items() if name not in tied}
    # As the library orders them: the longest numbers first, so that each begins at a multiple of its size.
    names = sorted(own, key=lambda name: (-own[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": metadata}
    at = 0
    for name in names:
        start, at = at, at + own[name].nbytes
        header[name] = {"dtype": DTYPES[own[name].dtype], "shape": [*own[name].shape], "data_offsets": [start, at]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BufferedRandom) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:  # one at a time: directions hold zeros that take no memory before
            tensor = own[name].cpu().contiguous()
            flat = tensor.as_strided((tensor.numel(),), (1,))  # one number may have a stride of 0
            file.write(flat.view(torch.uint8).numpy().data)
        seal_file(file, 8 + text.index(BLANK_SEAL))

    atomic_write(path, write)


def load_tensors(path: Path, of: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read what `save_tensors` wrote, tied tensors under all their names.

    Args:
        path: of the file.
        of: what it must be, by one name or another; empty where any will do.

    Raises:
        RequestError: there is no such file.
        WorkError: it was cut short or altered, or says that it is of something else.
    """
    check_sealed(path, _ADVICE)
    with safetensors.safe_open(path, framework="pt") as file:  # mapped into memory, not copied
        metadata = file.metadata()
        check_owner(path, metadata.get(_OF, ""), of)
        names = file.keys()
        return _with_names({name: file.get_tensor(name) for name in names}, metadata)


def of_step(title: str, step: int) -> str:
    """What the checkpoint of a step of a run says that it is of."""
    return f"{title}, step {step}"


def of_steps(titles: tuple[str, ...], step: int) -> tuple[str, ...]:
    """The same for a run that has, or had, other names."""
    return tuple(of_step(title, step) for title in titles)


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


def fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy named tensors into a network in place.

    Raises:
        RequestError: as `check_fit`.
    """
    fitting = check_fit(model, tensors, path)
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            if name in fitting:
                tensor.copy_(fitting[name])


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Named tensors under the network's own names; see `renamed` for names that the file may have instead.

    A file may hold tensors that the network ties under all their names or under one of them. A file of low-rank updates
    leaves out what was not trained: that is the network's own.

    Raises:
        RequestError: they belong to another architecture; names the first tensor that differs, and both shapes.
    """
    tensors, own = without_extra(tensors), tensors_of(model)
    tied = tied_names(own)
    kept = left_out(model) if is_adapter(tensors) else {}
    try:
        names = renamed(tensors, {name: tensor for name, tensor in own.items() if name not in kept}, tied)
    except AmbiguousError as error:
        problem, advice = f"holds the network several times, under {error}", "save the state_dict of the one you mean"
        raise RequestError(Refusal(str(path), problem, advice=advice)) from None
    if len(set(names.values())) < len(names):
        raise _misfit(path, "it holds a tensor twice, with and without the name of a wrapper (module, _orig_mod)")
    if kept:
        check_scale(model, path)
    tensors = _with_tied({**kept, **{mine: tensors[name] for name, mine in names.items()}}, tied, path)
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


def save_resume(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, of: str = "") -> None:
    """Write all that a training, of the run `of`, needs to go on after `step` updates.

    Schedule and random numbers are pure functions of the seed and the step, so there is nothing else.
    """
    buffer = io.BytesIO()
    torch.save({"of": of, "step": step, "model": tensors_of(model), "optimizer": optimizer.state_dict()}, buffer)
    atomic_write(path, seal(buffer.getvalue()))


def load_resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, of: tuple[str, ...] = ()) -> int:
    """Put network and optimiser into the saved state, if it is one of the run `of`; returns the step.

    Raises:
        WorkError: the file was cut short or altered, or says that it is of another run.
    """
    state = torch.load(io.BytesIO(read_sealed(path, _ADVICE)), map_location="cpu", weights_only=True)
    check_owner(path, str(state.get("of", "")), of)
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


def parse_safetensors(content: bytes) -> dict[str, Tensor]:
    """Named tensors of a safetensors file; those that it holds once for several names, under all of them."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return _with_names(safetensors.torch.load(content), header.get("__metadata__", {}))


def _with_names(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    tied = {other: name for other, name in metadata.items() if name in tensors and other not in tensors}
    return tensors | {other: tensors[name] for other, name in tied.items()}


def _misfit(path: Path, difference: str) -> RequestError:
    return RequestError(
        Refusal(str(path), f"belongs to another network: {difference}", advice="check the model section")
    )
