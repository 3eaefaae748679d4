"""The schema of a configuration, and reading it from YAML; imports neither torch nor xarray."""

from lossviz.config.experiment import Config
from lossviz.config.reading import read

__all__ = ["Config", "read"]
