"""Data sets, one a file, and the minibatch as a function of the step."""
