"""What is wrong with a configuration, in the words of its author: key, value given, values accepted."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lossviz.config.experiment import Config

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One wrong key."""

    keys: Keys
    text: str
    accepted: tuple[str, ...] = ()
    where: str = ""

    def at(self, where: str) -> "Problem":
        """The same problem, with the place where the value was written."""
        return replace(self, where=where)


def report(problems: Sequence[Problem]) -> str:
    """One block of lines per problem; a problem of the base is told once, not once a variant."""
    blocks = []
    for problem in dict.fromkeys(problems):
        lines = [f"{problem.where}: {problem.text}"]
        if problem.accepted:
            lines.append(f"  accepted: {' or '.join(dict.fromkeys(problem.accepted))}")
        blocks.append("\n".join(lines))
    return "\n".join(dict.fromkeys(blocks))


def problems_of(error: ValidationError, tree: Mapping[str, Any]) -> list[Problem]:
    """pydantic's findings, one per key; alternatives of one key (`all` or a count) are told together."""
    found: dict[Keys, Problem] = {}
    for detail in error.errors():
        problem = _translate(detail, tree)
        earlier = found.get(problem.keys)
        if earlier and earlier.accepted and problem.accepted:
            problem = replace(earlier, accepted=earlier.accepted + problem.accepted)
        found[problem.keys] = problem
    # A list with a wrong element is also "too short" to pydantic; the element says it better.
    inner = [keys[:length] for keys in found for length in range(len(keys))]
    return [problem for keys, problem in found.items() if not (keys in inner and problem.accepted)]


def _translate(detail: ErrorDetails, tree: Mapping[str, Any]) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    keys = _written_keys(detail, tree)
    name = _spell(keys)
    if kind == "extra_forbidden":
        return _unknown_key(detail, keys)
    if kind == "missing" and isinstance(keys[-1], int):
        field = _section(detail["loc"][:-2]).model_fields[str(keys[-2])]
        return Problem(keys[:-1], f"{_spell(keys[:-1])} = {detail['input']} is too short", (str(field.description),))
    if kind == "missing":
        return Problem(keys, f"{name} is missing", _choices(detail["loc"]))
    if kind == "value_error":
        prefix = f"{name}: " if keys else ""
        return Problem(keys, prefix + str(context["error"]))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tag = context["discriminator"].strip("'")
        given = f"{name}.{tag} = {_show(context['tag'])}" if "tag" in context else f"{name}.{tag} is missing"
        return Problem((*keys, tag), given, _choices(detail["loc"]))
    return Problem(keys, f"{name} = {_show(detail['input'])}", (_accepted(kind, context, detail["msg"]),))


def _accepted(kind: str, context: Mapping[str, Any], message: str) -> str:
    plain = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "string_type": "text",
        "tuple_type": "a list",
        "model_type": "a mapping of keys",
        "model_attributes_type": "a mapping of keys",
        "dict_type": "a mapping of keys",
    }
    if kind in plain:
        return plain[kind]
    bounds = {
        "greater_than": "a number above {gt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "less_than": "a number below {lt:g}",
        "less_than_equal": "a number of at most {le:g}",
        "too_short": "a list of at least {min_length}",
        "too_long": "a list of at most {max_length}",
        "string_too_short": "text that is not empty",
        "string_pattern_mismatch": "letters, digits, '.', '_' and '-', beginning with a letter or digit",
    }
    if kind in bounds:
        return bounds[kind].format(**context)
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    return message


def _written_keys(detail: ErrorDetails, tree: Mapping[str, Any]) -> Keys:
    """The part of pydantic's location that a person wrote: without the tags of unions."""
    keys: list[str | int] = []
    node: Any = tree
    for piece in detail["loc"]:
        if isinstance(node, Mapping) and piece in node:
            keys.append(piece)
            node = node[piece]
        elif isinstance(node, list) and isinstance(piece, int) and piece < len(node):
            keys.append(piece)
            node = node[piece]
    last = detail["loc"][-1:]
    if detail["type"] == "missing" and keys[-1:] != list(last):
        keys.append(last[0])
    return tuple(keys)


def _spell(keys: Keys) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def _show(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return str(value)


def _unknown_key(detail: ErrorDetails, keys: Keys) -> Problem:
    section = _section(detail["loc"][:-1])
    known = list(section.model_fields)
    wrong = str(keys[-1])
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    # Names that other tools use for the same thing are further apart than a slip of the finger.
    synonym = {"learning_rate": "lr", "epochs": "steps", "iterations": "steps", "normalization": "norm", "dataset": "data"}
    guess = near[0] if near else synonym.get(wrong)
    hint = f"; did you mean {guess}?" if guess in known else ""
    place = _spell(keys[:-1]) or "a configuration"
    return Problem(keys, f"{_spell(keys)}: {place} has no key {wrong}{hint}", (", ".join(known),))


def _section(location: Sequence[str | int]) -> type[BaseModel]:
    """The schema class at a pydantic location, in which the tag of a union follows its key."""
    candidates: list[type[BaseModel]] = [Config]
    for piece in location:
        tagged = [model for model in candidates if piece in _tags(model)] if len(candidates) > 1 else []
        if tagged:
            candidates = tagged
        elif piece in candidates[0].model_fields:
            candidates = _models(candidates[0].model_fields[str(piece)].annotation) or candidates
    return candidates[0]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    return tuple(tag for key in ("name", "kind") if key in model.model_fields for tag in get_args(model.model_fields[key].annotation))


def _choices(location: Sequence[str | int]) -> tuple[str, ...]:
    """The names between which a missing tag would choose."""
    parent = _section(location[:-1])
    field = parent.model_fields.get(str(location[-1]))
    models = _models(field.annotation) if field else []
    tags = [tag for model in models for tag in _tags(model)]
    return (", ".join(tags),) if len(models) > 1 else ()
