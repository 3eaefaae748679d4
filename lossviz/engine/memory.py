"""Too little memory, as torch reports it on its devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lossviz.errors import Refusal, WorkError, first_line

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


@contextmanager
def explained_memory(where: str) -> Iterator[None]:
    """Say what to do about too little memory.

    Raises:
        WorkError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            advice = "lower train.micro_batch, surface.batch_size or model.width, or use another --device"
            raise WorkError(Refusal(where, f"out of memory: {first_line(error)}", advice=advice)) from error
        raise


def free_memory(device: torch.device) -> int | None:
    """Bytes of memory that a device has left for this process; None where that cannot be told.

    Of a CPU: what Linux calls available, and no more than the process's control group has left.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        return min(free, int(most) - int(used))
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return free
