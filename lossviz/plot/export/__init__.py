"""Formats of scans that are not images."""
