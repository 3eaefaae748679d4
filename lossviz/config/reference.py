"""docs/configuration.md, made from the schema: python -m lossviz.config.reference > docs/configuration.md."""

import inspect
import sys
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lossviz.config.experiment import Config
from lossviz.config.words import alternatives, describe, is_model, show, tag_of, unwrap

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
Whatever else is left out has the default given below; `config.yaml` in the run folder spells all of them out,
and can itself be given in place of the file. Unknown keys, wrong types and impossible combinations are refused
by name, with file and line, before anything is loaded.

## Variants and `--set`

- **Overrides merge deeply.** `batchnorm: {model: {norm: batch}}` changes `model.norm` and leaves the rest of `model`.
  A list is replaced as a whole.
- **A changed tag replaces its mapping.** `data.name`, `model.name`, `train.schedule.kind` and
  `surface.directions.kind` decide which other keys exist, so `{model: {name: resnet}}` starts from the defaults
  of a ResNet and keeps nothing of the VGG.
- **A variant is a folder,** `runs/<name>/<variant>/`; the order in the file is the order of legends.
  An experiment without `variants` has one, named after itself.
- **`--set` wins over all of it:** `--set train.lr=0.05`, `--set 'surface.x=[-1, 1, 25]'`,
  `--set variants.batchnorm.seed=1`. It may be repeated; the value is YAML, and the last one wins.
- **Paths** are relative to the working directory, as on the command line.
- **Values are those of YAML 1.2:** `1e-3` is a number, `true` and `false` are the only truth values,
  and a key that stands twice in a mapping is an error.
"""


def reference() -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *_table("## The file", Config, "")])


def _table(heading: str, model: type[BaseModel], path: str) -> Iterator[str]:
    """One section as a table, followed by the sections inside it."""
    yield heading
    yield ""
    if path:
        yield _text(inspect.getdoc(model) or "")
        yield ""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    fields = {key: field for key, field in model.model_fields.items() if path or key not in ("variant", "siblings")}
    for key, field in fields.items():
        value = _value(field, _join(path, key))
        yield f"| `{key}` | {value} | {_default(field)} | {_text(field.description or _choice(key, model))} |"
    if not path:
        yield "| `variants` | a mapping of names to overrides | one, called as the experiment | See above. |"
    yield ""
    for key, field in fields.items():
        yield from _inner(field, _join(path, key))


def _inner(field: FieldInfo, path: str) -> Iterator[str]:
    models = _models(field)
    if len(models) > 1:
        yield f"## {path}"
        yield ""
        yield f"{_text(field.description or '')} Which keys there are depends on `{_tag(models[0])[0]}`."
        yield ""
    for model in models:
        key, tag = _tag(model)
        yield from _table(f"### {path}, {key}: {tag}" if len(models) > 1 else f"## {path}", model, path)


def _value(field: FieldInfo, path: str) -> str:
    if _models(field):
        return f"a mapping, see [{path}](#{path.replace('.', '')})"
    return _text(describe(field, "`"))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", include={key for key in ("name", "kind") if _tagged(value, key)})
        return f"`{show(changed)}`" if changed else "its defaults"
    return "none" if value is None else f"`{show(list(value) if isinstance(value, tuple) else value)}`"
