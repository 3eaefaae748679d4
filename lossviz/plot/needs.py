"""The results that figures need, and the commands that make the missing ones."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lossviz.config import Config
from lossviz.config.measures import MEASURES
from lossviz.plot.published.curves import published
from lossviz.plot.series import Options, PlottedRun, Series, lines, planes, probe_note, training_note
from lossviz.results import ProbeResults, TrainResults

_NOTHING_YET = ", or nothing in it yet"


@dataclass(frozen=True)
class Trained:
    """The contents of train.nc, with the published counterparts of a figure.

    Attributes:
        remark: what a reader must know of a run, from its label and configuration.
    """

    remark: Callable[[str, Config], str]
    of_scans = False

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        series = []
        for each in runs:
            if each.trained is None or TrainResults(each.trained).is_empty:
                continue
            note = training_note(TrainResults(each.trained))
            remark = self.remark(each.label, each.config) if each.config else ""
            curves = published(name, each.config) if options.reference and each.config else {}
            series.append(Series(each.label, each.look, each.trained, note, remark, published=curves))
        return {name: series} if series else {}

    def lack(self, runs: Sequence[PlottedRun]) -> str:
        if of_a_loop(runs):
            return "no train.nc, or nothing in it yet; made by: lossviz.Probe.record, in the loop"
        return lacking("train.nc", [each.run.command("train") for each in runs])


@dataclass(frozen=True)
class Probed:
    """The contents of probe.nc, where they have a quantity.

    Attributes:
        quantity: a variable.
        measure: of `probe.measures`, which makes it.
    """

    quantity: str
    measure: str
    of_scans = False

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        series = []
        for each in runs:
            if each.probed is None or not self.fits(ProbeResults(each.probed)):
                continue
            trained = None if each.trained is None else TrainResults(each.trained)
            curves = published(name, each.config) if options.reference and each.config else {}
            note = probe_note(ProbeResults(each.probed), trained)
            series.append(Series(each.label, each.look, each.probed, note, trained=each.trained, published=curves))
        return {name: series} if series else {}

    def fits(self, results: ProbeResults) -> bool:
        """Whether there is something to draw."""
        return results.has(self.quantity)

    def lack(self, runs: Sequence[PlottedRun]) -> str:
        if of_a_loop(runs):
            return f"no {self.measure} in probe.nc; made by: lossviz.Probe, in the loop, with it among its measures"
        begun = any(each.probed is not None and ProbeResults(each.probed).measured for each in runs)
        trainings = [each.config.train for each in runs if each.config and each.config.train]
        needy = MEASURES[self.measure].optimizer and any(train.remembers for train in trainings)
        if not begun and not needy:
            return lacking("probe.nc", _commands("probe", runs, self._settings(runs[0])))
        # Along the training: a probe of the folder would measure at its checkpoints only, which have no momentum.
        commands = [f"{each.run.command('probe')}{self._settings(each)}{' --fresh' if begun else ''}" for each in runs]
        return lacking(f"{self.measure} in probe.nc" if begun else "probe.nc", commands)

    def _settings(self, each: PlottedRun) -> str:
        """Options that add the measure to those that a run has."""
        config, text = each.run.config().probe, ""
        if self.measure not in config.measures:
            text = f" --set 'probe.measures=[{', '.join([*config.measures, self.measure])}]'"
        if MEASURES[self.measure].layers and not config.layers:
            text += " --set 'probe.layers=[2, 9]'"
        return text


@dataclass(frozen=True)
class Scans:
    """Scans of any kind.

    Attributes:
        what: they are, in a message.
        settings: options of `lossviz surface` that make what a run lacks.
    """

    what: str = ""
    settings: str = ""
    of_scans = True

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        found = [*planes(runs, options.scans).items(), *lines(runs, options.scans).items()]
        return {f"{stem}-{name}": series for stem, series in found}

    def lack(self, runs: Sequence[PlottedRun]) -> str:
        if of_a_loop(runs):
            return "no surface-*.nc; lossviz.loss_surface scans a network from Python"
        if not self.what or not any(each.run.surface_files for each in runs):
            return lacking("surface-*.nc", _commands("surface", runs))
        return lacking(self.what, _commands("surface", runs, f" {self.settings}"), doubt="")


@dataclass(frozen=True)
class Lines(Scans):
    """Scans with x only."""

    what: str = "line"
    settings: str = "--set surface.name=line --set surface.y=null"

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        return {f"{stem}-{name}": series for stem, series in lines(runs, options.scans).items()}


@dataclass(frozen=True)
class Planes(Scans):
    """Scans with x and y.

    Attributes:
        fits: whether one has what the figure shows.
    """

    what: str = "plane"
    settings: str = "--set surface.name=plane --set 'surface.x=[-1, 1, 21]' --set 'surface.y=[-1, 1, 21]'"
    fits: Callable[[Series], bool] = lambda _: True

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        found = planes(runs, options.scans)
        kept = {f"{stem}-{name}": [each for each in series if self.fits(each)] for stem, series in found.items()}
        return {stem: series for stem, series in kept.items() if series}


def of_a_loop(runs: Sequence[PlottedRun]) -> bool:
    """Whether one of the runs comes from a user's own loop, which no command can run."""
    return any(each.config is None for each in runs)


def folders(runs: Sequence[PlottedRun]) -> list[str]:
    """The experiments of some runs, or the folder of a single one: what `lossviz surface` and `probe` take."""
    several = len(runs) > 1
    return list(dict.fromkeys(str(each.run.folder.parent if several else each.run.folder) for each in runs))


def _commands(verb: str, runs: Sequence[PlottedRun], settings: str = "") -> list[str]:
    return [f"{verb} {shlex.quote(place)}{settings}" for place in folders(runs)]


def lacking(what: str, commands: Sequence[str], doubt: str = _NOTHING_YET) -> str:
    """Say what is missing and which commands make it."""
    further = [shlex.quote(shlex.split(command)[1]) for command in commands[1:]]
    likewise = f" (and the same for {', '.join(further)})" if further else ""
    return f"no {what}{doubt}; made by: lossviz {commands[0]}{likewise}"
