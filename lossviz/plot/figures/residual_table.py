"""The table beside the figure `residual`: the errors that trainings ended with, and the published ones."""

from collections.abc import Mapping, Sequence

import numpy as np

from lossviz.plot.kit.curves import finite_mean
from lossviz.plot.kit.networks import Network, window
from lossviz.plot.series import training_note
from lossviz.results import TrainResults

_ABSENT = "–"
_HEAD = ("network", "run", "parameters", "iterations", "training error", "validation error", "best", "at")
_TEXT_COLUMNS = 2
# What there is of `published_final`, by the data that the run has in common with the paper.
_PUBLISHED: dict[str, dict[str, str]] = {
    "imagefolder": {
        "training": "Figure 4, training",
        "validation": "Figure 4, centre crop",
        "table": "Tables 2 and 3, 10 crops",
    },
    "cifar10": {
        "training": "Figure 6, training",
        "validation": "Figure 6, test",
        "table": "Table 6, test",
        "reproduction": "akamaster, best",
    },
}


def table(networks: Sequence[Network]) -> str:
    """The size, and the last and best errors in %, of every network, as Markdown.

    The training error is the mean over the last `window` minibatches, the validation error that of the last
    evaluation. Columns of published numbers are there where a run is the counterpart of a published one.
    """
    mean_over = window(networks)
    finals = [each.final for each in networks]
    names = {key: name for each in networks for key, name in _PUBLISHED.get(each.data, {}).items()}
    names = {key: name for key, name in names.items() if any(final.get(key) for final in finals)}
    rows = [
        [*_measured(each, mean_over), *(final.get(key) or _ABSENT for key in names)]
        for each, final in zip(networks, finals, strict=True)
    ]
    return _markdown([*_HEAD, *names.values()], rows) + "\n" + _remarks(mean_over, names)


def _measured(each: Network, mean_over: int) -> list[str]:
    results = each.results
    done, validation = results.sizes["step"], results.val_error.values
    known = np.isfinite(validation).any()
    best = int(np.nanargmin(np.where(np.isfinite(validation), validation, np.nan))) if known else 0
    return [
        each.label,
        each.run,
        _count(results.attrs.get("parameters")),
        training_note(TrainResults(results)) or f"{done:,}",
        _error(finite_mean(each.errors[-mean_over:])),
        _error(validation[-1]) if len(validation) else _ABSENT,
        _error(validation[best]) if known else _ABSENT,
        f"{int(results.eval_step[best]):,}" if known else _ABSENT,
    ]


def _count(parameters: int | None) -> str:
    """A number of parameters in millions, as in He et al. 2015."""
    if parameters is None:
        return _ABSENT
    millions = parameters / 1e6
    # Of a network that would round to nothing, the number itself.
    return f"{millions:.{1 if millions >= 10 else 2}f} M" if millions >= 0.01 else f"{parameters:,}"


def _error(percent: float) -> str:
    return f"{percent:.2f}" if np.isfinite(percent) else _ABSENT


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(cells[:_TEXT_COLUMNS], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[_TEXT_COLUMNS:], widths[_TEXT_COLUMNS:], strict=True)]
        return f"| {' | '.join([*left, *right])} |\n"

    rule = ["-" * width for width in widths[:_TEXT_COLUMNS]]
    rule += ["-" * (width - 1) + ":" for width in widths[_TEXT_COLUMNS:]]
    return "".join(map(line, [head, rule, *rows]))


def _remarks(mean_over: int, names: Mapping[str, str]) -> str:
    of_minibatches = f"mean over the last {mean_over:,} of them" if mean_over > 1 else "the last one"
    text = (
        f"Errors in %. Training: of the minibatches as they were trained on, augmented; {of_minibatches}.\n"
        "Validation: the last evaluation, and the best one with its iteration.\n"
    )
    if names:
        text += (
            "Figures and tables: He et al. 2015 (arXiv:1512.03385); of a figure it is the last point of the curve.\n"
        )
    if "reproduction" in names:
        text += "akamaster: best epoch, github.com/akamaster/pytorch_resnet_cifar10.\n"
    return text
