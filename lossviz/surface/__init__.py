"""Scans of the loss on lines and planes through a network."""
