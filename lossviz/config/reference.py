"""docs/configuration.md, made from the schema: python -m lossviz.config.reference > docs/configuration.md."""

import inspect
import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lossviz.config.experiment import Config
from lossviz.config.words import NAME_WORDS, alternatives, describe, is_model, show, tag_of, unwrap

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
  or another network of torchvision, starts without `args`.
- **A variant is a folder,** `runs/<name>/<variant>/`; the order in the file is the order of legends.
  An experiment without `variants` has one, named after itself.
- **`--set` wins over all of it:** `--set train.lr=0.05`, `--set 'surface.x=[-1, 1, 25]'`,
  `--set variants.batchnorm.seed=1`. It may be repeated; the value is YAML, and the last one wins.
- **A name** has at most 100 letters, digits, `.`, `_` and `-`, and begins with a letter or digit.
- **Paths** are relative to the working directory, as on the command line.
- **Values are those of YAML 1.2:** `1e-3` is a number, `true` and `false` are the only truth values,
  and a key that stands twice in a mapping is an error."""


def reference() -> str:
    """The page."""
    rest = [block for key, field in _fields(Config, "").items() for block in _section(field, key)]
    return "\n\n".join([INTRODUCTION, "## The file", _table(Config, ""), *rest]) + "\n"


def _fields(model: type[BaseModel], path: str) -> dict[str, FieldInfo]:
    return {key: field for key, field in model.model_fields.items() if path or key not in FILLED_IN}


def _table(model: type[BaseModel], path: str) -> str:
    rows = [_row(key, field, f"{path}.{key}") for key, field in _fields(model, path).items() if field.description]
    if not path:
        rows.append("| `variants` | a mapping of names to overrides | one, named as the experiment | See above. |")
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) if rows else "No other keys."


def _section(field: FieldInfo, path: str) -> Iterator[str]:
    """A heading and a table, or a table for each alternative, followed by the sections inside."""
    models, level = _models(field), "##" if "." not in path else "###"
    if models:
        yield f"{level} {path}"
    if len(models) > 1:
        yield f"{field.description} `{(tag_of(models[0]) or ('',))[0]}` decides which other keys there are."
    for model in models:
        if len(models) > 1:
            yield f"{level}# `{': '.join(tag_of(model) or ())}`"
        yield _escape(inspect.getdoc(model) or "")
        yield _table(model, path)
    inner = {key: each for model in models for key, each in model.model_fields.items()}
    for key, each in inner.items():
        yield from _section(each, f"{path}.{key}")


def _row(key: str, field: FieldInfo, path: str) -> str:
    path = path.strip(".")
    words = describe(field, "`").replace(NAME_WORDS, "a name")
    value = f"a mapping, see [{path}](#{path.replace('.', '')})" if _models(field) else _escape(words)
    return f"| `{key}` | {value} | {_default(field)} | {_escape(str(field.description))} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        tag = tag_of(type(value))
        return f"`{tag[0]}: {tag[1]}`" if tag else "the defaults below"
    return "none" if value is None else f"`{show(list(value) if isinstance(value, tuple) else value)}`"


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    kind, _ = unwrap(field)
    return [model for model in alternatives(kind) if is_model(model)]


def _escape(text: str) -> str:
    """Keep Markdown from reading `<name>` as HTML and `|theta|` as columns, outside of code."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
