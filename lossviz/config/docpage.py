"""docs/configuration.md, made from the schema: python -m lossviz.config.docpage > docs/configuration.md."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill

from lossviz.config.reading import shipped_configurations
from lossviz.config.schema import NAME_WORDS, Schema, describe, sections, tag_of, whole
from lossviz.errors import show

FILLED_IN = ("variant", "siblings")
INTRODUCTION = """\
# The configuration

One YAML file is one experiment, usually one figure. `variants` are named overrides of the rest; each becomes
one trained network and one curve.

```yaml
name: batchnorm
seed: 0
data:  {name: cifar10}
model: {name: vgg, depth: 16}
train: {steps: 15000, lr: 0.1, schedule: {kind: cosine}}
variants:
  standard:  {}
  batchnorm: {model: {norm: batch}}
```

`data`, `model` and `name` are required, and so is `train` for everything but scanning a checkpoint.
Whatever else is left out has the default given below; `config.yaml` in a run folder spells all of them out,
and can itself be given in place of the file, for that one variant. Unknown keys, wrong types and impossible
combinations are refused by name, with file and line, before anything is loaded.

## Variants and `--set`

- **Overrides merge deeply.** `batchnorm: {model: {norm: batch}}` changes `model.norm` and leaves the rest of `model`.
  A list is replaced as a whole.
- **A changed tag replaces its mapping.** `data.name`, `model.name`, `loss.name`, `train.schedule.kind` and
  `surface.directions.kind` decide which other keys exist, so `{model: {name: resnet}}` starts from the defaults
  of a ResNet and keeps nothing of the VGG. A `target` ([your own](your-own.md)) does so too, and another target,
  or another network of a library, starts without `args`.
- **A variant is a folder,** `runs/<name>/<variant>/`; the order in the file is the order of legends.
  An experiment without `variants` has one, named after itself.
- **`--set` wins over all of it:** `--set train.lr=0.05`, `--set 'surface.x=[-1, 1, 25]'`,
  `--set variants.batchnorm.seed=1`. It may be repeated; the value is YAML, and the last one wins.
- **A name** has at most 100 letters, digits, `.`, `_` and `-`, and begins with a letter or digit.
- **Paths** are relative to the working directory, as on the command line.
- **`null`** is the value of a key that is not set: `--set surface.y=null` makes a line of a plane.
- **Values are those of YAML 1.2:** `1e-3` is a number, `true` and `false` are the only truth values,
  and a key that stands twice in a mapping is an error."""


def page() -> str:
    """The page."""
    rest = [block for key, schema in _keys(whole(), "").items() for block in _section(schema, key)]
    return "\n\n".join([INTRODUCTION, "## The file", _table(whole(), ""), *rest, _shipped()]) + "\n"


def _shipped() -> str:
    """Each configuration that ships with lossviz, with the first sentence of the comment that it begins with."""
    heading = "## Configurations that ship with lossviz"
    note = "The comments in the files say more: `configs/` of the repository."
    rows = [f"- `{name}`: {_escape(_first_sentence(path))}" for name, path in shipped_configurations().items()]
    wrapped = "\n".join(fill(row, 120, subsequent_indent="  ", break_on_hyphens=False) for row in rows)
    return f"{heading}\n\n{wrapped}\n\n{note}"


def _first_sentence(path: Path) -> str:
    comment = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))
    text = re.sub(r"\n?# ", " ", comment[0]).strip() if comment else ""
    return re.split(r"\.(?= [A-Z]|$)", text)[0] + "."


def _keys(section: Schema, path: str) -> dict[str, Schema]:
    return {key: schema for key, schema in section["properties"].items() if path or key not in FILLED_IN}


def _table(section: Schema, path: str) -> str:
    required = section.get("required", [])
    rows = [
        _row(key, schema, f"{path}.{key}", required=key in required)
        for key, schema in _keys(section, path).items()
        if "description" in schema
    ]
    if not path:
        rows.append("| `variants` | a mapping of names to overrides | one, named as the experiment | See above. |")
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) if rows else "No other keys."


def _section(schema: Schema, path: str) -> Iterator[str]:
    """A heading and a table, or a table for each alternative, followed by the sections inside."""
    found, level = sections(schema), "##" if "." not in path else "###"
    if found:
        yield f"{level} {path}"
    if len(found) > 1:
        yield f"{schema['description']} `{(tag_of(found[0]) or ('',))[0]}` decides which other keys there are."
    for section in found:
        if len(found) > 1:
            yield f"{level}# `{': '.join(tag_of(section) or ())}`"
        yield _escape(section["description"])
        yield _table(section, path)
    inner = {key: each for section in found for key, each in section["properties"].items()}
    for key, each in inner.items():
        yield from _section(each, f"{path}.{key}")


def _row(key: str, schema: Schema, path: str, *, required: bool) -> str:
    path = path.strip(".")
    words = describe(schema, "`").replace(NAME_WORDS, "a name")
    value = f"a mapping, see [{path}](#{path.replace('.', '')})" if sections(schema) else _escape(words)
    default = "required" if required else _default(schema)
    return f"| `{key}` | {value} | {default} | {_escape(schema['description'])} |"


def _default(schema: Schema) -> str:
    value = schema["default"]
    if isinstance(value, dict) and value:
        tag = schema.get("discriminator", {}).get("propertyName")
        return f"`{tag}: {value[tag]}`" if tag else "the defaults below"
    return "not set" if value is None else f"`{show(value)}`"


def _escape(text: str) -> str:
    """Keep Markdown from reading `<name>` as HTML and `|theta|` as columns, outside of code."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
