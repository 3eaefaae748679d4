"""From a file, command-line overrides and variants to complete configurations, or to one clear refusal."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lossviz.config.document import Dumper, open_document
from lossviz.config.experiment import Config
from lossviz.config.merging import merge, name_random_directions, spell_out
from lossviz.config.own import Own
from lossviz.config.problems import refusals_of
from lossviz.config.schema import NAME_WORDS
from lossviz.config.section import NAME
from lossviz.config.sources import Sources, parse_setting
from lossviz.errors import Refusal, RequestError, did_you_mean, refuse
from lossviz.files import shown
from lossviz.user_code.permissions import Allowed

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
        refuse(str(path), "there is no such file", advice="paths count from the folder that you are in")
    problem = "there is no such file, and no configuration of that name ships with lossviz"
    problem += did_you_mean([source], shipped)
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

    Example:
        >>> [config.variant for config in read("quickstart")]
        ['standard', 'batchnorm', 'noisy']
        >>> read("quickstart", ["train.lr=0.05"], only=["batchnorm"])[0].train.lr
        0.05
    """
    document = open_document(find(source))
    settings = [parse_setting(text) for text in overrides]
    # What is set for one variant gives way to what is set for all.
    inner = [setting for setting in settings if "variants" in setting.tree]
    sources = Sources(document, inner + [setting for setting in settings if "variants" not in setting.tree])
    # First with one another: a tag that is set later must not discard what was set for it before.
    outer = [merge({}, *(setting.tree for setting in sources.settings[len(inner) :]))]
    tree = merge(spell_out(document.tree), merge({}, *(setting.tree for setting in inner)))
    named = _variants(tree, sources) if "variants" in tree else {_only_variant(merge(tree, *outer), sources): {}}
    unknown = [name for name in only if name not in named]
    if unknown:
        problem = f"there is no variant {', '.join(unknown)}{did_you_mean(unknown, named)}"
        refuse(shown(document.path), problem, advice=f"variants: {', '.join(named)}")
    base = name_random_directions({key: value for key, value in tree.items() if key != "variants"})
    configs: list[Config] = []
    refusals: list[Refusal] = []
    for name, changes in named.items():
        if only and name not in only:
            continue
        merged = {"variant": name, "siblings": list(named), **name_random_directions(merge(base, changes, *outer))}
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


def _refused(config: Config, allowed: Allowed) -> list[Refusal]:
    """The targets whose code the command line did not allow."""
    sections = {"data": config.data, "model": config.model, "loss": config.loss}
    own = {key: section.target for key, section in sections.items() if isinstance(section, Own)}
    refusals = {key: allowed.refusal(target) for key, target in own.items()}
    return [replace(each, subject=f"{key}.target", given=own[key]) for key, each in refusals.items() if each]


def _variants(tree: Mapping[str, Any], sources: Sources) -> dict[str, Mapping[str, Any]]:
    """The overrides of each variant by its name."""
    wrong = [sources.place(refusal) for refusal in _wrong_variants(tree)]
    if wrong:
        raise RequestError(*wrong)
    return {name: changes or {} for name, changes in tree["variants"].items()}


def _wrong_variants(tree: Mapping[str, Any]) -> Iterator[Refusal]:
    for key in ("variant", "siblings"):
        if key in tree:
            yield Refusal(key, "is filled in from variants; delete it")
    variants = tree["variants"]
    if not isinstance(variants, Mapping) or not variants:
        accepted = "one name or more, such as {standard: {}, batchnorm: {model: {norm: batch}}}"
        yield Refusal("variants", "is not a mapping of names to overrides", accepted=accepted)
        return
    for name, changes in variants.items():
        if name == "figures":
            yield Refusal(("variants", name), FIGURES)
        elif not re.fullmatch(NAME, name):
            yield Refusal(("variants", name), "is not a name of a folder", accepted=NAME_WORDS)
        elif not isinstance(changes, Mapping | None):
            accepted = "{} for none, or such as {model: {norm: batch}}"
            yield Refusal(("variants", name), "is not a mapping of overrides", accepted=accepted)
        for key in ("name", "variant", "siblings", "variants"):
            if isinstance(changes, Mapping) and key in changes:
                yield Refusal(("variants", name, key), f"a variant cannot change {key}")


def _only_variant(tree: Mapping[str, Any], sources: Sources) -> str:
    """An experiment without variants has one, named after itself."""
    name = tree.get("variant", tree.get("name"))
    if name == "figures":
        raise RequestError(sources.place(Refusal("name", FIGURES, name)))
    # Any other wrong name is found by the schema, and should be told once.
    return name if isinstance(name, str) and re.fullmatch(NAME, name) else "unnamed"
