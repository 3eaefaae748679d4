"""Networks of Hugging Face's transformers from a local folder: its configuration and its weights, never its code."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from lossviz.config.model import Transformers
from lossviz.errors import LossvizError, Refusal, RequestError, did_you_mean, first_line, needing_extra, refuse
from lossviz.files import read
from lossviz.models.lora import add_lora

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# How something is computed, which the library chooses itself: a value may name code on the Hub.
_CHOSEN = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")

# What a configuration must not say at any depth: problem, and what is accepted.
_REFUSED = {
    "auto_map": (
        "has a config.json whose auto_map names code, which never runs",
        "networks of transformers itself; or model.target",
    ),
    "quantization_config": ("holds quantised weights, which cannot move", "weights in floating point"),
    # timm_wrapper hands it to timm, which unpickles it: up to 1.0.20 at least with whatever code it names.
    "checkpoint_path": (
        "has a config.json whose checkpoint_path names a file of weights, which may be a pickle",
        "weights in the folder, as safetensors; or model.name = timm/NAME",
    ),
}


def huggingface_network(config: Transformers, classes: int) -> nn.Module:
    """The network of a folder with its weights; what the folder lacks is drawn from torch's global generator.

    lossviz reads config.json itself, and hands the values to the library's class of that `model_type`: code in the
    folder is not looked at, weights are read from safetensors only, and nothing is downloaded.

    Args:
        config: folder, class, other values, low-rank updates.
        classes: of the output of a classifier; of a language model, how many tokens the data may have.

    Raises:
        RequestError: the library is not installed; the folder is not there, or holds code, pickled weights or an
            adapter; or its network fits neither the class nor the data.
    """
    with needing_extra("transformers", f"transformers/{config.network}"):
        library = import_module("transformers")
    folder = Path(config.path)
    values = _values(config, folder)
    make = getattr(library, config.network)
    with _alone(library), _explained(config):
        settings = _settings(library, config, values, classes)
        if any((folder / name).is_file() for name in WEIGHTS):
            safe = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
            said = {"output_loading_info": True, "ignore_mismatched_sizes": True}
            model, found = make.from_pretrained(folder, config=settings, **said, **safe)
            new = {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}
        else:
            model, new = make.from_config(settings, trust_remote_code=False), set()
    return _finished(config, model, classes, new)


def _values(config: Transformers, folder: Path) -> dict[str, Any]:
    """What config.json says, if nothing in the folder is code."""
    if not folder.is_dir():
        _refuse(config, "there is no such folder; nothing is downloaded", "a local folder with config.json")
    code = sorted(each.relative_to(folder) for each in folder.rglob("*.py"))
    if code:
        _refuse(config, f"holds code, {code[0]}, which never runs", "networks of transformers itself; or model.target")
    if (folder / "adapter_config.json").is_file():
        advice = "merge it into its network with peft's merge_and_unload(), and save that"
        _refuse(config, "holds an adapter and no network", advice)
    pickled = sorted(each.name for each in folder.glob("pytorch_model*.bin*"))
    if pickled and not any((folder / name).is_file() for name in WEIGHTS):
        advice = "convert them: model.save_pretrained(FOLDER)"
        _refuse(config, f"holds its weights as {pickled[0]}, which is a pickle", advice)
    try:
        values = json.loads(read(folder / "config.json"))
    except ValueError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        _refuse(config, "has a config.json without a model_type", "what model.save_pretrained(FOLDER) writes")
    for key in (*_keys(values), *_keys(list(config.args.values()))):
        if key in _REFUSED:
            _refuse(config, *_REFUSED[key])
    return values


def _settings(library: ModuleType, config: Transformers, values: Mapping[str, Any], classes: int) -> object:
    """The library's own configuration object."""
    kinds, kind = library.CONFIG_MAPPING, values["model_type"]
    if kind not in kinds:
        problem = f"transformers {library.__version__} has no model_type {kind}{did_you_mean([kind], kinds)}"
        _refuse(config, problem, "networks of transformers itself")
    settings = kinds[kind].from_dict(_without(values, _CHOSEN))
    known = [key for key in settings.to_dict() if not key.startswith("_") and key not in _CHOSEN]
    for key, value in config.args.items():
        if key not in known:
            problem = f"is no key of {config.path}/config.json{did_you_mean([key], known)}"
            refuse(f"model.args.{key}", problem, given=value)
    settings.update(config.args)
    if "Classification" in config.network:
        settings.num_labels = classes
    settings.use_cache = False  # keys and values of earlier tokens, which sampling alone needs
    return settings


def _finished(config: Transformers, model: nn.Module, classes: int, new: Collection[str]) -> nn.Module:
    """The network, in training mode and with its updates, if it fits the folder's weights and the data."""
    # A head for other classes than the folder's is new; whatever else its weights lack is a mistake.
    head = "Classification" in config.network
    lacking = sorted(name for name in new if not head or name.startswith(f"{model.base_model_prefix}."))
    if lacking:
        problem = f"belongs to another network: {lacking[0]} is missing in its weights, or has another shape there"
        _refuse(config, problem, "a folder whose weights belong to its config.json")
    tokens = getattr(model.config, "vocab_size", classes)
    if config.network == "AutoModelForCausalLM" and tokens < classes:
        problem = f"has a network of {tokens} tokens, and those of the data go up to {classes - 1}"
        _refuse(config, problem, "data that were made with its tokenizer")
    if config.lora is not None:
        add_lora(model, config.lora, new)
    return model.train()


def _keys(values: object) -> Iterator[str]:
    """All keys at any depth: networks of several parts have a configuration for each."""
    if isinstance(values, Mapping):
        yield from values
    for each in values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ():
        yield from _keys(each)


def _without(values: Mapping[str, object], names: Collection[str]) -> dict[str, object]:
    """The same values without some keys at any depth."""
    kept = {key: each for key, each in values.items() if key not in names}
    return {key: _without(each, names) if isinstance(each, Mapping) else each for key, each in kept.items()}


@contextmanager
def _alone(library: ModuleType) -> Iterator[None]:
    """Let the library download nothing and print nothing; put its switches back afterwards."""
    constants: Any = import_module("huggingface_hub.constants")
    logging = library.utils.logging
    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _explained(config: Transformers) -> Iterator[None]:
    """Say what the library says of a folder."""
    try:
        yield
    except LossvizError:
        raise
    except Exception as error:  # it has many ways to refuse
        given = f"transformers/{config.network} with model.path = {config.path}"
        raise RequestError(Refusal("model.name", "transformers refuses it", given, advice=first_line(error))) from error


def _refuse(config: Transformers, problem: str, accepted: str) -> NoReturn:
    refuse("model.path", problem, given=config.path, accepted=accepted)
