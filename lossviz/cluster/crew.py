"""Who of the workers computes what: blocks of points, lost ones again, and workers that do not fit."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lossviz.cluster.job import VERSIONS, Begun, Computed, Job, plain
from lossviz.cluster.pool import TIME_OUT_S, Reply, Ticket
from lossviz.cluster.worker import begin, compute
from lossviz.errors import Refusal, RequestError, WorkError
from lossviz.surface.file import Attributes, Found
from lossviz.surface.grid import Index

# A task took 2 to 14 ms beside its points (TLS, two cores): 1 % of this.
SECONDS_A_TASK = 1.5
# The client needs 1.2 ms for each task, and should not be busy for more than a third of the time.
CLIENT_SECONDS_A_TASK = 0.004
# Near the end nobody should get what the others could have done meanwhile.
SHARE_OF_THE_REST = 4
WAIT_S = 0.2
# So often in a row, while nothing else was finished, a block may be lost with its worker.
LOSSES = 3
# Directions that are on their way to workers at one time.
BYTES_ON_THE_WAY = 2**30


class Dealing(Protocol):
    """What a crew needs of a `Pool`."""

    @property
    def silent_s(self) -> float: ...

    def workers(self) -> Sequence[str]: ...
    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket: ...
    def replies(self, wait_s: float) -> list[Reply]: ...
    def drop(self, ticket: Ticket) -> None: ...


@dataclass
class Member:
    """A worker.

    Attributes:
        ready: whether it has the job.
        refused: why it gets no task.
        given: the points of its open tasks; none for a task that only begins the job.
    """

    ready: bool = False
    refused: str = ""
    given: dict[Ticket, list[Index]] = field(default_factory=dict)


class Crew:
    """The workers of one scan.

    Args:
        pool: where they are.
        job: of the scan.
        directions: a safetensors file; empty where they are drawn by the workers.
        facts: what each of them must find: versions, checkpoint, data, ...
        names: of the quantities at a point.
        say: told of workers that do not fit, of doubts that they have, and of waiting.

    Attributes:
        members: by address.
        retries: how many tasks were lost.
        attributes: how the workers computed, for the result file.
        devices: on which.
    """

    def __init__(
        self,
        pool: Dealing,
        job: Job,
        directions: bytes,
        facts: Mapping[str, object],
        names: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self.pool, self.job, self._directions, self._facts, self._names = pool, job, directions, facts, names
        self._say = say
        self.members: dict[str, Member] = {}
        self.retries = 0
        self.attributes: Attributes = {}
        self.devices: dict[str, None] = {}
        self._said: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._seconds_a_point = 0.0
        self._idle_since = time.monotonic()
        self._said_at = self._idle_since

    @property
    def ready(self) -> int:
        """How many workers have the job."""
        return sum(each.ready for each in self.members.values())

    def results(self, points: Sequence[Index]) -> Iterator[Found]:
        """What is found at some points, in any order; nothing now and then.

        Raises:
            RequestError: no worker fits.
            WorkError: there are no workers, or one block ends all that get it.
        """
        todo, missing = deque(points), set(points)
        while missing:
            self._muster(todo)
            self._deal(todo)
            for reply in self.pool.replies(WAIT_S):
                found = self._take(reply, todo)
                missing.difference_update(found)
                yield found
            yield {}

    def _muster(self, todo: deque[Index]) -> None:
        """See who came and who went."""
        there = self.pool.workers()
        for address in self.members.keys() - set(there):
            gone = self.members.pop(address)
            for ticket, block in gone.given.items():
                self.pool.drop(ticket)
                self._lose(block, todo)
        for address in there:
            self.members.setdefault(address, Member())
        if any(each.ready or each.given for each in self.members.values()):
            self._idle_since = self._said_at = time.monotonic()
        elif self.members and all(each.refused for each in self.members.values()):
            reasons = [f"{name}: {each.refused}" for name, each in self.members.items()]
            raise RequestError(*[Refusal("no worker fits this scan", "; ".join(reasons[:4]))])
        else:
            self._wait()

    def _wait(self) -> None:
        now = time.monotonic()
        if now - self._idle_since > 2 * TIME_OUT_S:
            advice = "start some; the same command resumes from what was saved"
            raise WorkError(Refusal(f"no worker for {2 * TIME_OUT_S:.0f} seconds", advice=advice))
        if now - self._said_at > TIME_OUT_S / 2:
            self._said_at = now
            silent = self.pool.silent_s > TIME_OUT_S / 2
            self._say("the scheduler does not answer, waiting for it" if silent else "waiting for a worker")

    def _deal(self, todo: deque[Index]) -> None:
        """Give out what is to do: two tasks to each worker while there is plenty."""
        beginning = sum(not each.ready and bool(each.given) for each in self.members.values())
        for address, each in self.members.items():
            if each.refused or each.ready or each.given:
                continue
            if beginning and (beginning + 1) * len(self._directions) > BYTES_ON_THE_WAY:
                break
            each.given[self.pool.give(address, begin, self.job.model_dump_json(), self._directions)] = []
            beginning += 1
        ready = {address: each for address, each in self.members.items() if each.ready}
        for depth in (1, 2):
            for address, each in ready.items():
                plenty = len(todo) > 2 * len(ready)
                if todo and len(each.given) < depth and (depth == 1 or plenty):
                    block = [todo.popleft() for _ in range(min(self._size(len(todo), len(ready)), len(todo)))]
                    each.given[self.pool.give(address, compute, self.job.id, block)] = block

    def _size(self, left: int, ready: int) -> int:
        """Points in a task: as many as take a second or two, and no more than a share of the rest."""
        seconds = max(SECONDS_A_TASK, CLIENT_SECONDS_A_TASK * ready)
        in_time = seconds / self._seconds_a_point if self._seconds_a_point else 1
        return int(max(1, min(left // (SHARE_OF_THE_REST * ready), in_time)))

    def _take(self, reply: Reply, todo: deque[Index]) -> Found:
        """What a reply says of points; nothing where it says something else."""
        member = self.members.get(reply.ticket.worker)
        if member is None or reply.ticket not in member.given:
            return {}  # of a worker that was thought dead
        block = member.given.pop(reply.ticket)
        try:
            if reply.failure:
                raise ValueError(reply.failure)
            if reply.answer is None:  # lost with the connection, or with a worker whose death is not known yet
                self._lose(block, todo)
                member.ready = False
            elif block:
                return self._computed(member, block, reply.answer, todo)
            else:
                self._begun(member, reply.answer)
        except ValueError as error:
            todo.extendleft(reversed(block))
            for ticket, points in member.given.items():
                self.pool.drop(ticket)
                todo.extendleft(reversed(points))
            member.given.clear()
            member.ready, member.refused = False, plain(str(error))
            self._say(f"warning: the worker {reply.ticket.worker} gets no points: {member.refused}")
        return {}

    def _begun(self, member: Member, content: bytes) -> None:
        answer = Begun.read(content)
        facts = dict(answer.facts)
        device = facts.pop("device", None)
        wrong = [name for name in VERSIONS if facts.get(name) != self._facts[name]]
        if answer.problem and not wrong:
            raise ValueError(" ".join(answer.problem.lines))
        wrong = wrong or [name for name, value in self._facts.items() if facts.get(name) != value]
        if wrong:
            there, here = ({name: _short(each.get(name)) for name in wrong} for each in (facts, self._facts))
            raise ValueError(", ".join(f"its {name} is {there[name]}, and not {here[name]}" for name in wrong))
        member.ready = True
        self.devices[str(device)] = None

    def _computed(self, member: Member, block: list[Index], content: bytes, todo: deque[Index]) -> Found:
        answer = Computed.read(content)
        if answer.problem:
            raise answer.problem.error
        if not answer.has_job:  # it was started again, under the address that it had
            member.ready = False
            self._lose(block, todo)
            return {}
        found = answer.found(block, self._names)
        self._losses.clear()
        self.attributes |= answer.kept()
        for line in answer.said:
            if line not in self._said:
                self._said.add(line)
                self._say(plain(line))
        seconds = sum(float(values["seconds"]) for values in found.values()) / len(found)
        self._seconds_a_point = (self._seconds_a_point + seconds) / 2 if self._seconds_a_point else seconds
        return found

    def _lose(self, block: list[Index], todo: deque[Index]) -> None:
        """Do lost points again, each by itself and last of all: it may be they that end a worker."""
        self.retries += 1
        todo.extend(block)
        for what in [f"the point {index}" for index in block] or ["the beginning of the job"]:
            self._losses[what] += 1
            if self._losses[what] >= LOSSES:
                problem = f"was lost {LOSSES} times with its worker, and nothing else was finished meanwhile"
                advice = "look at the workers' logs, and at their memory; the same command resumes"
                raise WorkError(Refusal(what, problem, advice=advice))


def _short(value: object) -> str:
    text = plain(str(value))
    return text if len(text) < 60 else f"{text[:20]}...{text[-8:]}"
