"""Scans by the workers of Dask: on this machine (`--workers`) or on a cluster (`--scheduler`)."""
