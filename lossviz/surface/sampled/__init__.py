"""Scans with `surface.accuracy`: each point takes as many examples as its standard error needs."""
