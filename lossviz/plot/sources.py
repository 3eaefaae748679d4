"""The runs and scan files that `lossviz plot` was told to draw, and the folder for their figures."""

from collections.abc import Sequence
from pathlib import Path

from lossviz.errors import refuse
from lossviz.files import shown
from lossviz.official import SUFFIX
from lossviz.plot.series import PlottedRun
from lossviz.results import load_results
from lossviz.run import Run, find_runs, runs_below

# Files that a message names.
_NAMED = 5
# Characters of a folder's name, before the runs are counted instead.
_LONG = 100


def find_sources(sources: Sequence[str], only: Sequence[str] = ()) -> tuple[list[Run], tuple[Path, ...]]:
    """The runs to draw, and the scans to which these are limited, if any were named.

    Args:
        sources: folders runs/<experiment> or runs/<experiment>/<variant>; or files surface-<name>.nc in the latter,
            those that `loss_surface` saved, or surface files of the official tool (.h5).
        only: variants of the folders; all when empty.

    Raises:
        RequestError: a folder or file is not there or not of a run, or folders and files are mixed.
    """
    paths = list(dict.fromkeys(map(Path, sources)))
    files = [path for path in paths if not path.is_dir() and path.suffix in (".nc", SUFFIX)]
    folders = [path for path in paths if path not in files]
    if not files:
        return [run for path in folders for run in find_runs(path, only)], ()
    if folders or only:
        mixed = f"folder {shown(folders[0])}" if folders else f"--variant {only[0]}"
        refuse(f"{shown(files[0])} and {mixed}", "name files, or folders and their variants, not both")
    for path in files:
        if path.suffix != SUFFIX:
            _refuse_stranger(path)
    return [Run(path.parent) for path in files], tuple(files)


def figures_folder(runs: Sequence[PlottedRun]) -> Path:
    """The folder of what is drawn of some runs, by default.

    `figures` beside the runs when these are all of the first one's experiment that are on disk, whether more are drawn
    or not; of a single run, `figures` in its own folder; of several, a folder of their names in `figures` beside them.
    """
    first = runs[0].run.folder
    beside = {run.folder.resolve() for run in runs_below(first.parent)}
    drawn = {each.run.folder.resolve() for each in runs}
    if beside <= drawn:
        return first.parent / "figures"
    if len(drawn) == 1:
        return first / "figures"
    names = [each.label.replace("/", "-") for each in runs]
    together = "+".join(names)
    return first.parent / "figures" / (together if len(together) <= _LONG else f"{names[0]}+{len(names) - 1}")


def _refuse_stranger(path: Path) -> None:
    run = Run(path.parent)
    there = run.surface_files
    if path in there and run.config_file.is_file():
        return
    # What `loss_surface` saved stands alone.
    if path.is_file() and not run.config_file.is_file() and "status" in load_results(path):
        return
    accepted = ", ".join(each.name for each in there[:_NAMED]) or "runs/EXPERIMENT/VARIANT/surface-NAME.nc"
    further = f" and {len(there) - _NAMED} more beside it" if len(there) > _NAMED else ""
    refuse(shown(path), "there is no such scan of a run", accepted=f"folders of runs, or {accepted}{further}")
