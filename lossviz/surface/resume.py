"""Whether a scan may resume from an existing file, and what of the file is kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from lossviz.config.merging import IDENTITY, PLACES, differences
from lossviz.config.surface import Surface
from lossviz.errors import refuse, show
from lossviz.results import TO_DO
from lossviz.run import Run
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.forward import ExecutionPlan

# Name, value before, value now.
Differences = Iterator[tuple[str, object, object]]


def saved_scan(run: Run, name: str, attributes: Attributes) -> ScanFile | None:
    """The file that a scan goes on with; None where it begins.

    A file that has points goes on, and so does one that has checkpoints of the same scan; any other is written anew.

    Args:
        run: whose file it is.
        name: of the scan.
        attributes: those of the scan that was asked for.

    Raises:
        RequestError: it has points of something else; names the first difference, and says how to keep both.
    """
    if not run.surface_file(name).exists():
        return None
    file = ScanFile.load(run, name)
    difference = next(_differences(file.attributes, attributes), None)
    if not run.block_files(name) and not (file.grid.status != TO_DO).any():
        return file if "checkpoint" in file.waypoints.sizes and difference is None else None
    if difference is not None:
        key, before, now = difference
        problem = f"holds a scan with {key.lstrip('.')} = {before}, and now it is {now}"
        advice = "give this one a name of its own (--set surface.name=...), or discard the old one with --fresh"
        refuse(str(file.path), problem, advice=advice)
    return file


def refuse_other_directions(directions: Path, digest: str, saved: Mapping[str, object]) -> None:
    """Refuse to go on in directions that the scan did not begin with.

    Args:
        directions: their file.
        digest: the SHA-256 of this file, or of directions that are drawn again.
        saved: the attributes of the scan.

    Raises:
        RequestError: they are others.
    """
    if digest != saved["directions_sha256"]:
        if not directions.exists():
            problem = "were drawn with keep = false, and this machine or this release of torch draws others"
            refuse("surface.directions", problem, advice="go on there, or discard the scan with --fresh")
        problem = "holds other directions than those that the scan beside it began with"
        refuse(str(directions), problem, advice="put those back, or discard the scan with --fresh")


def resumed_attributes(saved: Attributes, attributes: Attributes, measured: bool, *, whole: bool) -> Attributes:
    """The attributes of a scan that goes on.

    Args:
        saved: those of its file; what is known of directions, execution and so on stays.
        attributes: what is asked for now, which may have another grid.
        measured: whether the file has the checkpoints in the plane. The same checkpoint by another name (last, a step,
            a path) then stays what they call it.
        whole: whether all points are known; what was said of a whole scan does not hold for a larger one.
    """
    kept = ("checkpoint", "checkpoint_step") if measured else ()
    left_out = () if whole else ("sanity",)
    old = {name: saved[name] for name in saved if (name not in attributes or name in kept) and name not in left_out}
    devices = dict.fromkeys([*str(saved["device"]).split("; "), str(attributes["device"])])
    return {**attributes, **old, "device": "; ".join(devices)}


def unfollowed(execution: ExecutionPlan, config: Surface) -> str:
    """List settings ignored on resume because the scan was started with different ones; empty if none."""
    pairs = (
        ("batch_size", config.batch_size, execution.batch_size),
        ("compile", config.compile, execution.compiled),
    )
    other = [f"surface.{key} = {show(began)}" for key, asked, began in pairs if asked not in ("auto", began)]
    return f"; {' and '.join(other)} as it began, so that all points are computed alike" if other else ""


def _differences(saved: Mapping[str, object], attributes: Mapping[str, object]) -> Differences:
    """What two scans differ in, by name, if they are not the same one."""
    there, here = (_identity(each) for each in (saved, attributes))
    return differences(there, here, "")


def _identity(attributes: Mapping[str, object]) -> dict[str, object]:
    """The attributes that two parts of one scan have in common."""
    tree = yaml.safe_load(str(attributes["configuration"]))
    found = {name: tree.get(name) for name in (*IDENTITY, "surface")}
    found["data"] = {name: value for name, value in tree["data"].items() if name not in PLACES["data"]}
    # `last` may have become another checkpoint: its checksum tells. A finer or larger grid is the same scan, and
    # execution is settled when it begins.
    left_out = ("checkpoint", "batch_size", "compile", "x", "y")
    found["surface"] = {name: value for name, value in tree["surface"].items() if name not in left_out}
    if tree["surface"]["directions"]["kind"] == "random":
        found["surface"]["directions"] = {"keep": True, **tree["surface"]["directions"]}  # older files do not say it
    found["surface"]["y"] = "null" if tree["surface"]["y"] is None else "a range"
    names = ("checkpoint_sha256", "data_sha256", "own_code", "precision")
    return {**found, **{name: attributes.get(name, "") for name in names}}
