"""Curves that papers published, and which runs they are the counterpart of; recipes.yaml holds the latter."""
