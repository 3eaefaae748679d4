"""One uniform and one normal number for every element of a tensor, on all cores."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from lossviz.seeding import stream

# Numbers that one generator draws. Blocks, and so the numbers, do not depend on the number of threads: two of
# them draw 3.5 ns an element instead of 6.3.
BLOCK = 1 << 17


def uniform_and_normal(like: Tensor, reach: float, deviation: float, key: int) -> tuple[Tensor, Tensor]:
    """U(-reach, reach) and N(0, deviation^2) for every element, a pure function of the key and the element's place.

    The place is counted in the order (N, H, W, C) whatever the layout of the tensor; and torch fills contiguous
    memory 3 x faster than any other on a CPU. On CUDA, one generator fills all at once.

    Args:
        like: (N, C) or (N, C, H, W); gives shape, dtype and device.
        reach: of the uniform numbers.
        deviation: standard deviation of the normal numbers.
        key: a whole number below 2^62.
    """
    count, channels, *space = like.shape
    uniform, normal = (like.new_empty((count, *space, channels)) for _ in range(2))
    flat = uniform.view(-1), normal.view(-1)
    on_cpu = like.device.type == "cpu"
    size = BLOCK if on_cpu else max(1, like.numel())

    def fill(block: int) -> None:
        part = slice(block * size, (block + 1) * size)
        draws = stream(like.device, key, block)
        flat[0][part].uniform_(-reach, reach, generator=draws)
        flat[1][part].normal_(0.0, deviation, generator=draws)

    blocks = range(-(-like.numel() // size))
    if on_cpu and len(blocks) > 1:
        list(_pool(torch.get_num_threads()).map(fill, blocks))
    else:
        for block in blocks:
            fill(block)
    return uniform.movedim(-1, 1), normal.movedim(-1, 1)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="draws")
