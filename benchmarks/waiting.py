"""Workers that do nothing but wait, many on one event loop: `python -m benchmarks.waiting`, started by `cluster`.

They stand where the module `lossviz.cluster.worker` stands in a real worker, and answer in its form. A point
is (k, ms): it takes so many milliseconds.
"""

import _pickle
import asyncio
import json
import pickle
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

import dask
from distributed.security import Security

from lossviz.cluster.member import loopback_worker, told
from lossviz.cluster.pool import TIME_OUT_S

FACTS = {"lossviz": "waiting", "code": "waiting", "torch": "waiting"}
# What a worker of Dask does every 20 or 500 ms would be the limit where hundreds share a process.
QUIET = {"distributed.admin.system-monitor.interval": "60s", "distributed.admin.tick.interval": "60s"}
STARTED_TOGETHER = 8


async def begin(*_: object) -> bytes:
    """Take any job at once."""
    return json.dumps({"facts": {**FACTS, "device": "waiting"}}).encode()


async def compute(_job: str, points: Sequence[tuple[int, int]], _samples: bytes) -> bytes:
    """Wait as long as these points take."""
    seconds = [milliseconds / 1000 for _, milliseconds in points]
    await asyncio.sleep(sum(seconds))
    values = {"loss": [loss(point) for point in points], "seconds": seconds}
    return json.dumps({"points": points, "values": values}).encode()


def loss(point: Sequence[int]) -> float:
    """What is found at a point."""
    return point[0] / 3


async def call(pickled: bytes) -> bytes:
    """A task, see `pool.give`."""
    found: bytes = await pickle.loads(pickled)
    return found


async def _run(security: Security, address: str, folder: str, count: int) -> None:
    async with AsyncExitStack() as stack:
        workers = [loopback_worker(address, security, folder, death_timeout=2 * TIME_OUT_S) for _ in range(count)]
        for start in range(0, count, STARTED_TOGETHER):
            together = workers[start : start + STARTED_TOGETHER]
            await asyncio.gather(*(stack.enter_async_context(each) for each in together))
        await asyncio.gather(*(each.finished() for each in workers))


if __name__ == "__main__":
    given, credentials = told()
    dask.config.set(QUIET)
    # A task calls `loads` by its name in this module, which distributed does not.
    vars(_pickle)["loads"] = call
    sys.modules["lossviz.cluster.worker"] = sys.modules[__name__]
    asyncio.run(_run(credentials, given["address"], given["folder"], given["count"]))
