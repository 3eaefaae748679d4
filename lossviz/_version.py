"""The version, in a file of its own: every room can read it, and nothing has to import the package from inside."""

__version__ = "0.1.0"
