"""What is wrong with a configuration, in the words of its author: key, value given, values accepted."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lossviz.config.experiment import Config
from lossviz.config.words import alternatives, describe, is_model, show, tag_of, unwrap

Keys = tuple[str | int, ...]

# Names that other tools use for the same thing are further apart than a slip of the finger.
SYNONYMS = {
    "dataset": "data",
    "epochs": "steps",
    "iterations": "steps",
    "learning_rate": "lr",
    "network": "model",
    "normalization": "norm",
}


@dataclass(frozen=True)
class Problem:
    """One wrong key."""

    keys: Keys
    text: str
    accepted: str = ""
    # Other keys that have a part in it: where the first is a default, one of these was written.
    also: tuple[Keys, ...] = ()
    where: str = ""

    def at(self, where: str) -> "Problem":
        """The same problem, with the place where the value was written."""
        return replace(self, where=where)


def report(problems: Sequence[Problem]) -> str:
    """One block of lines per problem; a problem of the base is told once, not once a variant."""
    blocks = []
    for problem in problems:
        accepted = f"\n  accepted: {problem.accepted}" if problem.accepted else ""
        blocks.append(f"{problem.where}: {problem.text}{accepted}")
    return "\n".join(dict.fromkeys(blocks))


def problems_of(error: ValidationError) -> list[Problem]:
    """Findings of pydantic, one per key: alternatives of a type are told together, and a slip once."""
    found: dict[Keys, Problem] = {}
    meant: set[Keys] = set()
    for detail in error.errors(include_url=False):
        keys, kind = _follow(detail["loc"])
        if detail["type"] == "extra_forbidden":
            guess = _guess(str(keys[-1]), detail["loc"][:-1])
            meant.add((*keys[:-1], guess))
            found[keys] = _unknown(keys, detail["loc"][:-1], guess)
        else:
            found[keys] = _translate(detail, keys, kind)
    # A list with a wrong element is also "too short" to pydantic, and a misspelt key is also "missing".
    around = {keys[:length] for keys in found for length in range(1, len(keys)) if isinstance(keys[length], int)}
    return [problem for keys, problem in found.items() if keys not in around | meant]


def spell(keys: Sequence[str | int]) -> str:
    """A path of keys as people write it: `probe.lengths[2]`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _translate(detail: ErrorDetails, keys: Keys, kind: object) -> Problem:
    name, reason, value = spell(keys), detail["type"], detail["input"]
    if reason == "value_error":
        return _refusal(str(detail["ctx"]["error"]), keys, kind)
    if reason == "missing" and not isinstance(keys[-1], int):
        # Choosing another kind of thing is what makes a key necessary.
        tags = tuple((*keys[:-1], key) for key in ("name", "kind") if keys[:-1])
        return Problem(keys, f"{name} is missing", describe(kind), tags)
    if reason == "missing":
        keys, kind = _follow(detail["loc"][:-1])
        return Problem(keys, f"{spell(keys)} = {show(value)} is too short", describe(kind))
    if reason in ("union_tag_not_found", "union_tag_invalid"):
        tag = detail["ctx"]["discriminator"].strip("'")
        choices = describe(kind).partition(": ")[2]
        given = _given(f"{name}.{tag}", value[tag]) if tag in value else f"{name}.{tag} is missing"
        return Problem((*keys, tag), given, choices)
    accepted = describe(kind)
    if reason == "finite_number":
        accepted = accepted.replace("number", "finite number")
    return Problem(keys, _given(name, value), accepted)


def _given(name: str, value: object) -> str:
    return f"{name} has no value" if value is None else f"{name} = {show(value)}"


def _refusal(text: str, keys: Keys, kind: object) -> Problem:
    """A refusal by a validator, which spells keys as `key = value`, beginning in its own section."""
    section, _ = unwrap(kind)
    if not is_model(section):
        return Problem(keys, f"{spell(keys)}: {text}")
    mentioned: list[Keys] = []

    def complete(match: re.Match[str]) -> str:
        mentioned.append((*keys, *match[1].split(".")))
        return f"{spell(mentioned[-1])} = "

    text = re.sub(r"([a-z_][a-z_.]*) = ", complete, text)
    return Problem(mentioned[0], text, also=tuple(mentioned[1:]))


def _unknown(keys: Keys, section: Sequence[str | int], guess: str) -> Problem:
    model = _section(section)
    tag = tag_of(model)
    place = (spell(keys[:-1]) or "a configuration") + (f" with {tag[0]}: {tag[1]}" if tag else "")
    hint = f"; did you mean {guess}?" if guess else ""
    return Problem(keys, f"{spell(keys)} is not a key of {place}{hint}", ", ".join(_keys_of(model)))


def _guess(wrong: str, section: Sequence[str | int]) -> str:
    """The key that was probably meant, the path of a key that stands elsewhere, or nothing."""
    known = _keys_of(_section(section))
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if near:
        return near[0]
    name = SYNONYMS.get(wrong, wrong)
    if name in known:
        return name
    parts = {
        key: [part for part in alternatives(field) if is_model(part)] for key, field in Config.model_fields.items()
    }
    homes = [key for key, models in parts.items() if any(name in model.model_fields for model in models)]
    return f"{homes[0]}.{name}" if homes and not section else ""


def _keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a person may write."""
    if model is Config:
        return [key for key in model.model_fields if key not in ("variant", "siblings")] + ["variants"]
    return list(model.model_fields)


def _section(location: Sequence[str | int]) -> type[BaseModel]:
    model, _ = unwrap(_follow(location)[1])
    return model if is_model(model) else Config


def _follow(location: Sequence[str | int]) -> tuple[Keys, object]:
    """The keys that a person wrote, and the type there: pydantic's location also names the members of unions."""
    keys: list[str | int] = []
    kind: object = Config
    for piece in location:
        base, _ = unwrap(kind)
        members = [part for part in alternatives(base) if is_model(part)]
        if isinstance(piece, int):
            items = next(get_args(part) for part in alternatives(base) if get_origin(part) is tuple)
            kind = items[0] if items[1:] == (...,) else items[piece]
        elif is_model(base):
            kind = base.model_fields.get(piece, object)
        else:
            kind = next((model for model in members if (tag_of(model) or ())[1:] == (piece,)), kind)
            continue
        keys.append(piece)
    return tuple(keys), kind
