"""Too little memory, as torch reports it on its devices."""

import torch

# On a CPU torch has no error of its own for it, and libraries of CUDA have theirs.
_TEXTS = (
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in _TEXTS)
