"""`lossviz surface`: the loss on a line or plane through a trained network."""

import hashlib
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import yaml
from torch import Tensor, nn

from lossviz.config.reading import shipped_configurations
from lossviz.data.split import Split
from lossviz.engine.checkpoint import fit, load_foreign, load_tensors, save_tensors
from lossviz.engine.point import Vector, dot, squared_norm
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError
from lossviz.files import read
from lossviz.progress import Report
from lossviz.results import load_results, protocol, save_results
from lossviz.run import IDENTITY, PLACES, differences
from lossviz.signals import StopRequest
from lossviz.surface.directions import named, random_direction
from lossviz.surface.grid import Grid
from lossviz.surface.scan import scan

# Saving takes some 20 ms: at most 1 % of the time, and a kill -9 costs two seconds of work.
SECONDS_BETWEEN_SAVES = 2.0


def surface(setup: Setup, report: Report, stop: StopRequest) -> None:
    """Scan what the `surface` section says, or what is left of it.

    Raises:
        RequestError: there is no checkpoint, it does not fit, or the file holds another scan.
    """
    config, run = setup.config.surface, setup.run
    path = checkpoint_file(setup)
    objective = setup.objective()
    model = objective.model
    fit(model, _load(path, setup), path)
    vectors = {axis: random_direction(model, config.directions, axis) for axis in ("x", "y")[: 2 if config.y else 1]}
    split = setup.data.train if config.data.split == "train" else setup.data.test
    examples = split.choose(config.data.examples, config.data.choose, setup.config.seed, "surface.data.examples")
    attributes = {**protocol(setup.config, "loss surface"), **_attributes(setup, path, examples, vectors)}
    grid, file = Grid.empty(config.x, config.y), run.surface_file(config.name)
    if file.exists():
        saved = load_results(file)
        _refuse_another(file, saved.attrs, attributes)
        grid.restore(saved)
        vectors = _saved_directions(run.directions_file(config.name), model, vectors)
    else:
        save_tensors(run.directions_file(config.name), named(model, **vectors))
    size = setup.backend.evaluation_batch if config.batch_size == "auto" else config.batch_size
    total, saved_at = grid.status.size, time.monotonic()
    if grid.done == total:
        report.say(f"{file}: nothing left to scan ({total:,} points)")
        return
    with run.stage(f"surface-{config.name}", **setup.facts()) as outcome:
        with report.track(f"scanning {run.variant}", total, "points", grid.done) as track:
            for _ in scan(objective, vectors, grid, partial(examples.batches, size)):
                track.advance()
                if stop or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                    save_results(file, grid.dataset(attributes))
                    saved_at = time.monotonic()
                stop.obey()
        save_results(file, grid.dataset(attributes))
        outcome["points"] = total
    report.say(f"{file}: {total:,} points, each the mean over {len(examples):,} examples")


def _saved_directions(file: Path, model: nn.Module, drawn: dict[str, list[Tensor]]) -> dict[str, list[Tensor]]:
    """The directions that a scan began with: another release of torch may draw others."""
    saved = load_tensors(file)
    return {
        axis: [saved[name].to(part) for name, part in named(model, **{axis: vector}).items()]
        for axis, vector in drawn.items()
    }


def checkpoint_file(setup: Setup) -> Path:
    """The file that `surface.checkpoint` means.

    Raises:
        RequestError: it is not there; says which command makes it.
    """
    wanted, run = setup.config.surface.checkpoint, setup.run
    if isinstance(wanted, str) and wanted != "last":
        if not Path(wanted).is_file():
            raise RequestError(f"surface.checkpoint = {wanted}: there is no such file")
        return Path(wanted)
    steps = run.checkpoint_steps
    if not steps:
        name = setup.config.name if setup.config.name in shipped_configurations() else "CONFIG"
        raise RequestError(f"{run.folder}: has no checkpoint to scan around\n  make one: lossviz train {name}")
    step = steps[-1] if wanted == "last" else wanted
    if step not in steps:
        there = ", ".join(f"{each:,}" for each in steps)
        raise RequestError(
            f"surface.checkpoint = {wanted}: {run.folder} has no checkpoint of that step\n"
            f"  accepted: last, {there}, or a path"
        )
    return run.checkpoint_file(int(step))


def _load(path: Path, setup: Setup) -> dict[str, Tensor]:
    ours = path.parent == setup.run.checkpoint_file(0).parent
    return load_tensors(path) if ours else load_foreign(path)


def _attributes(
    setup: Setup, path: Path, examples: Split, vectors: Mapping[str, Vector]
) -> dict[str, str | int | float]:
    """The protocol of the scan beyond the configuration."""
    facts = setup.backend.facts()
    found: dict[str, str | int | float] = {
        "checkpoint": str(path),
        "checkpoint_step": int(path.stem.removeprefix("step-")) if path.parent == setup.run.resume_file.parent else "",
        "data_sha256": setup.facts()["data"][setup.config.surface.data.split],
        "checkpoint_sha256": hashlib.sha256(read(path)).hexdigest(),
        "examples": len(examples),
        "split": setup.config.surface.data.split,
        "normalize": setup.config.surface.directions.normalize,
        "precision": facts["precision"],
        "device": facts["device_name"],
    }
    norms = {axis: float(squared_norm(vector).sqrt()) for axis, vector in vectors.items()}
    for axis, norm in norms.items():
        found[f"{axis}_norm"] = norm
    if "y" in vectors:
        product = norms["x"] * norms["y"]
        found["cosine"] = float(dot(vectors["x"], vectors["y"])) / product if product else float("nan")
    return found


def _refuse_another(file: Path, saved: Mapping[str, object], attributes: Mapping[str, object]) -> None:
    there, here = (_protocol(each) for each in (saved, attributes))
    for name, before, now in differences(there, here, ""):
        raise RequestError(
            f"{file}: holds a scan with {name.lstrip('.')} = {before}, and now it is {now}\n"
            "  give this one a name of its own (--set surface.name=...), or discard the old one with --fresh"
        )


def _protocol(attributes: Mapping[str, object]) -> dict[str, object]:
    """What must be the same for two scans to be parts of one."""
    tree = yaml.safe_load(str(attributes["configuration"]))
    found = {name: tree[name] for name in (*IDENTITY, "surface")}
    found["data"] = {name: value for name, value in tree["data"].items() if name not in PLACES["data"]}
    # `last` may have become another checkpoint: its checksum tells.
    left_out = ("checkpoint", "batch_size")
    found["surface"] = {name: value for name, value in tree["surface"].items() if name not in left_out}
    return {**found, **{name: attributes[name] for name in ("checkpoint_sha256", "data_sha256", "precision")}}
