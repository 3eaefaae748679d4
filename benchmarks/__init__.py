"""lossviz against the plain loop; run with `make bench`."""
