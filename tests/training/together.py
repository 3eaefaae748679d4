"""Several processes that train together, with the environment that torchrun gives its own."""

import os
import socket
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from lossviz.engine.checkpoint import load_tensors
from lossviz.errors import LossvizError
from lossviz.setup import Setup
from lossviz.signals import Stopped
from tests.faults.launch import CONTEXT

Work = Callable[[int], object]
"""What a process does, from its rank."""


def together(world: int, work: Work, said: Path | None = None) -> list[int]:
    """Do some work in so many processes at once; their exit statuses, by rank.

    lossviz's errors and requests to stop end a process as they end the command, killed ones have minus their signal,
    and 99 is a bug. What the first process says last goes to a file.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [CONTEXT.Process(target=_rank, args=(rank, world, port, work, said)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
            raise AssertionError("the processes wait for one another")
    return [process.exitcode or 0 for process in processes]


def _rank(rank: int, world: int, port: int, work: Work, said: Path | None) -> None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    os.environ.update(zip(names, map(str, (rank, world, rank, "127.0.0.1", port)), strict=True))
    torch.set_num_threads(1)
    try:
        work(rank)
    except Stopped as stopped:
        os._exit(stopped.exit_status)
    except LossvizError as error:
        if said and rank == 0:
            said.write_text(str(error), encoding="utf-8")
        os._exit(error.exit_status)
    except BaseException:
        traceback.print_exc()
        os._exit(99)


def assert_same_network(ours: Setup, theirs: Setup, but: Sequence[str] = ()) -> None:
    """Compare the last networks tensor by tensor, each relative to its largest entry."""
    found, expected = (load_tensors(each.run.checkpoint_file(each.train.steps)) for each in (ours, theirs))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.split(".")[-1] not in but:
            scale = float(tensor.abs().max()) or 1.0
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-11 * scale, msg=name)
