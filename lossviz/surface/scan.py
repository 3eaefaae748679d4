"""A scan of a run: started or resumed, computed point by point, judged at the end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.point import Vector
from lossviz.files import sha256
from lossviz.progress import Report, Track
from lossviz.signals import StopRequest
from lossviz.surface.attributes import direction_attributes, scan_attributes
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.grid import Grid, Index, Interval, resolve
from lossviz.surface.plan import ScanPlan
from lossviz.surface.resume import refuse_other_directions, resumed_attributes, saved_scan
from lossviz.surface.sampled.files import SampleFiles
from lossviz.surface.sampled.lattice import Lattice
from lossviz.surface.sampled.scan import forget_unsampled
from lossviz.surface.sanity import facts, findings
from lossviz.surface.waypoints import Waypoint, waypoints_dataset
from lossviz.surface.workers import Place, Say, Workers

# Saving takes some 20 ms: at most 1 % of the time, and a kill -9 costs two seconds of work.
SECONDS_BETWEEN_SAVES = 2.0


@dataclass
class Scan:
    """A scan on its way.

    Attributes:
        plan: what is scanned.
        file: what is known of it.
        directions: by axis.
        checkpoints: to be measured beside the grid; empty where the file has them.
        resumes: whether it resumes from an existing file.
    """

    plan: ScanPlan
    file: ScanFile
    directions: Mapping[str, Vector]
    checkpoints: Sequence[Checkpoint] = ()
    resumes: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left; a scan that was stopped at its last point has not been judged."""
        return not self.file.grid.todo() and not self.checkpoints and "sanity" in self.file.attributes

    def compute(self, workers: Workers, report: Report, stop: StopRequest) -> None:
        """Compute what is to do, checkpoints first; what is found is saved now and then, and whatever happens."""
        variant, grid = self.plan.setup.run.variant, self.file.grid
        if self.checkpoints:
            with report.track(f"checkpoints of {variant}", len(self.checkpoints), "checkpoints") as track:
                self.file.waypoints = self._waypoints(workers, track, stop)
            self.file.save()
        with report.track(f"scanning {variant}", grid.status.size, "points", grid.done) as track:
            try:
                for points in self._stages():
                    self._take(workers, points, track, stop)
                    stop.obey()
            finally:  # a batch that was halved is told with the points that are there, also when others are left
                self.file.attributes |= workers.attributes()
                self.file.save()

    def _waypoints(self, workers: Workers, track: Track, stop: StopRequest) -> xr.Dataset:
        found: dict[int, Waypoint] = {}
        for each in workers.waypoints(self.checkpoints):
            found |= each
            track.reach(len(found), workers.state())
            stop.obey()
        return waypoints_dataset(self.checkpoints, [found[place] for place in range(len(self.checkpoints))])

    def _take(self, workers: Workers, points: Sequence[Index], track: Track, stop: StopRequest) -> None:
        """Put results into the grid until there are no more, or somebody asks to stop."""
        samples, saved_at = self._samples(), time.monotonic()
        for each in workers.results(points, samples):
            for index, seen in each.seen.items():  # first: a point that is known is not computed again
                samples.save(self.file.grid.place(index), seen)
            self.file.put(each.found)
            seconds = sum(float(values["seconds"]) for values in each.found.values())
            track.reach(self.file.grid.done, workers.state(), seconds)
            if stop:
                break
            if time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                self.file.save()
                saved_at = time.monotonic()

    def _samples(self) -> SampleFiles:
        return SampleFiles(self.plan.setup.run.samples_folder(self.file.name))

    def _stages(self) -> list[list[Index]]:
        """What is to do; of a sampled scan the coarse points, which the others need, before these."""
        todo = self.file.grid.todo()
        if not self.plan.sampled:
            return [todo]
        lattice = Lattice(self.file.grid.status.shape)
        return [[index for index in todo if (index in lattice) == coarse] for coarse in (True, False)]

    def judge(self) -> list[str]:
        """The sanity report, in the file and as lines for the screen."""
        results = self.file.dataset()
        said, found = facts(results), findings(results)
        self.file.attributes |= {"report": "\n".join(said), "sanity": "\n".join(found)}
        self.file.save()
        return [*said, *(f"warning: {line}" for line in found)]


def open_scan(plan: ScanPlan, place: Place, say: Say) -> Scan:
    """The scan of a plan: the one that its file holds, or a new one at a place.

    Raises:
        RequestError: the file holds another scan, or points that have no place in this one.
    """
    attributes = scan_attributes(plan.setup, plan.checkpoint, plan.ordered)
    file = saved_scan(plan.setup.run, plan.config.name, attributes)
    return _begun(plan, attributes, place, say) if file is None else _resumed(plan, attributes, file)


def begun_grid(plan: ScanPlan) -> Grid | None:
    """The points of a scan that its file goes on with; None of one that begins.

    Raises:
        RequestError: as `open_scan`.
    """
    if not plan.setup.run.surface_file(plan.config.name).exists():
        return None  # a dry run need not read the checkpoint for its checksum
    attributes = scan_attributes(plan.setup, plan.checkpoint, plan.ordered)
    file = saved_scan(plan.setup.run, plan.config.name, attributes)
    return None if file is None else _continued(plan, file)


def _begun(plan: ScanPlan, attributes: Attributes, place: Place, say: Say) -> Scan:
    setup, name = plan.setup, plan.config.name
    found = plan.directions()
    grid = _grid(plan, found.ranges, found.ones)
    for path in setup.run.block_files(name):
        path.unlink()  # of a scan whose file somebody deleted
    directions = setup.run.directions_file(name)
    if plan.keeps_directions:
        save_tensors(directions, plan.subspace.to_tensors(found.vectors))
    SampleFiles(setup.run.samples_folder(name)).discard()
    attributes |= {
        **found.facts,
        **attributes_of_products(plan.objective.model),
        **({"trajectory": 1} if found.is_path else {}),
    }
    attributes |= direction_attributes(plan.subspace, found.vectors)
    digest = sha256(directions) if plan.keeps_directions else found.digest
    attributes |= {"directions_sha256": digest, "moved": "\n".join(sorted(found.subspace.moved))}
    file = ScanFile(setup.run, name, grid, attributes)
    attributes |= place.decide(plan, file, found.vectors, say)
    attributes["by_batch"] = int(plan.treatment.by_batch)
    return Scan(plan, file, found.vectors, _with_own(plan.checkpoint, found.waypoints))


def _resumed(plan: ScanPlan, attributes: Attributes, file: ScanFile) -> Scan:
    """Resume on the file's grid or a larger one; what was decided at the start is kept."""
    directions = _saved_directions(plan, file)
    if file.run.block_files(file.name):
        file.gather()
    grid = _continued(plan, file)
    measured = "checkpoint" in file.waypoints.sizes
    checkpoints = [] if measured else _with_own(plan.checkpoint, plan.directions().waypoints)
    file.attributes = resumed_attributes(file.attributes, attributes, measured, whole=not grid.todo())
    file.grid = grid
    return Scan(plan, file, directions, checkpoints, resumes=True)


def _continued(plan: ScanPlan, file: ScanFile) -> Grid:
    """The configured grid, which may be a larger one, with what the file knows; `auto` means the ends of the file."""
    ends = {axis: (float(values[0]), float(values[-1])) for axis, values in file.grid.axes.items()}
    grid = _grid(plan, ends)
    grid.take_over(file.grid, str(file.path))
    if plan.sampled:
        forget_unsampled(plan.setup.run, plan.config.name, grid)
    return grid


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
    saved, moving = load_tensors(path), plan.subspace.only(file.moved)
    return {axis: moving.from_tensors(saved, axis) for axis in plan.axes}


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
