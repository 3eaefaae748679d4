"""What is wrong with a configuration, as refusals: from pydantic's findings, and from keys that do not exist."""

import difflib
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lossviz.config.schema import Schema, describe, follow, sections, tag_of, tags, whole
from lossviz.config.section import ConflictError
from lossviz.errors import Keys, Refusal, either, spell

# Names that other tools use for the same thing are further apart than a slip of the finger.
SYNONYMS = {
    "dataset": "data",
    "epochs": "steps",
    "iterations": "steps",
    "learning_rate": "lr",
    "network": "model",
    "normalization": "norm",
}


def refusals_of(error: ValidationError) -> list[Refusal]:
    """Findings of pydantic, one per key: alternatives of a type are told together, and a slip once."""
    found: dict[Keys, Refusal] = {}
    conflicts: list[Refusal] = []
    meant: set[Keys] = set()
    for detail in error.errors(include_url=False):
        keys, schema = follow(detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, ConflictError):
            conflicts += cause.refusals
        elif detail["type"] == "extra_forbidden":
            guess = _guess(str(keys[-1]), detail["loc"][:-1])
            meant.add((*keys[:-1], guess))
            found[keys] = _unknown(keys, detail["loc"][:-1], guess)
        else:
            found[keys] = _translate(detail, keys, schema)
    # A list with a wrong element is also "too short" to pydantic, and a misspelt key is also "missing".
    around = {keys[:length] for keys in found for length in range(1, len(keys)) if isinstance(keys[length], int)}
    return [refusal for keys, refusal in found.items() if keys not in around | meant] + conflicts


def _translate(detail: ErrorDetails, keys: Keys, schema: Schema) -> Refusal:
    reason, value = detail["type"], detail["input"]
    if reason == "value_error":
        return Refusal(keys, str(detail["ctx"]["error"]), value)
    if reason == "missing" and isinstance(keys[-1], int):
        keys, schema = follow(detail["loc"][:-1])
        return Refusal(keys, "is too short", value, describe(schema))
    if reason == "missing":
        # Choosing another kind of thing is what makes a key necessary.
        chosen = tuple(spell((*keys[:-1], key)) for key in ("name", "kind") if keys[:-1])
        return Refusal(keys, "is missing", accepted=describe(schema), also=chosen)
    accepted = describe(schema)
    if reason in ("union_tag_not_found", "union_tag_invalid"):
        tag = detail["ctx"]["discriminator"].strip("'")
        accepted = either(tags(schema))
        if tag not in value:
            return Refusal((*keys, tag), "is missing", accepted=accepted)
        keys, value = (*keys, tag), value[tag]
    if reason == "finite_number":
        accepted = accepted.replace("number", "finite number")
    return Refusal(keys, "" if value is not None else "has no value", value, accepted)


def _unknown(keys: Keys, location: Sequence[str | int], guess: str) -> Refusal:
    tag = tag_of(_section(location))
    place = (spell(keys[:-1]) or "a configuration") + (f" with {tag[0]}: {tag[1]}" if tag else "")
    hint = f"; did you mean {guess}?" if guess else ""
    return Refusal(keys, f"is not a key of {place}{hint}", accepted=", ".join(_keys_of(location)))


def _guess(wrong: str, location: Sequence[str | int]) -> str:
    """The key that was probably meant, the path of a key that stands elsewhere, or nothing."""
    known = _keys_of(location)
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    name = near[0] if near else SYNONYMS.get(wrong, wrong)
    if name in known:
        return name
    homes = [
        key
        for key, schema in whole()["properties"].items()
        if any(name in section["properties"] for section in sections(schema))
    ]
    return f"{homes[0]}.{name}" if homes and not location else ""


def _keys_of(location: Sequence[str | int]) -> list[str]:
    """The keys that a person may write there."""
    keys = list(_section(location)["properties"])
    return keys if location else [key for key in keys if key not in ("variant", "siblings")] + ["variants"]


def _section(location: Sequence[str | int]) -> Schema:
    return sections(follow(location)[1])[0]
