"""`lossviz surface`: the loss on a line or plane through a trained network."""

import numpy as np

from lossviz.distributed.ranks import Ranks, ranks
from lossviz.progress import Report
from lossviz.signals import StopRequest
from lossviz.surface.attributes import split_names
from lossviz.surface.file import ScanFile
from lossviz.surface.plan import ScanPlan
from lossviz.surface.resume import unfollowed
from lossviz.surface.scan import join_scan, open_scan
from lossviz.surface.workers import workers_of


def surface(plan: ScanPlan, report: Report, stop: StopRequest, group: Ranks | None = None) -> None:
    """Scan what a plan says, or what is left of it; several processes share the points.

    Raises:
        RequestError: the checkpoint does not fit the network, or the file holds another scan.
    """
    processes, setup = group or ranks(), plan.setup
    if not processes.first:
        scan = join_scan(plan, processes)
        scan.compute(workers_of(scan.file, processes), report, stop)
        return
    scan = open_scan(plan)
    file, total = scan.file.path, scan.file.grid.status.size
    if scan.is_complete:
        report.say(f"{file}: nothing left to scan ({total:,} points)")
        scan.publish(processes)
        return
    if scan.resumes:
        said = unfollowed(scan.execution, plan.config)
        report.say(f"{file}: resuming, {scan.file.grid.done:,} of {total:,} points are there{said}")
    with setup.run.stage(f"surface-{plan.config.name}", **setup.facts(), processes=processes.world) as outcome:
        scan.file.save()
        scan.publish(processes)
        scan.compute(workers_of(scan.file, processes), report, stop)
        outcome["points"] = total
        report.say(f"{file}: {total:,} points, {_examples(plan, scan.file)}")
        scan.judge(report)


def _examples(plan: ScanPlan, file: ScanFile) -> str:
    names = split_names(plan.config.data.split)
    means = " and over ".join(
        f"{len(split):,} {name}" for name, split in zip(names, plan.ordered.values(), strict=True)
    )
    if not plan.sampled:
        return f"each the mean over {means} {plan.unit}"
    seen = sum(float(np.nansum(file.grid.values[f"{prefix}examples"])) for prefix in plan.splits)
    whole = file.grid.status.size * sum(map(len, plan.ordered.values()))
    return f"each an estimate of the mean over {means} examples, by {seen:,.0f} evaluations, {whole / seen:.3g} x fewer"
