"""The schema's types in human words, the same in error messages and in docs/configuration.md."""

import json
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeGuard, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAME_WORDS = "a name of at most 100 letters, digits, '.', '_' and '-', the first a letter or digit"
NOUNS = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers"), str: ("text", "texts")}
LIMITS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}


def describe(kind: object, tick: str = "", *, many: bool = False) -> str:
    """What a type accepts: `a whole number of at least 1`.

    Args:
        kind: a type as it stands in the schema.
        tick: put around literal values, for Markdown.
        many: in the plural.
    """
    base, notes = unwrap(kind)
    if get_origin(base) is tuple:
        return _describe_list(base, notes, tick)
    if get_origin(base) is dict:
        return "a mapping"
    if base in NOUNS:
        return _limited(NOUNS[base][many], notes, many)
    if is_model(base):
        return f"a mapping with the keys {', '.join(f'{tick}{key}{tick}' for key in base.model_fields)}"
    choices = list(alternatives(kind))
    if any(is_model(choice) for choice in choices):
        key, _ = tag_of(choices[0]) or ("", "")
        tags = [f"{tick}{tag[1]}{tick}" for tag in map(tag_of, choices) if tag]
        return f"a mapping with {tick}{key}{tick}: {either(tags)}"
    words = [word for choice in choices if choice is not NoneType for word in _words(choice, tick, many=many)]
    return either(words) + (f", or {tick}null{tick}" if NoneType in choices else "")


def show(value: object) -> str:
    """A value as it would stand in a configuration file, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    text = text.removesuffix("\n").removesuffix("\n...")
    if "\n" in text:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def either(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def unwrap(kind: object) -> tuple[object, list[object]]:
    """A type without its annotations and without `| None` beside a single type, and those annotations."""
    notes: list[object] = []
    while True:
        if isinstance(kind, FieldInfo):
            more, kind = kind.metadata, kind.annotation
        elif get_origin(kind) is Annotated:
            kind, more = get_args(kind)[0], list(get_args(kind)[1:])
        elif get_origin(kind) in (Union, UnionType) and len(get_args(kind)) == 2 and NoneType in get_args(kind):
            return next(unwrap(part) for part in get_args(kind) if part is not NoneType)
        else:
            return kind, notes
        notes += [limit for note in more for limit in (note.metadata if isinstance(note, FieldInfo) else [note])]


def alternatives(kind: object) -> Iterator[object]:
    """The members of a union, or the type itself."""
    plain = kind.annotation if isinstance(kind, FieldInfo) else kind
    if get_origin(plain) in (Union, UnionType):
        yield from get_args(plain)
    elif get_origin(plain) is Annotated:
        yield from alternatives(get_args(plain)[0])
    else:
        yield plain


def is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    """Whether a type is a section of the schema."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def tag_of(model: object) -> tuple[str, str] | None:
    """The key and value that choose a section among alternatives: `("name", "vgg")`."""
    for key in ("name", "kind"):
        field = model.model_fields.get(key) if is_model(model) else None
        if field and get_origin(field.annotation) is Literal:
            return key, str(get_args(field.annotation)[0])
    return None


def _words(kind: object, tick: str, *, many: bool) -> list[str]:
    if get_origin(kind) is Literal:
        return [f"{tick}{value}{tick}" for value in get_args(kind)]
    if kind is bool:
        return [f"{tick}true{tick}", f"{tick}false{tick}"]
    return [describe(kind, tick, many=many)]


def _limited(noun: str, notes: Sequence[object], many: bool) -> str:
    if any(getattr(note, "pattern", None) for note in notes):
        return "names" if many else NAME_WORDS
    if any(getattr(note, "min_length", 0) for note in notes):
        return f"{noun} that {'are' if many else 'is'} not empty"
    bound = {key: getattr(note, key) for note in notes for key in LIMITS if hasattr(note, key)}
    if bound.keys() == {"ge", "le"}:
        return f"{noun} from {bound['ge']} to {bound['le']}"
    bounds = [f"{word} {bound[key]}" for key, word in LIMITS.items() if key in bound]
    return " ".join([noun, " and ".join(bounds)]).strip()


def _describe_list(kind: object, notes: Sequence[object], tick: str) -> str:
    parts = get_args(kind)
    if parts[1:] == (...,):
        few = "one or more " if any(getattr(note, "min_length", 0) for note in notes) else ""
        return f"a list of {few}{describe(parts[0], tick, many=True)}"
    if len({describe(part) for part in parts}) == 1:
        return f"a list of {len(parts)} {describe(parts[0], tick, many=True)}"
    return f"a list [{', '.join(describe(part, tick) for part in parts)}]"
