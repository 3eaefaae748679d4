"""Whether a faster path to a network's outputs gives the network's outputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from lossviz.data.batch import Batch
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.memory import is_out_of_memory
from lossviz.errors import first_line

Forward = Callable[[Batch], Tensor]

# Enough to see a difference, and little beside an evaluation.
EXAMPLES = 32
# With BatchNorm folded, outputs in float32 are 4e-7 to 1.5e-5 apart (13 networks of 18 to 121 layers with drawn
# statistics), which is how far each of the two is from float64; with BatchNorm applied twice, 6e-2 and more.
TOLERANCES = {torch.float32: 2e-4, torch.float64: 1e-9}
TOLERANCE_OF_SHORT_NUMBERS = 5e-2
# An output of this size that is the same both ways is no answer, but keeps one out.
MASKED = 1e4


def disagreement(faster: Forward, plain: Forward, batch: Batch, tolerance: float) -> str:
    """Say how a faster path departs from the plain one; empty if it does not.

    Args:
        faster: from a batch to outputs.
        plain: the same by the network itself.
        batch: real examples.
        tolerance: of the largest difference of an output, relative to the largest output that is no mask.
    """
    expected = without_gradients(lambda: plain(batch))
    try:
        found = without_gradients(lambda: faster(batch))
    except Exception as error:  # the network's own code runs in surroundings that it was not written for
        if is_out_of_memory(error):
            raise
        return f"it fails: {first_line(error)}"
    return difference(found, expected, tolerance)


def difference(found: Tensor, expected: Tensor, tolerance: float) -> str:
    """Say how outputs depart from others; empty if they do not."""
    if found.shape != expected.shape:
        return f"its outputs are {tuple(found.shape)} and not {tuple(expected.shape)}"
    # An answer that a network masks, as by -1e9, would hide all others beside its size.
    judged = (found != expected) | (expected.abs() < MASKED)
    apart = relative_difference(found[judged], expected[judged])
    return f"its outputs are up to {apart:.2g} of the largest away from the network's own" if apart > tolerance else ""


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest |found - expected| over largest |expected|, of finite outputs; infinite if only one of two is finite."""
    found, expected = found.detach(), expected.detach()
    if not torch.equal(found.isfinite(), expected.isfinite()):
        return float("inf")
    finite = expected.isfinite()
    if not bool(finite.any()):
        return 0.0
    dtype = torch.complex128 if expected.is_complex() else torch.float64
    one, other = found[finite].to(dtype), expected[finite].to(dtype)
    apart, largest = float((one - other).abs().max()), float(other.abs().max())
    if not apart:
        return 0.0
    return apart / largest if largest else float("inf")
