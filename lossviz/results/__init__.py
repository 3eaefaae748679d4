"""Result files, and what each kind of them says: names, units and meanings in one place; imports no torch."""

from lossviz.results.files import (
    CURVES,
    MEASUREMENTS,
    SURFACE,
    attributes,
    in_units,
    load_results,
    protocol,
    save_results,
    variable,
)
from lossviz.results.kinds import ProbeResults, Results, TrainResults
from lossviz.results.surface import DONE, NOT_FINITE, STATUS, TO_DO, SurfaceResults, difference_stderr

__all__ = [
    "CURVES",
    "DONE",
    "MEASUREMENTS",
    "NOT_FINITE",
    "STATUS",
    "SURFACE",
    "TO_DO",
    "ProbeResults",
    "Results",
    "SurfaceResults",
    "TrainResults",
    "attributes",
    "difference_stderr",
    "in_units",
    "load_results",
    "protocol",
    "save_results",
    "variable",
]
