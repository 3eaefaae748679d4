"""A scan of a run: started or resumed, computed point by point, judged at the end."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from lossviz.distributed.ranks import Ranks, SharedStore
from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.point import Vector, undisturbed
from lossviz.files import sha256
from lossviz.progress import Report, Track
from lossviz.signals import StopRequest
from lossviz.surface.attributes import direction_attributes, scan_attributes
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import ScanFile
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid, Index, Interval, Quantities, resolve
from lossviz.surface.lattice import Lattice
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.resume import has_points, refuse_another, refuse_other_directions, resumed_attributes
from lossviz.surface.sampled_scan import begin_sampled, forget_unsampled, sampled_plane
from lossviz.surface.sanity import facts, findings
from lossviz.surface.subspace import Subspace
from lossviz.surface.waypoints import measure_waypoints
from lossviz.surface.workers import Workers

SECONDS_BETWEEN_LOOKS = 0.05
# Of a sampled scan: its checkpoints and what the plane says there are compared on so many.
CHECKPOINT_EXAMPLES = 2000

PointFunction = Callable[[Index], Quantities]


@dataclass
class Scan:
    """A scan on its way.

    Attributes:
        plan: what is scanned.
        file: what is known of it.
        directions: by axis.
        execution: how forward passes are done.
        checkpoints: to be measured beside the grid; empty where the file has them.
        resumes: whether it resumes from an existing file.
    """

    plan: ScanPlan
    file: ScanFile
    directions: Mapping[str, Vector]
    execution: ExecutionPlan
    checkpoints: Sequence[Checkpoint] = ()
    resumes: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left; a scan that was stopped at its last point has not been judged."""
        return not self.file.grid.todo() and not self.checkpoints and "sanity" in self.file.attributes

    def publish(self, ranks: Ranks) -> None:
        """Let the other processes begin: the result file and the directions are on disk."""
        if not ranks.alone:
            _store(self.plan, ranks).set("execution", json.dumps(asdict(self.execution)))

    def compute(self, workers: Workers, report: Report, stop: StopRequest) -> None:
        """Compute what is to do and is this process's, checkpoints first; the network is as it was afterwards."""
        moving, folder = _moving(self.plan, self.file), str(self.plan.setup.run.folder)
        keep = self.plan.keeps_directions
        with undisturbed(self.plan.objective.model, moving.moved_tensors, keep=keep, folder=folder) as origin:
            limit = CHECKPOINT_EXAMPLES if self.plan.sampled else None
            plane = partial(self.plan.plane, moving, self.directions, origin=origin, limit=limit)
            self._compute(plane, workers, report, stop)

    def _compute(
        self, plane_of: Callable[[Forward], LossPlane], workers: Workers, report: Report, stop: StopRequest
    ) -> None:
        forward = Forward(self.plan.objective, self.execution, report.say_own)
        variant, grid = self.plan.setup.run.variant, self.file.grid
        plane = plane_of(forward)
        point = self._point(plane, report)
        forward.mention(self.plan.objective.doubts)
        if self.checkpoints:
            with report.track(f"checkpoints of {variant}", len(self.checkpoints), "checkpoints") as track:
                self.file.waypoints = measure_waypoints(plane, self.checkpoints, track, stop, own=self.plan.checkpoint)
            workers.save()
        with report.track(f"scanning {variant}", grid.status.size, "points", grid.done) as track:
            for points in self._stages():
                self._share(points, point, workers, track, stop)
        forward.mention(plane.prefix.doubts if plane.prefix else [])
        self.file.attributes |= plane.prefix.attributes() if plane.prefix else {}
        self.file.attributes |= forward.plan.attributes() | attributes_of_products(plane.treatment.module)

    def _share(
        self, points: Sequence[Index], point: PointFunction, workers: Workers, track: Track, stop: StopRequest
    ) -> None:
        """Compute some points, until those of all processes are known."""
        for block in workers.claims(points):
            found = {}
            for index in block:
                found[index] = point(index)
                if stop:
                    break
            track.reach(workers.keep(found))
            if stop:
                workers.save()
            stop.obey()
        while not workers.finish():
            stop.obey()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _stages(self) -> list[list[Index]]:
        """What is to do; of a sampled scan the coarse points, which the others need, before these."""
        todo = self.file.grid.todo()
        if not self.plan.sampled:
            return [todo]
        lattice = Lattice(self.file.grid.status.shape)
        return [[index for index in todo if (index in lattice) == coarse] for coarse in (True, False)]

    def _point(self, plane: LossPlane, report: Report) -> PointFunction:
        if not self.plan.sampled:
            return lambda index: plane(**self.file.grid.where(index))
        return sampled_plane(self.plan, self.file, plane, self.execution, report.say_own)

    def judge(self, report: Report) -> None:
        """The sanity report, on screen and in the file."""
        results = self.file.dataset()
        said, found = facts(results), findings(results)
        self.file.attributes |= {"report": "\n".join(said), "sanity": "\n".join(found)}
        self.file.save()
        for line in said:
            report.say(f"  {line}")
        for line in found:
            report.say(f"  warning: {line}")


def open_scan(plan: ScanPlan) -> Scan:
    """The scan of a plan: the one that its file holds, or a new one.

    Raises:
        RequestError: the file holds another scan, or points that have no place in this one.
    """
    return _resumed(plan) if has_points(plan.setup.run, plan.config.name) else _begun(plan)


def join_scan(plan: ScanPlan, ranks: Ranks) -> Scan:
    """The scan that the first process opened, for another one."""
    execution = ExecutionPlan(**json.loads(_store(plan, ranks).get("execution")))
    file = ScanFile.load(plan.setup.run, plan.config.name)
    return Scan(plan, file, _saved_directions(plan, file), execution)


def _begun(plan: ScanPlan) -> Scan:
    setup, name = plan.setup, plan.config.name
    attributes = scan_attributes(setup, plan.checkpoint, plan.ordered)
    found = plan.directions()
    grid = _grid(plan, found.ranges, found.ones)
    for path in setup.run.block_files(name):
        path.unlink()  # of a scan whose file somebody deleted
    directions = setup.run.directions_file(name)
    if plan.keeps_directions:
        save_tensors(directions, plan.subspace.to_tensors(found.vectors))
    execution = plan.execution(grid.status.size, found.subspace)
    attributes |= {
        **found.facts,
        **attributes_of_products(plan.objective.model),
        **({"trajectory": 1} if found.is_path else {}),
    }
    attributes |= direction_attributes(plan.subspace, found.vectors)
    digest = sha256(directions) if plan.keeps_directions else found.digest
    attributes |= {"directions_sha256": digest, "moved": "\n".join(sorted(found.subspace.moved))}
    attributes |= execution.attributes()
    attributes["by_batch"] = int(plan.treatment.by_batch)
    file = ScanFile(setup.run, name, grid, attributes)
    if plan.sampled:
        begin_sampled(plan, file, found.subspace, found.vectors, execution)
    return Scan(plan, file, found.vectors, execution, _with_own(plan.checkpoint, found.waypoints))


def _resumed(plan: ScanPlan) -> Scan:
    """Resume on the file's grid or a larger one; what was decided at the start is kept."""
    run, name = plan.setup.run, plan.config.name
    file = ScanFile.load(run, name)
    attributes = scan_attributes(plan.setup, plan.checkpoint, plan.ordered)
    refuse_another(file.path, file.attributes, attributes)
    directions = _saved_directions(plan, file)
    if run.block_files(name):
        file.gather()
    ends = {axis: (float(values[0]), float(values[-1])) for axis, values in file.grid.axes.items()}
    grid = _grid(plan, ends)
    grid.take_over(file.grid, str(file.path))
    if plan.sampled:
        forget_unsampled(run, name, grid)
    execution = ExecutionPlan.saved(file.attributes)
    measured = "checkpoint" in file.waypoints.sizes
    checkpoints = [] if measured else _with_own(plan.checkpoint, plan.directions().waypoints)
    file.attributes = resumed_attributes(file.attributes, attributes, measured, whole=not grid.todo())
    file.grid = grid
    return Scan(plan, file, directions, execution, checkpoints, resumes=True)


def _saved_directions(plan: ScanPlan, file: ScanFile) -> Mapping[str, Vector]:
    """The directions that a scan began with: another release of torch may draw others.

    Raises:
        RequestError: those of the file are others, or others are drawn.
    """
    path = plan.setup.run.directions_file(plan.config.name)
    if not plan.keeps_directions:
        found = plan.directions()
        refuse_other_directions(path, found.digest, file.attributes)
        return found.vectors
    refuse_other_directions(path, sha256(path), file.attributes)
    saved = load_tensors(path)
    return {axis: _moving(plan, file).from_tensors(saved, axis) for axis in plan.axes}


def _moving(plan: ScanPlan, file: ScanFile) -> Subspace:
    """What the directions of a scan may move."""
    return plan.subspace.only(set(str(file.attributes["moved"]).split("\n")))


def _store(plan: ScanPlan, ranks: Ranks) -> SharedStore:
    return ranks.store(f"{plan.setup.run.folder}/{plan.config.name}")


def _with_own(own: Checkpoint, others: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The scan's own checkpoint in its place among the others, or before them."""
    if not any(each.same_file(own) for each in others):
        return [own, *others]
    return [own if each.same_file(own) else each for each in others]


def _grid(plan: ScanPlan, automatic: Mapping[str, Interval], ones: bool = False) -> Grid:
    """The configured grid; what bounds of `auto` mean is given by axis."""
    x, y = plan.config.x, plan.config.y
    last = None if y is None else resolve(y, automatic.get("y"), ones)
    return Grid.empty(resolve(x, automatic.get("x"), ones), last, plan.quantities)
