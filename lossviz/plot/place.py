"""Where figures go: those of a whole experiment beside its runs, others where they overwrite none of these."""

from collections.abc import Sequence
from pathlib import Path

from lossviz.plot.series import Shown

# Characters of a folder's name, before the runs are counted instead.
_LONG = 100


def figures_folder(runs: Sequence[Shown]) -> Path:
    """The folder of what is drawn of some runs, by default.

    `figures` beside the runs when these are all of the first one's experiment that are on disk, whether more are drawn
    or not; of a single run, `figures` in its own folder; of several, a folder of their names in `figures` beside them.
    """
    first = runs[0].run.folder
    beside = {config.parent.resolve() for config in first.parent.glob("*/config.yaml")}
    drawn = {each.run.folder.resolve() for each in runs}
    if beside <= drawn:
        return first.parent / "figures"
    if len(drawn) == 1:
        return first / "figures"
    names = [each.label.replace("/", "-") for each in runs]
    together = "+".join(names)
    return first.parent / "figures" / (together if len(together) <= _LONG else f"{names[0]}+{len(names) - 1}")
