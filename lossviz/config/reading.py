"""From a file, command-line overrides and variants to complete configurations, or to one clear refusal."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from lossviz.config.document import Dumper, open_document
from lossviz.config.experiment import Config
from lossviz.config.own import Own
from lossviz.config.problems import refusals_of
from lossviz.config.schema import NAME_WORDS
from lossviz.config.section import NAME
from lossviz.config.sources import Sources, parse_setting
from lossviz.errors import Keys, Refusal, RequestError, refuse
from lossviz.files import shown
from lossviz.user_code.permissions import Allowed

# Where one key decides which others exist: changing it replaces the mapping instead of merging into it.
TAGS = {
    ("data",): "name",
    ("model",): "name",
    ("loss",): "name",
    ("train", "schedule"): "kind",
    ("surface", "directions"): "kind",
}
# What `args` belong to: the target of a person's own, the name of a network of torchvision.
CALLED = ("target", "network")
FIGURES = "a variant cannot be called so, because figures/ holds the plots"


def shipped_configurations() -> dict[str, Path]:
    """The configurations that come with lossviz, by name."""
    package = Path(__file__).parents[1]
    # An installed package holds them inside, a source tree beside it.
    folder = next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(source: str) -> Path:
    """The file that a person means by a path or by the name of a shipped configuration.

    Raises:
        RequestError: there is neither; says what there is.
    """
    path, shipped = Path(source or "''"), shipped_configurations()
    try:
        if path.is_file():
            return path
        if source in shipped:
            return shipped[source]
        if path.is_dir():
            refuse(str(path), "is a folder; a configuration is a YAML file")
    except OSError as error:
        raise RequestError(Refusal(str(path), f"cannot be read: {error.strerror}")) from error
    if path.suffix or path.parent != Path():
        refuse(str(path), "there is no such file")
    problem = "there is no such file, and no configuration of that name ships with lossviz"
    raise RequestError(Refusal(str(path), problem, advice=f"shipped: {', '.join(shipped)}"))


def read(
    source: str, overrides: Sequence[str] = (), only: Sequence[str] = (), allowed: Allowed | None = None
) -> list[Config]:
    """All variants of an experiment, complete and checked.

    Args:
        source: path of a YAML file, or the name of a shipped configuration.
        overrides: `a.b=value` strings; they win over the file and its variants.
        only: names of the variants wanted; all when empty.
        allowed: whose code may run; None where none will, as for figures.

    Raises:
        RequestError: names every wrong key, and every target that is not allowed: file, line, value given, values
            accepted.
    """
    document = open_document(find(source))
    # What is set for one variant is set before what is set for all, which wins over it.
    settings = sorted(map(parse_setting, overrides), key=lambda setting: "variants" not in setting.tree)
    sources = Sources(document, settings)
    inner, outer = (
        [_spelled_out(setting.tree) for setting in settings if ("variants" in setting.tree) == wanted]
        for wanted in (True, False)
    )
    tree = _merge(_spelled_out(document.tree), *inner)
    named = _variants(tree, sources) if "variants" in tree else {_only_variant(_merge(tree, *outer), sources): {}}
    unknown = [name for name in only if name not in named]
    if unknown:
        problem = f"there is no variant {', '.join(unknown)}"
        refuse(shown(document.path), problem, advice=f"variants: {', '.join(named)}")
    base = _directed({key: value for key, value in tree.items() if key != "variants"})
    configs: list[Config] = []
    refusals: list[Refusal] = []
    for name, changes in named.items():
        if only and name not in only:
            continue
        merged = {"variant": name, "siblings": list(named), **_directed(_merge(base, changes, *outer))}
        try:
            configs.append(Config.model_validate_json(json.dumps(merged)))
            found = [] if allowed is None else _refused(configs[-1], allowed)
        except ValidationError as error:
            found = refusals_of(error)
        refusals += [sources.place(refusal, name) for refusal in found]
    if refusals:
        raise RequestError(*refusals)
    return configs


def dump(config: Config) -> str:
    """The configuration as YAML that `read` understands, every default spelled out."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, width=100)


def _merge(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    for each in changes:
        base = _merge_at((), base, each)
    return dict(base)


def _merge_at(at: tuple[str, ...], base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    tag = TAGS.get(at[2:] if at[:1] == ("variants",) else at)
    if tag and tag in base and tag in changes and changes[tag] != base[tag]:
        return dict(changes)
    # `args` are those of one function: another starts without.
    other = any(key in base and changes.get(key, base[key]) != base[key] for key in CALLED)
    merged = {key: value for key, value in base.items() if not (other and key == "args")}
    for key, value in changes.items():
        mine = merged.get(key)
        nested = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge_at((*at, key), mine or {}, value) if nested else value
    return merged


def _refused(config: Config, allowed: Allowed) -> list[Refusal]:
    """The targets whose code the command line did not allow."""
    sections = {"data": config.data, "model": config.model, "loss": config.loss}
    own = {key: section.target for key, section in sections.items() if isinstance(section, Own)}
    refusals = {key: allowed.refusal(target) for key, target in own.items()}
    return [replace(each, subject=f"{key}.target", given=own[key]) for key, each in refusals.items() if each]


def _spelled_out(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the tags that people write shorter: one place, so that the schema and merging see one form.

    `model`, `data` and `loss` with a target are a person's own; `torchvision/resnet18` is the network of that name
    of torchvision. Each source is spelled out by itself: a variant's target replaces the network of the rest.
    """
    tree = dict(tree)
    for section in ("model", "data", "loss"):
        mapping = tree.get(section)
        if isinstance(mapping, Mapping) and "target" in mapping:
            tree[section] = {"name": "own", **mapping}
    model, variants = tree.get("model"), tree.get("variants")
    if isinstance(model, Mapping) and str(model.get("name", "")).startswith("torchvision/"):
        tree["model"] = {**model, "name": "torchvision", "network": model["name"].partition("/")[2]}
    if isinstance(variants, Mapping):
        changed = {name: _spelled_out(each) for name, each in variants.items() if isinstance(each, Mapping)}
        tree["variants"] = {**variants, **changed}
    return tree


def _directed(tree: dict[str, Any]) -> dict[str, Any]:
    """The same with `directions` without a kind being random."""
    tree, surface = dict(tree), tree.get("surface")
    if isinstance(surface, Mapping) and isinstance(surface.get("directions"), Mapping):
        tree["surface"] = {**surface, "directions": {"kind": "random", **surface["directions"]}}
    return tree


def _variants(tree: Mapping[str, Any], sources: Sources) -> dict[str, Mapping[str, Any]]:
    """The overrides of each variant by its name."""

    def refuse_at(keys: Keys, problem: str, accepted: str = "") -> NoReturn:
        raise RequestError(sources.place(Refusal(keys, problem, accepted=accepted)))

    for key in ("variant", "siblings"):
        if key in tree:
            refuse_at((key,), "is filled in from variants; delete it")
    variants = tree["variants"]
    if not isinstance(variants, Mapping) or not variants:
        accepted = "one name or more, such as {standard: {}, batchnorm: {model: {norm: batch}}}"
        refuse_at(("variants",), "is not a mapping of names to overrides", accepted)
    for name, changes in variants.items():
        if name == "figures":
            refuse_at(("variants", name), FIGURES)
        if not re.fullmatch(NAME, name):
            refuse_at(("variants", name), "is not a name of a folder", NAME_WORDS)
        if not isinstance(changes, Mapping | None):
            accepted = "{} for none, or such as {model: {norm: batch}}"
            refuse_at(("variants", name), "is not a mapping of overrides", accepted)
        for key in ("name", "variant", "siblings", "variants"):
            if changes and key in changes:
                refuse_at(("variants", name, key), f"a variant cannot change {key}")
    return {name: changes or {} for name, changes in variants.items()}


def _only_variant(tree: Mapping[str, Any], sources: Sources) -> str:
    """An experiment without variants has one, named after itself."""
    name = tree.get("variant", tree.get("name"))
    if name == "figures":
        raise RequestError(sources.place(Refusal("name", FIGURES, name)))
    # Any other wrong name is found by the schema, and should be told once.
    return name if isinstance(name, str) and re.fullmatch(NAME, name) else "unnamed"
