"""The loss surface of any network, from Python; it knows no run and no configuration file."""

from lossviz.notebook.surface import loss_surface

__all__ = ["loss_surface"]
