"""lossviz shows why neural networks train the way they do."""

__version__ = "0.1.0"
