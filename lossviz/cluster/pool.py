"""The connection to a Dask scheduler: which workers there are, tasks that one of them does, and their answers."""

import asyncio
import pickle
import ssl
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future as Handle
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from urllib.request import ProxyHandler, build_opener

import distributed
from distributed.security import Security

from lossviz.cluster.guard import guard
from lossviz.errors import Refusal, WorkError, first_line

T = TypeVar("T")

# Of a scheduler that says nothing, and of a cluster without any worker: at first it is said, after two it is the end.
TIME_OUT_S = 30.0
SECONDS_BETWEEN_LOOKS = 0.5
# Once, before a scan begins; where the machine has much else to do, a second was too short for the page.
SECONDS_FOR_A_PAGE = 10.0
STEP = "name them in a YAML file in ~/.config/dask: docs/cluster.md, step 1"


@dataclass(frozen=True)
class Ticket:
    """A task that was given to a worker."""

    worker: str
    number: str


@dataclass(frozen=True)
class Reply:
    """What became of a task.

    Attributes:
        ticket: of the task.
        answer: what the worker returned; None where it failed or was lost.
        failure: why it failed, in one line; empty where it was lost, with its worker or the connection.
    """

    ticket: Ticket
    answer: bytes | None = None
    failure: str = ""


@dataclass(frozen=True)
class _Call:
    """A call that is made where its pickle is loaded.

    The scheduler unpickles the functions of tasks, and would import lossviz and torch for them: for 5 s in which it
    answers nobody, and only where they are installed. So it sees `pickle.loads` and bytes.
    """

    function: Callable[..., bytes]
    arguments: tuple[object, ...]

    def __reduce__(self) -> tuple[Callable[..., bytes], tuple[object, ...]]:
        return self.function, self.arguments


class _Client(distributed.Client):
    def __del__(self) -> None:
        """Nothing: `Pool.close` ends it. One that was never connected would wait a minute for itself, and fail."""


class Pool:
    """The workers of a scheduler, each of which is given tasks by name.

    Dask would choose the workers and repeat lost tasks by itself; here that is the client's, because a worker that
    does not fit must get none, and a task that ends its workers must not go on to the next one for ever.

    Args:
        address: of the scheduler.
        security: certificates; those of Dask's configuration unless given.
        tend: looks after processes that are this one's own; the last words of the last that ended.

    Raises:
        WorkError: the scheduler cannot be reached.
    """

    def __init__(self, address: str, security: Security | None = None, tend: Callable[[], str] = str) -> None:
        guard()
        self.address, self._tend = address, tend
        security = security or Security()
        advice = f"is it running? if it has certificates, say tls{address[3:]}; {STEP}"
        if address.startswith("tls://"):
            _refuse_certificates(address, security)
            advice = "is it running, and are distributed.comm.tls of Dask's configuration its certificates?"
        kind: type[distributed.Client] = _Client
        try:
            self._client = kind(
                address,
                security=security,
                timeout=TIME_OUT_S,
                set_as_default=False,
                deserializers=["msgpack"],
                name="lossviz",
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise WorkError(Refusal(address, f"cannot be reached: {first_line(error)}", advice=advice)) from error
        self._replies: SimpleQueue[Reply] = SimpleQueue()
        self._handles: dict[Ticket, Handle[None]] = {}
        self._members: Mapping[str, int] = {}
        self._look: Handle[Mapping[str, int]] | None = None
        self.last_words = ""
        self._looked_at = 0.0
        self._silent_since: float | None = None

    @property
    def dashboard(self) -> str:
        """The address of the dashboard; empty where it cannot be opened from here.

        The scheduler only tells of its web server, which is there without a dashboard too, and may answer its own
        machine alone.
        """
        with suppress(KeyError):
            link = str(self._client.dashboard_link)
            return link if is_dashboard(link) else ""
        return ""

    def workers(self) -> Sequence[str]:
        """Addresses of the workers as they were half a second ago.

        Raises:
            WorkError: the scheduler has not answered for two time-outs.
        """
        self.last_words = self._tend()
        now = time.monotonic()
        if self._look is not None and self._look.done():
            with suppress(Exception, asyncio.CancelledError):
                self._members, self._silent_since = self._look.result(), None
            self._look = None
        if self._look is None and now - self._looked_at > SECONDS_BETWEEN_LOOKS:
            self._look, self._looked_at = self._run(self._ask()), now
            self._silent_since = self._silent_since or now
        if self.silent_s > 2 * TIME_OUT_S or self._client.status == "closed":
            problem = "the scheduler has ended, or cannot be reached"
            raise WorkError(Refusal(self.address, problem, advice="the same command resumes from what was saved"))
        return list(self._members) if self._client.status == "running" else []

    @property
    def silent_s(self) -> float:
        """For how long the scheduler has owed an answer."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since

    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket:
        """Let a worker compute something; the answer is a `Reply` sooner or later, or never if the worker goes."""
        ticket, call = Ticket(worker, f"{function.__name__}-{uuid.uuid4().hex}"), _Call(function, arguments)
        place = {"key": ticket.number, "workers": [worker], "allow_other_workers": False}
        future = self._client.submit(pickle.loads, pickle.dumps(call), pure=False, **place)
        self._handles[ticket] = self._run(self._follow(ticket, future))
        return ticket

    def replies(self, wait_s: float) -> list[Reply]:
        """What has come; waits some seconds for the first."""
        found = []
        with suppress(Empty):
            found.append(self._replies.get(timeout=wait_s))
            while True:
                found.append(self._replies.get_nowait())
        for each in found:
            self._handles.pop(each.ticket, None)
        return found

    def drop(self, ticket: Ticket) -> None:
        """Forget a task, whose worker has gone."""
        handle = self._handles.pop(ticket, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """End the connection."""
        for ticket in list(self._handles):
            self.drop(ticket)
        with suppress(Exception):
            self._client.close(timeout=2)

    def _run(self, coroutine: Coroutine[None, None, T]) -> Handle[T]:
        loop: Any = self._client.loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)

    async def _ask(self) -> Mapping[str, int]:
        scheduler: Any = self._client.scheduler  # any of its handlers is a method
        found = await asyncio.wait_for(scheduler.ncores(), TIME_OUT_S)
        return {str(address): int(threads) for address, threads in found.items()}

    async def _follow(self, ticket: Ticket, future: "distributed.Future[bytes]") -> None:
        """Wait for a task and fetch its answer by itself: one that cannot be read must not spoil those of others."""
        state: Any = future._state
        scheduler: Any = self._client.scheduler
        try:
            await state.wait()
            reply = Reply(ticket)
            if future.status == "error":
                reply = Reply(ticket, failure=first_line(state.exception)[:500])
            elif future.status == "finished":
                found = await scheduler.gather(keys=[ticket.number])
                answer = found.get("data", {}).get(ticket.number)
                if isinstance(answer, bytes):
                    reply = Reply(ticket, answer)
                elif answer is not None:
                    reply = Reply(ticket, failure=f"the answer is no bytes but {type(answer).__name__}")
        except asyncio.CancelledError:
            raise
        except TypeError as error:  # of another form than msgpack
            reply = Reply(ticket, failure=f"the answer is not read: {first_line(error)}")
        except Exception:  # the connection is lost
            reply = Reply(ticket)
        finally:
            future.release()
        self._replies.put(reply)


def is_dashboard(link: str) -> bool:
    """Whether a dashboard opens here; without bokeh the page says what to install."""
    try:
        with build_opener(ProxyHandler({})).open(link, timeout=SECONDS_FOR_A_PAGE) as page:
            return b"Dask needs bokeh" not in page.read(10_000)
    except (OSError, ValueError, HTTPException):
        return False


def _refuse_certificates(address: str, security: Security) -> None:
    """Name a file of Dask's configuration that is missing or wrong: the errors of Dask do not.

    Raises:
        WorkError: there is one.
    """
    names = {"ca_file": "ca-file", "cert": "client.cert", "key": "client.key"}
    found = security.get_tls_config_for_role("client")
    for part, name in names.items():
        key, value = f"distributed.comm.tls.{name}", found[part]
        if not value and part != "key":  # the certificate's file may have the key
            raise WorkError(Refusal(address, f"cannot be reached: Dask's configuration has no {key}", advice=STEP))
        if value and "\n" not in value:
            try:
                Path(value).open("rb").close()
            except OSError as error:
                advice = f"it is {key} of Dask's configuration, which needs a full path: docs/cluster.md, step 1"
                raise WorkError(Refusal(value, f"cannot be read: {error.strerror}", advice=advice)) from error
    try:
        security.get_connection_args("client")
    except ssl.SSLError as error:
        files = ", ".join(dict.fromkeys(value for part in names if (value := found[part]) and "\n" not in value))
        advice = "they are distributed.comm.tls of Dask's configuration: docs/cluster.md, step 1"
        raise WorkError(
            Refusal(files, f"are no certificates with their key: {first_line(error)}", advice=advice)
        ) from error
