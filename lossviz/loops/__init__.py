"""lossviz inside somebody else's training loop: `lossviz.Probe`, and adapters for other libraries."""
