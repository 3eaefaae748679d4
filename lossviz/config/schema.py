"""The schema as JSON Schema, one normal form of its types: what belongs to a key, and what it accepts in words.

The words are the same in error messages and in docs/configuration.md.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from lossviz.config.experiment import Config
from lossviz.errors import Keys, either

Schema = dict[str, Any]

NAME_WORDS = "a name of at most 100 letters, digits, '.', '_' and '-', the first a letter or digit"
NOUNS = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
}
LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}


@cache
def whole() -> Schema:
    """The schema of a configuration."""
    return Config.model_json_schema()


def resolve(schema: Schema) -> Schema:
    """A schema without reference, and without null beside a single alternative."""
    if "$ref" in schema:
        definition: Schema = whole()["$defs"][schema["$ref"].rpartition("/")[2]]
        return definition
    match schema.get("anyOf"):
        case [one, {"type": "null"}]:
            return resolve(one)
    return schema


def sections(schema: Schema) -> list[Schema]:
    """The mappings that a schema accepts: none, one, or one for each value of its `name` or `kind`."""
    schema = resolve(schema)
    return [resolve(each) for each in schema.get("oneOf", [schema]) if "properties" in resolve(each)]


def tag_of(section: Schema) -> tuple[str, str] | None:
    """The key and value that choose a section among alternatives: `("name", "vgg")`."""
    tags = ((key, section["properties"].get(key, {}).get("const")) for key in ("name", "kind"))
    return next(((key, value) for key, value in tags if value), None)


def follow(location: Sequence[str | int]) -> tuple[Keys, Schema]:
    """The keys that a person wrote, and the schema there; pydantic's location also names the members of unions."""
    keys: Keys = ()
    schema = whole()
    for piece in location:
        schema = resolve(schema)
        if isinstance(piece, int):
            array = next(each for each in schema.get("anyOf", [schema]) if each.get("type") == "array")
            schema = array["prefixItems"][piece] if "prefixItems" in array else array["items"]
        elif "oneOf" in schema:
            schema = next(each for each in sections(schema) if (tag_of(each) or ())[1:] == (piece,))
            continue
        elif "anyOf" in schema:
            continue
        else:
            schema = schema.get("properties", {}).get(piece, {})
        keys = (*keys, piece)
    return keys, schema


def describe(schema: Schema, tick: str = "", *, many: bool = False) -> str:
    """What a schema accepts: `a whole number of at least 1`.

    Args:
        schema: the schema of a value.
        tick: put around literal values, for Markdown.
        many: in the plural.
    """
    null = f", or {tick}null{tick}" if "oneOf" in resolve(schema) and "anyOf" in schema else ""
    return either(_words(resolve(schema), tick, many=many)) + null


def tags(schema: Schema) -> list[str]:
    """The values of `name` or `kind` among which a mapping chooses."""
    return [tag[1] for tag in map(tag_of, sections(schema)) if tag]


def _words(schema: Schema, tick: str, *, many: bool) -> list[str]:
    """Literal values one by one, or one phrase."""
    if "anyOf" in schema:
        return [word for each in schema["anyOf"] for word in _words(each, tick, many=many)]
    booleans = ["true", "false"] if schema.get("type") == "boolean" else []
    values = [schema["const"]] if "const" in schema else schema.get("enum", booleans)
    return [f"{tick}{value}{tick}" for value in values] or [_phrase(schema, tick, many=many)]


def _phrase(schema: Schema, tick: str, *, many: bool) -> str:
    if "oneOf" in schema:
        key = schema["discriminator"]["propertyName"]
        return f"a mapping with {tick}{key}{tick}: {either([f'{tick}{tag}{tick}' for tag in tags(schema)])}"
    if schema["type"] == "array":
        return _list(schema, tick)
    if schema["type"] == "object":
        keys = ", ".join(f"{tick}{key}{tick}" for key in schema.get("properties", ()))
        return f"a mapping with the keys {keys}" if keys else "a mapping"
    return _limited(schema, many)


def _limited(schema: Schema, many: bool) -> str:
    noun = NOUNS[schema["type"]][many]
    if "pattern" in schema:
        return "names" if many else NAME_WORDS
    if "minLength" in schema:
        return f"{noun} that {'are' if many else 'is'} not empty"
    bound = {key: f"{schema[key]:.15g}" for key in LIMITS if key in schema}
    if bound.keys() == {"minimum", "maximum"}:
        return f"{noun} from {bound['minimum']} to {bound['maximum']}"
    bounds = [f"{LIMITS[key]} {value}" for key, value in bound.items()]
    return " ".join([noun, " and ".join(bounds)]).strip()


def _list(schema: Schema, tick: str) -> str:
    parts: list[Schema] = schema.get("prefixItems", [])
    if not parts:
        least, most = schema.get("minItems"), schema.get("maxItems")
        count = f"{least} to {most} " if most else f"{'one' if least == 1 else least} or more " if least else ""
        return f"a list of {count}{describe(schema['items'], tick, many=True)}"
    if all(part == parts[0] for part in parts):
        return f"a list of {len(parts)} {describe(parts[0], tick, many=True)}"
    return f"a list [{', '.join(describe(part, tick) for part in parts)}]"
