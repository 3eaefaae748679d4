"""What a crew is told: a kind of tasks, an assignment, and what it needs of the pool."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lossviz.cluster.job import VERSIONS, Answer, Begun, Job, plain
from lossviz.cluster.pool import Reply, Ticket
from lossviz.surface.grid import Index


class Dealing(Protocol):
    """What a crew needs of a `Pool`."""

    @property
    def silent_s(self) -> float: ...

    @property
    def last_words(self) -> str: ...

    def workers(self) -> Sequence[str]: ...
    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket: ...
    def replies(self, wait_s: float) -> list[Reply]: ...
    def drop(self, ticket: Ticket) -> None: ...


A = TypeVar("A")
F = TypeVar("F", bound=Answer)


@dataclass(frozen=True)
class Kind(Generic[F, A]):
    """One kind of tasks: what is to be done with points of a grid, or with whatever else has an index.

    Attributes:
        function: of `worker`; its first argument is the id of the job.
        arguments: the others, for some indices.
        form: of its answer.
        read: from an answer, what is behind it, and the indices, to what was found; raises ValueError if it is wrong.
        what: an index in words.
        seconds: what one index took; None where each is a task of its own.
    """

    function: Callable[..., bytes]
    arguments: Callable[[list[Index]], tuple[object, ...]]
    form: type[F]
    read: Callable[[F, bytes, list[Index]], A]
    what: Callable[[Index], str]
    seconds: Callable[[A], float] | None = None


@dataclass
class Member:
    """A worker.

    Attributes:
        ready: whether it has the job.
        refused: why it gets no task.
        given: the indices of its open tasks; none for a task that only begins the job.
        busy_since: when it was last given a task, or has answered one.
    """

    ready: bool = False
    refused: str = ""
    given: dict[Ticket, list[Index]] = field(default_factory=dict)
    busy_since: float = 0.0


INSTALL = "install the same one there, and start the worker again"


@dataclass
class Assignment:
    """What the members have to know.

    Attributes:
        job: of the scan.
        directions: a safetensors file; empty where they are drawn by the workers.
        facts: what each of them must find: versions, checkpoint, data, ...
        most: how many of them are needed.
    """

    job: Job
    directions: bytes
    facts: Mapping[str, object]
    most: int = 10**9

    def misfit(self, answer: Begun) -> str:
        """Why a worker that has begun cannot compute what the others do, and what to do; empty if it can."""
        wrong = [name for name, value in self.facts.items() if answer.facts.get(name) != value]
        versions = [name for name in wrong if name in VERSIONS]
        if versions == ["code"]:
            return f"its lossviz {self.facts['lossviz']} has other code: {INSTALL}"
        if versions:
            return f"{self._differences(answer, [name for name in versions if name != 'code'])}: {INSTALL}"
        there = f"its relative paths begin in {answer.facts.get('folder')}, where it was started"
        if answer.problem and answer.problem.request:  # the advice is for the command, which found what it needs
            heads = [line.splitlines()[0] for line in answer.problem.lines]
            return f"{'; '.join(heads)}; {there}: start it again in the folder of the experiment"
        if answer.problem:
            return " ".join(answer.problem.lines)
        return f"{self._differences(answer, wrong)}; {there}" if wrong else ""

    def _differences(self, answer: Begun, names: Sequence[str]) -> str:
        there, here = ({name: _short(each.get(name)) for name in names} for each in (answer.facts, self.facts))
        return ", ".join(f"its {name} is {there[name]}, and not {here[name]}" for name in names)


def _short(value: object) -> str:
    text = plain(str(value))
    return text if len(text) < 60 else f"{text[:20]}...{text[-8:]}"
