"""How the sources of a configuration merge, and how two configurations differ."""

from collections.abc import Iterator, Mapping
from typing import Any

# Where one key decides which others exist: changing it replaces the mapping instead of merging into it.
TAGS = {
    ("data",): "name",
    ("model",): "name",
    ("loss",): "name",
    ("train", "schedule"): "kind",
    ("surface", "directions"): "kind",
}
# What `args` belong to: a user's function, the name of a network of a library.
CALLED = ("target", "network")
# Whose networks have a name of two parts.
LIBRARIES = ("torchvision", "timm", "transformers")
# What decides the numbers of a training; the rest of a configuration may change between commands.
IDENTITY = ("seed", "data", "model", "loss", "train")
# Where data lie is not what they are; run.json holds their fingerprint.
PLACES = {"data": {"root", "path", "download", "workers"}}


def merge(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with changes merged into it deeply, the last of them on top; lists are replaced as a whole.

    Example:
        >>> merge({"model": {"name": "vgg", "depth": 11}}, {"model": {"norm": "batch"}})
        {'model': {'name': 'vgg', 'depth': 11, 'norm': 'batch'}}
        >>> merge({"model": {"name": "vgg", "depth": 11}}, {"model": {"name": "resnet"}})
        {'model': {'name': 'resnet'}}
    """
    for each in changes:
        base = _merge_at((), base, each)
    return dict(base)


def _merge_at(at: tuple[str, ...], base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    tag = TAGS.get(at[2:] if at[:1] == ("variants",) else at)
    if tag and tag in base and tag in changes and changes[tag] != base[tag]:
        return dict(changes)
    # `args` are those of one function: another starts without.
    other = any(key in base and changes.get(key, base[key]) != base[key] for key in CALLED)
    merged = {key: value for key, value in base.items() if not (other and key == "args")}
    for key, value in changes.items():
        mine = merged.get(key)
        nested = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge_at((*at, key), mine or {}, value) if nested else value
    return merged


def spell_out(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Write the tags that people leave out: one place, so that the schema and merging see one form.

    `model`, `data` and `loss` with a target are a user's own; `torchvision/resnet18` is the network of that name of a
    library. Each source is spelled out by itself: a variant's target replaces the network of the rest.
    """
    tree = dict(tree)
    for section in ("model", "data", "loss"):
        mapping = tree.get(section)
        if isinstance(mapping, Mapping) and "target" in mapping:
            tree[section] = {"name": "own", **mapping}
    model, variants = tree.get("model"), tree.get("variants")
    library, slash, network = str(model.get("name", "") if isinstance(model, Mapping) else "").partition("/")
    if isinstance(model, Mapping) and slash and library in LIBRARIES:
        tree["model"] = {**model, "name": library, "network": network}
    if isinstance(variants, Mapping):
        changed = {name: spell_out(each) for name, each in variants.items() if isinstance(each, Mapping)}
        tree["variants"] = {**variants, **changed}
    return tree


def name_random_directions(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Give `surface.directions` without a kind the kind random; done to whole trees, so that it changes no kind."""
    tree, surface = dict(tree), tree.get("surface")
    if isinstance(surface, Mapping) and isinstance(surface.get("directions"), Mapping):
        tree["surface"] = {**surface, "directions": {"kind": "random", **surface["directions"]}}
    return tree


def differences(there: object, here: object, name: str) -> Iterator[tuple[str, object, object]]:
    """Keys whose values differ between two configurations, with both values.

    Example:
        >>> list(differences({"lr": 0.1, "steps": 9}, {"lr": 0.2, "steps": 9}, "train"))
        [('train.lr', 0.1, 0.2)]
    """
    if isinstance(there, dict) and isinstance(here, dict):
        # Another network has other keys: its name says enough.
        tags = [key for key in ("name", "kind") if there.get(key) != here.get(key)]
        for key in tags or {**there, **here}:
            yield from differences(there.get(key), here.get(key), f"{name}.{key}")
    elif there != here:
        yield name, there, here
