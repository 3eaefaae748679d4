"""Freed memory that stays with the process, as the kernel sees it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Page faults of writing and freeing 30 times as many bytes as 4,000 pages hold.
COUNT = """
import ctypes, resource
from lossviz.engine.allocation import keep_freed_memory
kept = keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def use():
    block = libc.malloc(64 * 2**20)
    libc.memset(block, 1, 64 * 2**20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**inherited, **paths, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept == "1", int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is of Linux")
def test_a_block_that_is_freed_and_asked_for_again_needs_no_new_pages() -> None:
    """64 MiB are more than glibc keeps of itself; pages of 4 kB each time were 160,000 faults, huge ones 320."""
    kept, count = faults()
    if not kept:
        pytest.skip("the C library is not glibc")
    assert count < 32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is of Linux")
def test_a_person_s_own_settings_are_left_alone() -> None:
    kept, count = faults(MALLOC_MMAP_THRESHOLD_="1048576")
    assert not kept
    assert count >= 32
