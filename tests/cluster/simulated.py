"""A pool of workers that only exist in a test: they answer, die, sleep and join as it says, in a time of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lossviz.cluster.crew import Crew
from lossviz.cluster.job import Begun, Computed, Job
from lossviz.cluster.pool import Reply, Ticket
from lossviz.cluster.tasks import Assignment, Kind
from lossviz.cluster.worker import compute
from lossviz.config import read
from lossviz.surface.file import Found
from lossviz.surface.grid import Index

FACTS = {"lossviz": "1", "code": "a", "torch": "2", "checkpoint_sha256": "c", "data_sha256": "d"}
JOB = Job(
    id="job",
    config=read("quickstart", only=["standard"])[0],
    folder="runs/a/b",
    device="cpu",
    threads=1,
    allow=(),
    axes={"x": [0.0, 1.0]},
    attributes={},
)


def loss(index: Index) -> float:
    return 100.0 * index[0] + index[1] / 3


def begun(**facts: str) -> bytes:
    return Begun(facts={**FACTS, "device": "cpu", **facts}).encode()


def computed(points: Sequence[Index], seconds: float = 0.01) -> bytes:
    return Computed.of({index: {"loss": loss(index), "seconds": seconds} for index in points}, [], {}).encode()


@dataclass
class Simulated:
    """Of the workers that are there, each does one of its tasks whenever the client waits.

    Attributes:
        speed: seconds a point takes.
        answers: instead of the usual ones, from a worker, the function that it should call, and its points.
        late: replies of workers that are not there any more.
        before: called before every wait; it may change `there` and `asleep`.
    """

    there: dict[str, list[tuple[Ticket, str, list[Index]]]] = field(default_factory=dict)
    asleep: set[str] = field(default_factory=set)
    speed: float = 0.01
    answers: Callable[[str, str, list[Index]], bytes | str | None] | None = None
    before: Callable[[], None] = lambda: None
    clock: float = 0.0
    silent_s: float = 0.0
    last_words: str = ""
    given: list[tuple[str, str, list[Index]]] = field(default_factory=list)
    dropped: list[Ticket] = field(default_factory=list)
    late: list[Reply] = field(default_factory=list)

    def workers(self) -> list[str]:
        return list(self.there)

    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket:
        points = arguments[1] if function.__name__ == "compute" else []
        assert isinstance(points, list)
        ticket = Ticket(worker, f"{len(self.given)}")
        self.given.append((worker, function.__name__, points))
        self.there[worker].append((ticket, function.__name__, points))
        return ticket

    def drop(self, ticket: Ticket) -> None:
        self.dropped.append(ticket)

    def replies(self, wait_s: float) -> list[Reply]:
        self.clock += wait_s
        self.before()
        found, self.late = self.late, []
        for name, tasks in self.there.items():
            if tasks and name not in self.asleep:
                found.append(self.reply(name, *tasks.pop(0)))
        return found

    def reply(self, name: str, ticket: Ticket, function: str, points: list[Index]) -> Reply:
        answer = self.answers(name, function, points) if self.answers else b""
        if answer == b"":
            answer = begun() if function == "begin" else computed(points, self.speed)
        return Reply(ticket, failure=answer) if isinstance(answer, str) else Reply(ticket, answer)


def kind() -> Kind[Computed, Found]:
    """Points, of which only the loss is known."""

    def found(answer: Computed, _: bytes, block: list[Index]) -> Found:
        return answer.found(block, ["loss"])

    def seconds(found: Found) -> float:
        return sum(float(values["seconds"]) for values in found.values()) / len(found)

    return Kind(compute, lambda block: (block, b""), Computed, found, lambda index: f"the point {index}", seconds)


def results(pool: Simulated, points: Sequence[Index], said: list[str] | None = None, most: int = 99) -> Iterator[Found]:
    crew = Crew(pool, (said if said is not None else []).append)
    crew.assign(Assignment(JOB, b"directions", FACTS, most))
    return (each or {} for each in crew.each(kind(), points))


POINTS: list[Index] = [(i, j) for i in range(6) for j in range(7)]
RIGHT = {index: loss(index) for index in POINTS}


def all_of(pool: Simulated, points: Sequence[Index] = POINTS, said: list[str] | None = None) -> dict[Index, float]:
    """What is found; each point once."""
    found: dict[Index, float] = {}
    for each in results(pool, points, said):
        assert not found.keys() & each.keys()
        found |= {index: float(values["loss"]) for index, values in each.items()}
    return found
