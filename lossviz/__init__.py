"""lossviz shows why neural networks train the way they do."""

from importlib import import_module
from typing import TYPE_CHECKING

from lossviz._version import __version__

if TYPE_CHECKING:
    from lossviz.loops.probe import Probe
    from lossviz.notebook import loss_surface

__all__ = ["Probe", "__version__", "loss_surface"]


def __getattr__(name: str) -> object:
    # torch is imported by those who need it: `lossviz --help` answers at once.
    if name == "loss_surface":
        return import_module("lossviz.notebook").loss_surface
    if name == "Probe":
        return import_module("lossviz.loops.probe").Probe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
