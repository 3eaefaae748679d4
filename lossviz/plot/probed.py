"""What the file of a probe says: which quantities it has, and what a reader must know of them."""

import xarray as xr


def has(results: xr.Dataset, quantity: str) -> bool:
    """Whether there is something of a quantity to draw."""
    return quantity in results and results[quantity].size > 0


def note(results: xr.Dataset, diverged_at: int | None) -> str:
    """What a reader must know: where the training diverged, and whether steps are still to be measured."""
    measured, planned = results.sizes["step"], int(results.attrs["planned"])
    notes = [f"diverged at step {diverged_at}"] if diverged_at is not None else []
    if measured < planned:
        notes.append(f"partial: {measured} of {planned} steps")
    return ", ".join(notes)
