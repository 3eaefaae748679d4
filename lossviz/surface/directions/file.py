"""Directions from a file: those of another scan, or the official tool's, so that several scans share a plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lossviz.config.directions import File
from lossviz.engine.checkpoint import SAFETENSORS
from lossviz.engine.foreign import load_foreign
from lossviz.engine.state import tensors_of
from lossviz.errors import Refusal, RequestError, refuse
from lossviz.official import SUFFIX, read_official_directions
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace


def file_directions(wanted: File, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: file`: the directions of the file, unchanged; they move the tensors that are not zero."""
    return directions_of_file(Path(wanted.path), subspace, sources.axes)


def directions_of_file(path: Path, subspace: Subspace, axes: Sequence[str]) -> DirectionSet:
    """The directions of some axes, unchanged.

    The fact `unused_statistics` counts the running statistics that the file moves and the scan does not.

    Args:
        path: a directions-NAME.safetensors with tensors x/<name> and y/<name>, or the official tool's .h5.
        subspace: all of the network; running statistics in it must be in the file.
        axes: x, and perhaps y.

    Raises:
        RequestError: there is no such file, a direction is missing, or it belongs to another network.
    """
    if path.suffix == SAFETENSORS:
        tensors = load_foreign(path)
    elif path.suffix == SUFFIX:
        tensors = _by_name(subspace.model, read_official_directions(path), path)
    else:
        accepted = "a directions-NAME.safetensors, or the official tool's .h5"
        refuse("surface.directions.path", "is no file of directions", given=path, accepted=accepted)
    _check(subspace, tensors, path, axes)
    vectors = {axis: subspace.from_tensors(tensors, axis) for axis in axes}
    parts = zip(subspace.tensors, *vectors.values(), strict=True)
    moved = {each.name for each, *those in parts if any(part.any() for part in those)}
    unused = unused_statistics(subspace, tensors, axes)
    facts = {"unused_statistics": float(len(unused))} if unused else {}
    moving = subspace.only(moved)
    return DirectionSet({axis: moving.like(vector) for axis, vector in vectors.items()}, moving, facts=facts)


def unused_statistics(subspace: Subspace, tensors: Mapping[str, Tensor], axes: Sequence[str]) -> list[str]:
    """Names of the running statistics that a file of directions moves and a scan does not."""
    used = {each.name for each in subspace.tensors}
    others = [each.name for each in Subspace.of(subspace.model, statistics=True).tensors if each.name not in used]
    names = sorted(f"{axis}/{name}" for axis in axes for name in others)
    return [name for name in names if name in tensors and tensors[name].any()]


def _by_name(model: nn.Module, found: Mapping[str, Sequence[np.ndarray]], path: Path) -> dict[str, Tensor]:
    """The official tool's tensors, which have no names: one a parameter, or one an entry of the state_dict."""
    parameters = {name: parameter.shape for name, parameter in model.named_parameters()}
    states = {name: tensor.shape for name, tensor in tensors_of(model).items()}
    # Networks of the tool's own time had no such entries.
    early = {name: shape for name, shape in states.items() if not name.endswith("num_batches_tracked")}
    tensors: dict[str, Tensor] = {}
    for axis, arrays in found.items():
        shapes = [torch.Size(array.shape) for array in arrays]
        names = next((list(each) for each in (parameters, early, states) if list(each.values()) == shapes), None)
        if names is None:
            raise _refusal(
                path,
                f"belongs to another network: {axis} has {len(arrays)} tensors; the network has {len(parameters)} "
                f"parameters, and {len(early)} entries in its state_dict, or their shapes differ",
            )
        tensors |= {f"{axis}/{name}": torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
    return tensors


def _check(subspace: Subspace, tensors: Mapping[str, Tensor], path: Path, axes: Sequence[str]) -> None:
    for axis in axes:
        if not any(name.startswith(f"{axis}/") for name in tensors):
            without = "; scan a line (without surface.y)" if axis == "y" else ""
            raise _refusal(path, f"has no direction {axis}", f"take another file{without}")
        for each in subspace.tensors:
            name = f"{axis}/{each.name}"
            if name not in tensors:
                advice = "take another surface.batch_norm" if each.kind == "statistic" else "check the model section"
                raise _refusal(path, f"{name} is missing", advice)
            if tensors[name].shape != each.tensor.shape:
                raise _refusal(
                    path,
                    f"belongs to another network: {name} is {tuple(tensors[name].shape)} in the file and "
                    f"{tuple(each.tensor.shape)} in the network",
                )
    own = tensors_of(subspace.model)
    for name in tensors:
        if name.partition("/")[2] not in own:
            raise _refusal(path, f"belongs to another network: {name} is in the file and not in the network")


def _refusal(path: Path, problem: str, advice: str = "check the model section") -> RequestError:
    return RequestError(Refusal("surface.directions.path", problem, path, advice=advice))
