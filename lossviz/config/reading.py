"""From a file, command-line overrides and variants to complete configurations, or to one clear refusal."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lossviz.allowed import Allowed
from lossviz.config.document import Dumper, open_document
from lossviz.config.experiment import Config
from lossviz.config.own import Own
from lossviz.config.problems import Problem, problems_of, report
from lossviz.config.section import NAME
from lossviz.config.sources import Sources, parse_setting
from lossviz.config.words import NAME_WORDS
from lossviz.errors import RequestError
from lossviz.files import shown

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
            raise RequestError(f"{path}: is a folder; a configuration is a YAML file")
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix or path.parent != Path():
        raise RequestError(f"{path}: there is no such file")
    raise RequestError(
        f"{path}: there is no such file, and no configuration of that name ships with lossviz\n"
        f"  shipped: {', '.join(shipped)}"
    )


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
    sources = Sources(document, [parse_setting(text) for text in overrides])
    settings = [_spelled_out(setting.tree) for setting in sources.settings]
    inner = [tree for tree in settings if "variants" in tree]
    outer = [tree for tree in settings if "variants" not in tree]
    tree = _merge(_spelled_out(document.tree), *inner)
    named = _variants(tree, sources) if "variants" in tree else {_only_variant(_merge(tree, *outer), sources): {}}
    unknown = [name for name in only if name not in named]
    if unknown:
        raise RequestError(
            f"{shown(document.path)}: there is no variant {', '.join(unknown)}\n  variants: {', '.join(named)}"
        )
    base = _directed({key: value for key, value in tree.items() if key != "variants"})
    configs, problems = [], []
    for name, changes in named.items():
        if only and name not in only:
            continue
        merged = {"variant": name, "siblings": list(named), **_directed(_merge(base, changes, *outer))}
        try:
            configs.append(Config.model_validate_json(json.dumps(merged)))
            found = [] if allowed is None else _refused(configs[-1], allowed)
        except ValidationError as error:
            found = problems_of(error)
        problems += [sources.located(problem, name) for problem in found]
    if problems:
        raise RequestError(report(problems))
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


def _refused(config: Config, allowed: Allowed) -> list[Problem]:
    """The targets whose code the command line did not allow."""
    sections = {"data": config.data, "model": config.model, "loss": config.loss}
    targets = {key: section.target for key, section in sections.items() if isinstance(section, Own)}
    reasons = {key: allowed.refusal(target) for key, target in targets.items()}
    return [Problem((key, "target"), f"{key}.target = {targets[key]}{why}") for key, why in reasons.items() if why]


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
    for key in ("variant", "siblings"):
        if key in tree:
            raise RequestError(f"{sources.place(key)}: {key} is filled in from variants; delete it")
    variants = tree["variants"]
    if not isinstance(variants, Mapping) or not variants:
        raise RequestError(
            f"{sources.place('variants')}: variants is not a mapping of names to overrides\n"
            "  accepted: one name or more, such as {standard: {}, batchnorm: {model: {norm: batch}}}"
        )
    for name, changes in variants.items():
        where = sources.place("variants", name)
        if not re.fullmatch(NAME, name) or name == "figures":
            raise RequestError(f"{where}: variants.{name}{_name_problem(name)}")
        if not isinstance(changes, Mapping | None):
            raise RequestError(
                f"{where}: variants.{name} is not a mapping of overrides\n"
                "  accepted: {} for none, or such as {model: {norm: batch}}"
            )
        for key in ("name", "variant", "siblings", "variants"):
            if changes and key in changes:
                where = sources.place("variants", name, key)
                raise RequestError(f"{where}: variants.{name}.{key}: a variant cannot change {key}")
    return {name: changes or {} for name, changes in variants.items()}


def _only_variant(tree: Mapping[str, Any], sources: Sources) -> str:
    """An experiment without variants has one, named after itself."""
    name = tree.get("variant", tree.get("name"))
    if name == "figures":
        raise RequestError(f"{sources.place('name')}: name = figures{_name_problem(name)}")
    # Any other wrong name is found by the schema, and should be told once.
    return name if isinstance(name, str) and re.fullmatch(NAME, name) else "unnamed"


def _name_problem(name: str) -> str:
    if name == "figures":
        return ": a variant cannot be called so, because figures/ holds the plots"
    return f" is not a name of a folder\n  accepted: {NAME_WORDS}"
