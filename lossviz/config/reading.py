"""From a file, command-line overrides and variants to complete configurations, or to one clear refusal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lossviz.config.document import Document, open_document, parse_value
from lossviz.config.experiment import Config
from lossviz.config.problems import Problem, problems_of, report
from lossviz.errors import RequestError

# Where one key decides which others exist: changing it replaces the mapping instead of merging into it.
TAGS = {("data",): "name", ("model",): "name", ("train", "schedule"): "kind", ("surface", "directions"): "kind"}


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
    shipped = shipped_configurations()
    if Path(source).is_file():
        return Path(source)
    if source in shipped:
        return shipped[source]
    raise RequestError(
        f"{source}: there is no such file, and no configuration of that name ships with lossviz\n"
        f"  shipped: {', '.join(shipped)}"
    )


def read(source: str, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> list[Config]:
    """All variants of an experiment, complete and checked.

    Args:
        source: path of a YAML file, or the name of a shipped configuration.
        overrides: `a.b=value` strings; they win over the file and its variants.
        only: names of the variants wanted; all when empty.

    Raises:
        RequestError: names every wrong key: file, line, value given, values accepted.
    """
    document = open_document(find(source))
    settings = [_setting(text) for text in overrides]
    tree = document.tree
    for setting in settings:
        if setting.keys[0] == "variants":
            tree = _merge(tree, setting.tree())
    base = {key: value for key, value in tree.items() if key != "variants"}
    named = _variants(document, tree)
    unknown = [name for name in only if name not in named]
    if unknown:
        raise RequestError(
            f"{document.path}: there is no variant {', '.join(unknown)}\n  variants: {', '.join(named)}"
        )
    configs, problems = [], []
    for name, changes in named.items():
        if only and name not in only:
            continue
        siblings = tree.get("siblings") or list(named)
        merged = {**_merge(base, changes), "variant": name, "siblings": siblings}
        for setting in settings:
            if setting.keys[0] != "variants":
                merged = _merge(merged, setting.tree())
        try:
            configs.append(Config.model_validate_json(json.dumps(merged, default=str)))
        except ValidationError as error:
            problems += [_located(document, problem, name, settings) for problem in problems_of(error, merged)]
    if problems:
        raise RequestError(report(problems))
    return configs


def dump(config: Config) -> str:
    """The configuration as YAML that `read` understands, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100)


@dataclass(frozen=True)
class _Setting:
    """One `--set a.b=value`."""

    text: str
    keys: tuple[str, ...]
    value: Any

    def tree(self) -> dict[str, Any]:
        nested = self.value
        for key in reversed(self.keys):
            nested = {key: nested}
        return dict(nested)

    def wrote(self, path: Sequence[str]) -> bool:
        """Whether the value under a path of keys, or one around or inside it, came from here."""
        shared = min(len(path), len(self.keys))
        return list(path[:shared]) == list(self.keys[:shared])


def _setting(text: str) -> _Setting:
    name, equals, value = text.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise RequestError(f"--set {text}: is not of the form key.key=value, such as --set train.lr=0.05")
    try:
        return _Setting(text, keys, parse_value(value))
    except yaml.YAMLError as error:
        raise RequestError(
            f"--set {text}: the value is not YAML; quote it, such as --set 'surface.x=[-1, 1, 25]'"
        ) from error


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any], at: tuple[str, ...] = ()) -> dict[str, Any]:
    tag = TAGS.get(at)
    if tag and tag in changes and changes[tag] != base.get(tag):
        return dict(changes)
    merged = dict(base)
    for key, value in changes.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(mine, value, (*at, str(key))) if both else value  # type: ignore[arg-type]
    return merged


def _variants(document: Document, tree: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The overrides of each variant by its name; an experiment without variants has one, named after itself."""
    if "variants" not in tree:
        return {str(tree.get("variant") or tree.get("name", "")): {}}
    variants = tree["variants"]
    where = f"{document.path}, line {document.line(['variants'])}"
    if not isinstance(variants, Mapping) or not variants:
        raise RequestError(f"{where}: variants must be a mapping of names to overrides, such as `batchnorm: {{model: {{norm: batch}}}}`")
    for name, changes in variants.items():
        if not isinstance(changes, Mapping | None):
            raise RequestError(f"{where}: variants.{name} must be a mapping of overrides, or {{}} for none")
        for key in ("name", "variant", "siblings", "variants"):
            if changes and key in changes:
                raise RequestError(f"{where}: variants.{name}.{key}: a variant cannot change {key}")
    return {str(name): changes or {} for name, changes in variants.items()}


def _located(document: Document, problem: Problem, variant: str, settings: Sequence[_Setting]) -> Problem:
    """Say where the offending value was written: on the command line, in the variant, or in the base."""
    path = [str(key) for key in problem.keys]
    for setting in settings:
        if path and setting.wrote(path):
            return problem.at(f"--set {setting.text}")
    line = document.line(["variants", variant, *problem.keys])
    if path and line is not None:
        return problem.at(f"{document.path}, line {line} (variant {variant})")
    for length in range(len(problem.keys), 0, -1):
        line = document.line(problem.keys[:length])
        if line is not None:
            return problem.at(f"{document.path}, line {line}")
    return problem.at(str(document.path))
