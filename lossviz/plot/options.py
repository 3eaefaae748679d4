"""How figures are drawn, whichever they are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of the command line that change what a figure shows.

    Attributes:
        log: whether losses are on a logarithmic scale; None: each figure decides.
        clip: limits beyond which the losses of surfaces are drawn as the limit; the results are not touched.
        reference: whether published curves are drawn beside the runs that they fit.
        scans: files of scans that share one figure, in this order; none: the scans of one name do.
    """

    log: bool | None = None
    clip: tuple[float, float] | None = None
    reference: bool = False
    scans: tuple[Path, ...] = ()


DEFAULT = Options()
