"""Every random number is a pure function of the experiment's seed and of what it is for."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# Where torch.Generator.get_state() of a CPU keeps the 624 words of its Mersenne Twister: uint64 each, after the seed,
# two counters and the position. A test compares the numbers with numpy's twister.
_WORDS, _FIRST_WORD = 624, 24


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose: independent for different purposes, the same on every machine.

    torch's CPU generator uses the low 32 bits of a seed only. Two purposes of one experiment start from the same
    numbers with probability 2^-32; where many streams are drawn at every step, `stream` gives ones that cannot meet.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; drawing on the CPU makes the numbers the same on every device.

    Example:
        >>> torch.equal(torch.rand(3, generator=generator(0, "init")), torch.rand(3, generator=generator(0, "init")))
        True
        >>> torch.equal(torch.rand(3, generator=generator(0, "init")), torch.rand(3, generator=generator(0, "order")))
        False
    """
    return torch.Generator().manual_seed(derive(seed, *purpose))


def stream(device: torch.device, key: int, number: int = 0) -> torch.Generator:
    """A generator whose numbers depend on all bits of its key, unlike those of `manual_seed` on a CPU.

    On a CPU the whole state of the Mersenne Twister (19,937 bits) is the output of the counter-based generator Philox
    with the key (key, number); 5 us. On CUDA, where torch's generator is Philox itself, the key is its 64-bit seed.

    Args:
        device: of the numbers.
        key: below 2^63.
        number: which of the streams of this key; on CUDA there is one only, number 0.

    Source:
        Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox).
    """
    if device.type != "cpu":
        return torch.Generator(device).manual_seed(key)
    words = np.random.Philox(key=[key, number]).random_raw(_WORDS // 2).view(np.uint32).astype(np.uint64)
    state = torch.Generator().manual_seed(0).get_state()
    state[_FIRST_WORD : _FIRST_WORD + 8 * _WORDS] = torch.from_numpy(words.view(np.uint8))
    return torch.Generator().set_state(state)


@contextmanager
def seeded(device: torch.device, seed: int, *purpose: str | int) -> Iterator[None]:
    """Run a block (dropout, noise layers) on seeded global generators and put their states back after it.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(torch.device("cpu"), 0, "dropout"):
        ...     drawn = torch.rand(2)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        number = derive(seed, *purpose)
        # torch.manual_seed would also seed the devices whose states are not put back.
        torch.default_generator.manual_seed(number)
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(number)
        yield
