"""What a scan's result file says of itself, and whether two scans are parts of one."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import xarray as xr
import yaml

from lossviz.config.surface import Surface
from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.point import Vector, dot, squared_norm
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError, show
from lossviz.files import read
from lossviz.results import protocol
from lossviz.run import IDENTITY, PLACES, differences
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.moving import Coordinate, parameters_of
from lossviz.surface.pace import Pace

Attributes = dict[str, str | int | float]


def of_scan(setup: Setup, checkpoint: Checkpoint, scanned: Mapping[str, Split | StreamedSplit]) -> Attributes:
    """The protocol: configuration, checkpoint, data, precision.

    Args:
        setup: the variant.
        checkpoint: the centre.
        scanned: the examples, by the prefix of their quantities' names.
    """
    facts, config = setup.backend.facts(), setup.config.surface
    found = setup.facts()
    data, code = found["data"], found["own_code"]
    return {
        **protocol(setup.config, setup.loss_name, "loss surface"),
        "checkpoint": checkpoint.name,
        "checkpoint_step": "" if checkpoint.step is None else checkpoint.step,
        "checkpoint_sha256": hashlib.sha256(read(checkpoint.path)).hexdigest(),
        "data_sha256": ", ".join(data[split] for split in splits(config.data.split)),
        "changed_data": ", ".join(_changed(setup, checkpoint, data)),
        "own_code": "\n".join(f"{file} {digest}" for file, digest in code.items()),
        "examples": len(scanned[""]),
        "choose": config.data.choose,
        **_classes(setup, scanned),
        "split": config.data.split,
        "directions": config.directions.kind,
        "direction_seed": getattr(config.directions, "seed", ""),
        "normalize": getattr(config.directions, "normalize", "none"),
        "batch_norm": config.batch_norm,
        "precision": facts["precision"],
        "device": facts["device_name"],
    }


def _changed(setup: Setup, checkpoint: Checkpoint, data: Mapping[str, str]) -> list[str]:
    """The splits that are not as they were when the run was trained; none where another run made the checkpoint."""
    trained_on = setup.run.record().get("train", {}).get("data", data)
    return [] if checkpoint.step is None else [name for name in data if data[name] != trained_on.get(name)]


def _classes(setup: Setup, scanned: Mapping[str, Split | StreamedSplit]) -> Attributes:
    """Of how many classes the examples are, and how many their split has; vectors and sequences have none."""
    found: Attributes = {}
    for name, (prefix, chosen) in zip(splits(setup.config.surface.data.split), scanned.items(), strict=True):
        there = getattr(setup.data, name).targets
        if there.dim() == 1:
            found[f"{prefix}classes"] = len(chosen.targets.unique())
            found[f"{prefix}classes_of_split"] = len(there.unique())
    return found


def splits(split: str) -> tuple[str, ...]:
    """The splits of the data set that `surface.data.split` means."""
    return ("train", "test") if split == "both" else (split,)


def of_directions(coordinates: Sequence[Coordinate], directions: Mapping[str, Vector]) -> Attributes:
    """Norms of the directions, and the cosine of the angle between them, over the parameters."""
    vectors = {axis: parameters_of(coordinates, vector) for axis, vector in directions.items()}
    norms = {axis: float(squared_norm(vector).sqrt()) for axis, vector in vectors.items()}
    found: Attributes = {f"{axis}_norm": norm for axis, norm in norms.items()}
    # The order of the network, which safetensors does not keep and the official tool's files go by.
    found["parameters"] = "\n".join(each.name for each in coordinates if each.kind != "statistic")
    if "y" in vectors:
        product = norms["x"] * norms["y"]
        found["cosine"] = float(dot(vectors["x"], vectors["y"])) / product if product else float("nan")
    return found


def of_file(directions: Path, moved: Iterable[str]) -> Attributes:
    """Which file holds the directions, and the names of the parameters that they may move."""
    return {"directions_sha256": hashlib.sha256(read(directions)).hexdigest(), "moved": "\n".join(sorted(moved))}


def refuse_other_directions(directions: Path, saved: Mapping[str, object]) -> None:
    """Refuse to go on in directions that the scan did not begin with.

    Raises:
        RequestError: the file is another one.
    """
    if hashlib.sha256(read(directions)).hexdigest() != saved["directions_sha256"]:
        raise RequestError(
            f"{directions}: holds other directions than those that the scan beside it began with\n"
            "  put those back, or discard the scan with --fresh"
        )


def of_pace(pace: Pace) -> Attributes:
    """How the forward passes are done."""
    return {"batch_size": pace.batch_size, "compiled": int(pace.compiled), "pace": pace.why}


def saved_pace(saved: xr.Dataset) -> Pace:
    """The pace that a scan began with."""
    attributes = saved.attrs
    return Pace(int(attributes["batch_size"]), bool(attributes["compiled"]), str(attributes["pace"]))


def kept_pace(pace: Pace, config: Surface) -> str:
    """What a configuration asks for in vain, because the scan began otherwise; empty where it does not."""
    pairs = (("batch_size", config.batch_size, pace.batch_size), ("compile", config.compile, pace.compiled))
    other = [f"surface.{key} = {show(began)}" for key, asked, began in pairs if asked not in ("auto", began)]
    return f"; {' and '.join(other)} as it began, so that all points are computed alike" if other else ""


def refuse_another(file: Path, saved: Mapping[str, object], attributes: Mapping[str, object]) -> None:
    """Refuse to go on with a scan of something else.

    Raises:
        RequestError: names the first difference, and says how to keep both.
    """
    there, here = (_identity(each) for each in (saved, attributes))
    for name, before, now in differences(there, here, ""):
        raise RequestError(
            f"{file}: holds a scan with {name.lstrip('.')} = {before}, and now it is {now}\n"
            "  give this one a name of its own (--set surface.name=...), or discard the old one with --fresh"
        )


def _identity(attributes: Mapping[str, object]) -> dict[str, object]:
    """What must be the same for two scans to be parts of one."""
    tree = yaml.safe_load(str(attributes["configuration"]))
    found = {name: tree.get(name) for name in (*IDENTITY, "surface")}
    found["data"] = {name: value for name, value in tree["data"].items() if name not in PLACES["data"]}
    # `last` may have become another checkpoint: its checksum tells. A finer or larger grid is the same scan, and
    # pace is settled when it begins.
    left_out = ("checkpoint", "batch_size", "compile", "x", "y")
    found["surface"] = {name: value for name, value in tree["surface"].items() if name not in left_out}
    found["surface"]["y"] = "null" if tree["surface"]["y"] is None else "a range"
    names = ("checkpoint_sha256", "data_sha256", "own_code", "precision")
    return {**found, **{name: attributes.get(name, "") for name in names}}
