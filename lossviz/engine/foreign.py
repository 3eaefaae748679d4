"""Networks that other tools saved, in a file or a folder; all is read as data."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from lossviz.engine.checkpoint import SAFETENSORS, load_tensors, parse_safetensors
from lossviz.engine.dcp import METADATA, load_distributed
from lossviz.engine.names import bare
from lossviz.engine.pickled import Inert, load_torch
from lossviz.engine.state import without_extra
from lossviz.errors import Refusal, RequestError, either, first_line, refuse
from lossviz.files import MARK, read

# Where a network lies in a dict, the weights before averages of them.
_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "ema", "model_ema")
_FORMS = f"safetensors, or a PyTorch state_dict (alone, or in a dict under {either(_NESTS)})"
_INDEX = ".index.json"
# The names that Hugging Face's libraries give to a network that is one file.
_WHOLE = ("model.safetensors", "diffusion_pytorch_model.safetensors", "adapter_model.safetensors", "pytorch_model.bin")


def load_foreign(path: Path) -> dict[str, Tensor]:
    """Read a network that another tool saved; prefixes of wrappers are removed where all names have one.

    Files: safetensors, a state_dict, or a dict that holds one, such as a checkpoint of Lightning. PyTorch files are
    read with weights_only=True, so they cannot run code.

    Folders: of Hugging Face's libraries, in one file or in several with an index; of torch.distributed.checkpoint.

    Raises:
        RequestError: there is no such file, or no tensors can be read from it.
    """
    found = _folder(path) if path.is_dir() else _file(path)
    plain = {bare(name): tensor for name, tensor in found.items() if bare(name) != name}
    return plain if len(plain) == len(found) else found


def _file(path: Path) -> dict[str, Tensor]:
    content = read(path)
    if path.suffix == SAFETENSORS and MARK in content:
        return load_tensors(path)
    try:
        tree = parse_safetensors(content) if path.suffix == SAFETENSORS else load_torch(content)
    except Exception as error:  # a damaged pickle raises nearly anything: IndexError, struct.error, AssertionError
        problem = f"is not a checkpoint that can be read without running its code: {_reason(error)}"
        raise RequestError(Refusal(str(path), problem, None, _FORMS, advice="save model.state_dict()")) from error
    return _state_dict(tree, path)


def _folder(path: Path) -> dict[str, Tensor]:
    if (path / METADATA).is_file():
        return load_distributed(path)
    indexes = sorted(path.glob(f"*{_INDEX}"), key=lambda each: SAFETENSORS not in each.name)
    # A folder with both has the same network twice.
    whole = [path / name for name in _WHOLE if (path / name).is_file()] or sorted(path.glob(f"*{SAFETENSORS}"))
    if indexes and (len(whole) != 1 or SAFETENSORS in indexes[0].name):
        return _indexed(indexes[0])
    if not whole:
        accepted = (
            f"a folder with {_WHOLE[0]} or a {SAFETENSORS}{_INDEX}, or one of torch.distributed.checkpoint, "
            f"with {METADATA}"
        )
        refuse(str(path), "is a folder without a checkpoint that is known here", accepted=accepted)
    if len(whole) > 1 and whole[0].name not in _WHOLE:
        refuse(str(path), f"holds {len(whole)} files of weights", accepted=either([str(each) for each in whole]))
    return _file(whole[0])


def _indexed(index: Path) -> dict[str, Tensor]:
    """Tensors of several files, by an index that says which is in which."""
    try:
        places = json.loads(read(index))["weight_map"]
        files = {str(name): str(file) for name, file in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        _damaged(index, "is no index of weights: it has no weight_map from names to files")
    found: dict[str, Tensor] = {}
    for file in dict.fromkeys(files.values()):
        if Path(file).name != file:
            _damaged(index, f"names {file}, which does not lie in its folder")
        if not (index.parent / file).is_file():
            _damaged(index, f"names {file}, which is not there")
        there = _file(index.parent / file)
        for name in (name for name, its in files.items() if its == file):
            if name not in there:
                _damaged(index, f"says that {name} is in {file}, and it is not")
            found[name] = there[name]
    return found


def _damaged(index: Path, problem: str) -> NoReturn:
    refuse(str(index), problem, advice="copy the whole folder again")


def _state_dict(tree: object, path: Path) -> dict[str, Tensor]:
    entries = without_extra(tree) if isinstance(tree, Mapping) else {}
    for nest in _NESTS:
        if isinstance(entries.get(nest), Mapping):
            return _state_dict(entries[nest], path)
    if not entries or not all(isinstance(value, Tensor) for value in entries.values()):
        _refuse_tree(tree, path)
    return {str(name): value for name, value in entries.items()}


def _refuse_tree(tree: object, path: Path) -> NoReturn:
    values = list(tree.values()) if isinstance(tree, Mapping) else [tree]
    objects = [each.name for each in values if isinstance(each, Inert)]
    if objects:
        problem = f"is not a checkpoint that can be read without running its code: it holds {objects[0]}"
        refuse(str(path), problem, accepted=_FORMS, advice="save model.state_dict()")
    there = f"a dict of {', '.join(map(str, tree)) or 'nothing'}" if isinstance(tree, Mapping) else type(tree).__name__
    advice = f"looked for tensors at the top and under {', '.join(_NESTS)}: save model.state_dict()"
    refuse(str(path), f"holds no state_dict, but {there}", advice=advice)


def _reason(error: Exception) -> str:
    """What an error says in one line, without PyTorch's advice to let the file run its code."""
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    if code:
        return f"it holds {code[1]}"
    return type(error).__name__ if "weights_only" in str(error) else first_line(error)
