"""A worker of `--workers`; `python -m lossviz.cluster.worker_process`. It listens on loopback alone."""

import asyncio

from distributed.security import Security

from lossviz.cluster.member import loopback_worker, told
from lossviz.cluster.pool import TIME_OUT_S
from lossviz.engine.allocation import keep_freed_memory


async def _run(security: Security, address: str, folder: str, name: str) -> None:
    async with loopback_worker(
        address,
        security,
        folder,
        name=name,
        death_timeout=TIME_OUT_S,
        preload=["lossviz.cluster.worker"],  # torch takes seconds, in which a worker would not answer
    ) as process:
        await process.finished()


if __name__ == "__main__":
    given, credentials = told()
    keep_freed_memory()
    asyncio.run(_run(credentials, given["address"], given["folder"], given["name"]))
