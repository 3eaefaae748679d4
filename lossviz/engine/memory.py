"""Too little memory, as torch reports it on its devices."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    # On a CPU torch has no error of its own for it.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
