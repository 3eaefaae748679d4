"""Measurements along the gradient, one a file."""
