"""`lossviz surface`: the loss on a line or plane through a trained network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import xarray as xr
from torch import Tensor

from lossviz.config.surface import Axis
from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.engine.point import Vector
from lossviz.engine.ranks import Ranks, SharedStore, ranks
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.signals import StopRequest
from lossviz.surface import record
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions import named, unnamed
from lossviz.surface.grid import TO_DO, Grid, Range, through_zero
from lossviz.surface.ledger import Ledger
from lossviz.surface.pace import Forward, Pace
from lossviz.surface.plane import find_plane
from lossviz.surface.sanity import facts, findings
from lossviz.surface.subject import Subject
from lossviz.surface.waypoints import measure_waypoints

_NAMES = ("checkpoint", "checkpoint_step")


@dataclass
class Scan:
    """A scan on its way.

    Attributes:
        directions: by axis; one tensor a coordinate.
        grid: the points.
        attributes: of the result file.
        pace: how forward passes are done.
        checkpoints: to be measured beside the grid; empty where the file has them.
        waypoints: their variables.
    """

    directions: Mapping[str, Vector]
    grid: Grid
    attributes: record.Attributes
    pace: Pace
    checkpoints: Sequence[Checkpoint]
    waypoints: xr.Dataset

    @property
    def moved(self) -> set[str]:
        """Names of the parameters that the directions may move."""
        return set(str(self.attributes["moved"]).split("\n"))


def surface(setup: Setup, report: Report, stop: StopRequest, group: Ranks | None = None) -> None:
    """Scan what the `surface` section says, or what is left of it; several processes share the points.

    Raises:
        RequestError: there is no checkpoint, it does not fit, or the file holds another scan.
    """
    group = group or ranks()
    subject, run, name = Subject(setup), setup.run, setup.config.surface.name
    file = run.surface_file(name)
    if not group.first:
        scan = _joined(subject, group)
        _go(subject, scan, Ledger(run, name, scan.grid, {}, xr.Dataset(), group), report, stop)
        return
    attributes = record.of_scan(setup, subject.checkpoint, subject.splits)
    resumes = _has_points(run, name)
    scan = _resumed(subject, attributes) if resumes else _begun(subject, attributes)
    total = scan.grid.status.size
    # A scan that was stopped at its last point has not been judged.
    if scan.grid.done == total and not scan.checkpoints and "sanity" in scan.attributes:
        report.say(f"{file}: nothing left to scan ({total:,} points)")
        _publish(subject, group, scan)
        return
    if resumes:
        kept = record.kept_pace(scan.pace, setup.config.surface)
        report.say(f"{file}: going on, {scan.grid.done:,} of {total:,} points are there{kept}")
    with run.stage(f"surface-{name}", **setup.facts(), processes=group.world) as outcome:
        ledger = Ledger(run, name, scan.grid, scan.attributes, scan.waypoints, group)
        ledger.save()
        _publish(subject, group, scan)
        _go(subject, scan, ledger, report, stop)
        outcome["points"] = total
        splits = record.splits(setup.config.surface.data.split)
        means = " and over ".join(
            f"{len(each):,} {name}" for name, each in zip(splits, subject.splits.values(), strict=True)
        )
        report.say(f"{file}: {total:,} points, each the mean over {means} examples")
        _judge(ledger, report)


def _has_points(run: Run, name: str) -> bool:
    """Whether a scan of this name found anything; one that failed before its first point can become any other."""
    file = run.surface_file(name)
    return file.exists() and (bool(run.block_files(name)) or bool((load_results(file).status != TO_DO).any()))


def _begun(subject: Subject, attributes: record.Attributes) -> Scan:
    """A scan from nothing: its plane, its pace, an empty grid."""
    setup, config = subject.setup, subject.config
    plane = find_plane(setup, subject.objective, subject.coordinates)
    x, y = (_range(axis, plane.ranges.get(name), plane.ones) for name, axis in (("x", config.x), ("y", config.y)))
    assert x is not None
    for path in setup.run.block_files(config.name):
        path.unlink()  # of a scan whose file somebody deleted
    save_tensors(setup.run.directions_file(config.name), named(subject.coordinates, plane.directions))
    points = x[2] * (y[2] if y else 1)
    pace = subject.pace(points)
    facts: record.Attributes = {**plane.facts, **({"trajectory": 1} if plane.is_path else {})}
    facts |= record.of_directions(subject.coordinates, plane.directions)
    facts |= record.of_file(setup.run.directions_file(config.name), plane.moved)
    facts["by_batch"] = int(subject.mode.by_batch)
    return Scan(
        plane.directions,
        Grid.empty(x, y, subject.quantities),
        {**attributes, **facts, **record.of_pace(pace)},
        pace,
        _with_own(subject.checkpoint, plane.waypoints),
        xr.Dataset(),
    )


def _resumed(subject: Subject, attributes: record.Attributes) -> Scan:
    """A scan that goes on, on its grid or on one that holds it.

    Raises:
        RequestError: the file holds another scan, or points that have no place in this one.
    """
    config, run = subject.config, subject.setup.run
    file = run.surface_file(config.name)
    saved = load_results(file)
    record.refuse_another(file, saved.attrs, attributes)
    record.refuse_other_directions(run.directions_file(config.name), saved.attrs)
    waypoints = saved[[str(name) for name in saved.variables if str(name).startswith("checkpoint")]]
    if run.block_files(config.name):
        Ledger(run, config.name, Grid.of(saved), saved.attrs, waypoints, Ranks()).gather()
        saved = load_results(file)
    x, y = (_range(axis, _ends(saved, name)) for name, axis in (("x", config.x), ("y", config.y)))
    assert x is not None
    grid = Grid.empty(x, y, subject.quantities)
    grid.take_over(saved, str(file))
    missing = "checkpoint" not in saved.sizes
    plane = find_plane(subject.setup, subject.objective, subject.coordinates) if missing else None
    # The same checkpoint by another name (last, a step, a path) stays what the file's waypoints call it; what was said
    # of a whole scan does not hold for a larger one.
    names = () if missing else _NAMES
    kept = {name: value for name, value in saved.attrs.items() if name not in attributes or name in names}
    if grid.todo():
        kept.pop("sanity", None)
    devices = dict.fromkeys([*str(saved.attrs["device"]).split("; "), str(attributes["device"])])
    return Scan(
        _directions(subject, list(grid.axes)),
        grid,
        {**attributes, **kept, "device": "; ".join(devices)},
        record.saved_pace(saved),
        _with_own(subject.checkpoint, plane.waypoints) if plane else [],
        waypoints,
    )


def _publish(subject: Subject, group: Ranks, scan: Scan) -> None:
    """Let the other processes begin: the result file and the directions are on disk."""
    if not group.alone:
        _store(subject, group).set("pace", json.dumps(asdict(scan.pace)))


def _joined(subject: Subject, group: Ranks) -> Scan:
    """The scan that the first process began."""
    pace = Pace(**json.loads(_store(subject, group).get("pace")))
    saved = load_results(subject.setup.run.surface_file(subject.config.name))
    grid = Grid.of(saved)
    return Scan(_directions(subject, list(grid.axes)), grid, saved.attrs, pace, [], xr.Dataset())


def _store(subject: Subject, group: Ranks) -> SharedStore:
    return group.store(f"{subject.setup.run.folder}/{subject.config.name}")


def _directions(subject: Subject, axes: Sequence[str]) -> dict[str, list[Tensor]]:
    """The directions that a scan began with: another release of torch may draw others."""
    saved = load_tensors(subject.setup.run.directions_file(subject.config.name))
    return {axis: unnamed(subject.coordinates, saved, axis) for axis in sorted(axes)}


def _go(subject: Subject, scan: Scan, ledger: Ledger, report: Report, stop: StopRequest) -> None:
    """Compute what is to do, checkpoints first."""
    forward = Forward(subject.objective, scan.pace, report.say_own)
    variant, total = subject.setup.run.variant, scan.grid.status.size
    with subject.slice(scan.directions, forward, moved=scan.moved) as part:
        forward.mention(subject.objective.doubts)
        if scan.checkpoints:
            with report.track(f"checkpoints of {variant}", len(scan.checkpoints), "checkpoints") as track:
                ledger.waypoints = measure_waypoints(part, scan.checkpoints, track, stop)
            if ledger.ranks.alone:
                ledger.save()
        with report.track(f"scanning {variant}", total, "points", scan.grid.done) as track:
            for block in ledger.claims():
                found = {}
                for index in block:
                    found[index] = part.at(scan.grid.where(index))
                    if stop:
                        break
                track.reach(ledger.keep(found, stopping=bool(stop)))
                stop.obey()
            ledger.finish(stop)
    ledger.attributes = {**ledger.attributes, **record.of_pace(forward.pace)}


def _judge(ledger: Ledger, report: Report) -> None:
    """The sanity report, on screen and in the file."""
    results = ledger.dataset()
    found = findings(results)
    said = facts(results)
    ledger.attributes = {**ledger.attributes, "report": "\n".join(said), "sanity": "\n".join(found)}
    ledger.save()
    for line in said:
        report.say(f"  {line}")
    for line in found:
        report.say(f"  look: {line}")


def _with_own(own: Checkpoint, others: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The scan's own checkpoint in its place among the others, or before them."""
    if not any(each.same_file(own) for each in others):
        return [own, *others]
    return [own if each.same_file(own) else each for each in others]


def _ends(saved: xr.Dataset, axis: str) -> tuple[float, float] | None:
    return (float(saved[axis][0]), float(saved[axis][-1])) if axis in saved.sizes else None


def _range(axis: Axis | None, automatic: tuple[float, float] | None, one: bool = False) -> Range | None:
    """A configured axis with its bounds in numbers."""
    if axis is None:
        return None
    low, high, count = axis
    assert automatic is not None
    if low == "auto" and high == "auto":
        return through_zero(*automatic, count, one)
    first, last = automatic[0] if low == "auto" else low, automatic[1] if high == "auto" else high
    if first >= last:
        raise RequestError(
            f"surface: an axis [{low}, {high}, {count}] would run from {first:g} to {last:g}, and must grow\n"
            "  give both ends, or leave both to auto"
        )
    return first, last, count
