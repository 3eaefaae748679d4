"""The scheduler of `--workers`; `python -m lossviz.cluster.scheduler`. It listens on loopback alone."""

import asyncio
import json
import sys

from distributed import Scheduler
from distributed.security import Security

from lossviz.cluster.member import HOST, told
from lossviz.cluster.pool import TIME_OUT_S


async def _run(security: Security) -> None:
    address = f"{HOST}:0"
    async with Scheduler(
        host=HOST, port=0, protocol="tls", security=security, dashboard_address=address, worker_ttl=TIME_OUT_S
    ) as scheduler:
        sys.stdout.write(json.dumps({"address": scheduler.address}) + "\n")
        sys.stdout.flush()
        await scheduler.finished()


if __name__ == "__main__":
    asyncio.run(_run(told()[1]))
