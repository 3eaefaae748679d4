"""Which command makes the results that a figure lacks."""

from collections.abc import Sequence

from lossviz.results import load_results
from lossviz.run import Run

_MEASURES = {
    "landscape": "landscape",
    "activations": "activations",
    "moments": "activations",
    "shift": "shift",
    "sharpness": "sharpness",
}
_RESIDUAL = ("resnet", "resnet-imagenet")
_WHOLE_PATH = "--set 'surface.x=[auto, auto, 51]' --set 'surface.y=[auto, auto, 51]'"
# What a figure needs of the scans, and the settings of one that has it.
_PLANE = ("plane", "--set surface.name=plane --set 'surface.x=[-1, 1, 21]' --set 'surface.y=[-1, 1, 21]'")
_SCANS = {
    "contour": _PLANE,
    "heatmap": _PLANE,
    "3d": _PLANE,
    "line": ("line", "--set surface.name=line --set surface.y=null"),
    "difference": ("planes of one name in both runs", "--set surface.name=main"),
    "seeds": (
        "lines that differ in surface.directions.seed only",
        "--set surface.name=seed1 --set surface.y=null --set 'surface.directions={kind: random, seed: 1}', and further "
        "ones with another name and seed",
    ),
    "convexity": (
        "plane with hessian_min and hessian_max",
        "--set surface.name=convexity --set 'surface.metrics=[hessian]' --set 'surface.y=[-1, 1, 21]' "
        "--set 'surface.x=[-1, 1, 21]'",
    ),
    "trajectory": (
        "plane with the path of the checkpoints",
        f"--set surface.name=trajectory --set 'surface.directions={{kind: pca}}' {_WHOLE_PATH}",
    ),
}


def missing_results(figures: Sequence[str], runs: Sequence[Run]) -> str:
    """What the runs lack for some figures, and the commands that make it."""
    places = list(dict.fromkeys(str(run.folder.parent) for run in runs)) if len(runs) > 1 else [str(runs[0].folder)]
    found: dict[str, list[str]] = {}
    for name in figures:
        if name == "training":
            lack = _lack("train.nc", [run.command("train", run.config_file) for run in runs])
        elif name == "residual":
            of_family = [run for run in runs if run.config_file.is_file() and run.config().model.name in _RESIDUAL]
            commands = [run.command("train", run.config_file) for run in of_family] or ["train resnet-fig6-small"]
            lack = _lack(f"train.nc with errors of a model {' or '.join(_RESIDUAL)}", commands)
        elif name == "surface" or (name in _SCANS and not any(run.surface_files for run in runs)):
            lack = _lack("surface-*.nc", [f"surface {place}" for place in places])
        elif name in _SCANS:
            what, settings = _SCANS[name]
            lack = _lack(what, [f"surface {place} {settings}" for place in places], doubt="")
        else:
            lack = _lack_of_measure(_MEASURES[name], runs, places)
        found.setdefault(lack, []).append(name)
    lines = [f"{', '.join(places)}: nothing to draw"]
    return "\n".join([*lines, *(f"  {', '.join(names)}: {lack}" for lack, names in found.items())])


def _lack_of_measure(measure: str, runs: Sequence[Run], places: Sequence[str]) -> str:
    if not any(_is_probed(run) for run in runs):
        return _lack("probe.nc", [f"probe {place}{_settings(measure, runs[0])}" for place in places])
    # At every step as before: a probe of the folder would measure at its checkpoints only.
    commands = [f"{run.command('probe', run.config_file)}{_settings(measure, run)} --fresh" for run in runs]
    return _lack(f"{measure} in probe.nc", commands)


def _lack(what: str, commands: Sequence[str], doubt: str = ", or nothing in it yet") -> str:
    further = [command.split()[1] for command in commands[1:]]
    likewise = f" (and the same for {', '.join(further)})" if further else ""
    return f"no {what}{doubt}; made by: lossviz {commands[0]}{likewise}"


def _settings(measure: str, run: Run) -> str:
    """Options that add a measure to those that a run has."""
    config = run.config().probe
    text = ""
    if measure not in config.measures:
        text = f" --set 'probe.measures=[{', '.join([*config.measures, measure])}]'"
    if measure in ("shift", "activations") and not config.layers:
        text += " --set 'probe.layers=[2, 9]'"
    return text


def _is_probed(run: Run) -> bool:
    return run.probe_file.exists() and load_results(run.probe_file).sizes["step"] > 0
