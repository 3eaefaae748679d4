"""A worker of `--workers`; `python -m lossviz.cluster.worker_process`. It listens on loopback alone."""

import asyncio

from distributed import Worker
from distributed.security import Security

from lossviz.cluster.member import HOST, told
from lossviz.cluster.pool import TIME_OUT_S
from lossviz.engine.allocation import keep_freed_memory


async def _run(security: Security, address: str, folder: str, name: str) -> None:
    async with Worker(
        address,
        name=name,
        nthreads=1,
        host=HOST,
        protocol="tls",
        security=security,
        dashboard=False,
        dashboard_address=f"{HOST}:0",
        memory_limit=0,
        local_directory=folder,
        death_timeout=TIME_OUT_S,
        preload=["lossviz.cluster.worker"],  # torch takes seconds, in which a worker would not answer
    ) as process:
        await process.finished()


if __name__ == "__main__":
    given, credentials = told()
    keep_freed_memory()
    asyncio.run(_run(credentials, given["address"], given["folder"], given["name"]))
