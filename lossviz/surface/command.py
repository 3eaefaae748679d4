"""`lossviz surface`: the loss on a line or plane through a trained network."""

from contextlib import ExitStack

import numpy as np

from lossviz.progress import Report
from lossviz.signals import StopRequest
from lossviz.surface.attributes import split_names
from lossviz.surface.file import ScanFile
from lossviz.surface.forward import ExecutionPlan
from lossviz.surface.plan import ScanPlan
from lossviz.surface.resume import unfollowed
from lossviz.surface.scan import open_scan
from lossviz.surface.workers import HERE, Place


def surface(plan: ScanPlan, report: Report, stop: StopRequest, place: Place = HERE) -> None:
    """Scan what a plan says, or what is left of it, at a place.

    Raises:
        RequestError: the checkpoint does not fit the network, or the file holds another scan.
    """
    setup = plan.setup
    with stop.at_once():
        scan = open_scan(plan, place, report.say)
    file, total = scan.file.path, scan.file.grid.status.size
    if scan.is_complete:
        report.say(f"{file}: nothing left to scan ({total:,} points)")
        return
    if scan.resumes:
        said = unfollowed(ExecutionPlan.saved(scan.file.attributes), plan.config)
        report.say(f"{file}: resuming, {scan.file.grid.done:,} of {total:,} points are there{said}")
    with setup.run.stage(f"surface-{plan.config.name}", **setup.facts()) as outcome:
        scan.file.save()
        with ExitStack() as stack:
            with stop.at_once():
                opened = place.workers(plan, scan.file, scan.directions, report.say)
                workers = stack.enter_context(opened)
            try:
                scan.compute(workers, report, stop)
            finally:
                outcome["processes"] = workers.count()
        outcome["points"] = total
        judged = scan.judge()
    # When all is saved and on record: who reads it may have gone, as `head` does.
    report.say(f"{file}: {total:,} points, {_examples(plan, scan.file)}")
    for line in judged:
        report.say(f"  {line}")


def _examples(plan: ScanPlan, file: ScanFile) -> str:
    names = split_names(plan.config.data.split)
    means = " and over ".join(
        f"{len(split):,} {name}" for name, split in zip(names, plan.ordered.values(), strict=True)
    )
    if not plan.sampled:
        return f"each the mean over {means} {plan.unit}"
    seen = sum(float(np.nansum(file.grid.values[f"{prefix}examples"])) for prefix in plan.splits)
    whole = file.grid.status.size * sum(map(len, plan.ordered.values()))
    return f"each an estimate of the mean over {means} examples, from {seen:,.0f} seen, {whole / seen:.3g} x fewer"
