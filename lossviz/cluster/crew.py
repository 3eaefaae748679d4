"""Who of the workers computes what: blocks of points, lost ones again, and workers that do not fit."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NoReturn

from lossviz.cluster.job import Begun, Problem, plain
from lossviz.cluster.pool import TIME_OUT_S, Reply
from lossviz.cluster.tasks import A, Assignment, Dealing, F, Kind, Member
from lossviz.cluster.worker import begin
from lossviz.errors import Refusal, RequestError, WorkError
from lossviz.surface.file import Attributes
from lossviz.surface.grid import Index

# A task took 2 to 14 ms beside its points (TLS, two cores): 1 % of this.
SECONDS_A_TASK = 1.5
# The scheduler needs that for each task (TLS; the client 2 ms), and should be busy for a third of the time.
SCHEDULER_SECONDS_A_TASK = 0.0045
SHARE_OF_THE_SCHEDULER = 3
# Near the end nobody should get what the others could have done meanwhile.
SHARE_OF_THE_REST = 4
WAIT_S = 0.2
# A scheduler that lives answers within half a second or so.
SILENCE_S = 5.0
# A task that takes so many times as long as others do is given to a second worker too, once there is nothing else.
LATE = 10
# So often in a row, while nothing else was finished, a block may be lost with its worker.
LOSSES = 3
BEGINNING = "the beginning of the job"
# Directions that are on their way to workers at one time.
BYTES_ON_THE_WAY = 2**30


class Crew:
    """The workers of one scan.

    Args:
        pool: where they are.
        say: told of workers that do not fit, of doubts that they have, and of waiting.

    Attributes:
        members: by address.
        retries: how many tasks were lost.
        attributes: how the workers computed, for the result file.
        devices: on which, by the address of every worker that had the job.
    """

    def __init__(self, pool: Dealing, say: Callable[[str], None]) -> None:
        self.pool, self._say = pool, say
        self.members: dict[str, Member] = {}
        self.retries = 0
        self.attributes: Attributes = {}
        self.devices: dict[str, str] = {}
        self._told: Assignment | None = None
        self._said: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._lost: set[Index] = set()
        self._failed: set[Index] = set()
        self._seconds = 0.0
        self._idle_since = self._said_at = time.monotonic()

    @property
    def ready(self) -> int:
        """How many workers have the job."""
        return sum(each.ready for each in self.members.values())

    def assign(self, told: Assignment) -> None:
        """Let the members begin a job, those that fit so far."""
        self._told, self.attributes = told, {}
        for each in self.members.values():
            each.ready = False

    def each(self, kind: Kind[F, A], items: Sequence[Index]) -> Iterator[A | None]:
        """What is found for all items, in any order, some at a time; None now and then.

        Raises:
            RequestError: no worker fits, and none ever did: one that died may be started again.
            WorkError: there are no workers, or one item ends all that get it.
            LossvizError: of an item, by the last worker that fits or by a second one.
        """
        todo, missing = deque(items), set(items)
        self._lost.clear()
        self._failed.clear()
        self._idle_since = self._said_at = time.monotonic()
        while missing:
            self._muster(kind, todo)
            self._deal(kind, todo)
            if not todo:
                self._double(kind)
            for reply in self.pool.replies(WAIT_S):
                for block, found in self._take(kind, reply, todo):
                    if missing.intersection(block):
                        missing.difference_update(block)
                        yield found
            yield None
        for member in self.members.values():  # what is done a second time
            self._forget(member)

    def _muster(self, kind: Kind[F, A], todo: deque[Index]) -> None:
        """See who came and who went."""
        there = self.pool.workers()
        for address in self.members.keys() - set(there):
            for ticket, block in self.members.pop(address).given.items():
                self.pool.drop(ticket)
                self._lose(kind, block, todo)
        for address in there:
            self.members.setdefault(address, Member())
        if any(each.ready or each.given for each in self.members.values()):
            self._idle_since = self._said_at = time.monotonic()
        elif self.members and not self.devices and all(each.refused for each in self.members.values()):
            reasons = [f"{name}: {each.refused}" for name, each in self.members.items()]
            raise RequestError(Refusal("no worker fits this scan", "; ".join(reasons[:4])))
        else:
            self._wait()

    def _wait(self) -> None:
        now = time.monotonic()
        if now - self._idle_since > 2 * TIME_OUT_S:
            words = self.pool.last_words or "start some"
            advice = f"{words}; the same command resumes from what was saved"
            raise WorkError(Refusal(f"no worker for {2 * TIME_OUT_S:.0f} seconds", advice=advice))
        if now - self._said_at > TIME_OUT_S / 2:
            self._said_at = now
            silent = self.pool.silent_s > SILENCE_S
            self._say("the scheduler does not answer, waiting for it" if silent else "waiting for a worker")

    def _deal(self, kind: Kind[F, A], todo: deque[Index]) -> None:
        """Give out what is to do: two tasks to each worker while there is plenty."""
        self._begin()
        ready = {address: each for address, each in self.members.items() if each.ready}
        # Those that are still beginning count: else the first ones take two long points each, and the others none.
        expected = min(self._assigned.most, sum(not each.refused for each in self.members.values()))
        for depth in (1, 2):
            for address, each in ready.items():
                plenty = len(todo) > 2 * expected
                if todo and len(each.given) < depth and (depth == 1 or plenty):
                    self._give(kind, address, self._block(kind, todo, len(ready)))

    def _give(self, kind: Kind[F, A], address: str, block: list[Index]) -> None:
        member = self.members[address]
        if not member.given:
            member.busy_since = time.monotonic()
        ticket = self.pool.give(address, kind.function, self._assigned.job.id, *kind.arguments(block))
        member.given[ticket] = block

    def _double(self, kind: Kind[F, A]) -> None:
        """Where nothing else is to do, another does the tasks of a worker that hangs, as on a dead disk."""
        idle = [name for name, each in self.members.items() if each.ready and not each.given]
        late = time.monotonic() - max(TIME_OUT_S, LATE * max(SECONDS_A_TASK, self._seconds))
        stuck = [each for each in self.members.values() if each.ready and each.given and each.busy_since < late]
        for name, each in zip(idle, stuck, strict=False):
            each.busy_since = time.monotonic()
            for block in each.given.values():
                self._give(kind, name, block)

    def _begin(self) -> None:
        """Tell the job to members that do not know it."""
        told = self._assigned
        beginning = sum(not each.ready and bool(each.given) for each in self.members.values())
        for address, each in self.members.items():
            if each.refused or each.ready or each.given:
                continue
            if self.ready + beginning >= told.most:
                return
            if beginning and (beginning + 1) * len(told.directions) > BYTES_ON_THE_WAY:
                return
            each.given[self.pool.give(address, begin, told.job.model_dump_json(), told.directions)] = []
            beginning += 1

    @property
    def _assigned(self) -> Assignment:
        assert self._told is not None
        return self._told

    def _block(self, kind: Kind[F, A], todo: deque[Index], ready: int) -> list[Index]:
        """As many as fit into a task; a lost one by itself."""
        size = self._size(len(todo), ready) if kind.seconds and self._seconds else 1
        block = [todo.popleft()]
        while len(block) < size and todo and not self._lost.intersection((block[0], todo[0])):
            block.append(todo.popleft())
        return block

    def _size(self, left: int, ready: int) -> int:
        """A second or two, near the end a share of the rest, but no fewer than the scheduler can deal with."""
        least = SCHEDULER_SECONDS_A_TASK * ready / self._seconds
        most = max(SECONDS_A_TASK / self._seconds, SHARE_OF_THE_SCHEDULER * least)
        return int(max(1, min(most, max(least, left // (SHARE_OF_THE_REST * ready)))))

    def _take(self, kind: Kind[F, A], reply: Reply, todo: deque[Index]) -> list[tuple[list[Index], A]]:
        """For which indices a reply says what; none where it says something else."""
        member = self.members.get(reply.ticket.worker)
        if member is None or reply.ticket not in member.given:
            return []  # of a worker that was thought dead
        block, member.busy_since = member.given.pop(reply.ticket), time.monotonic()
        try:
            if reply.failure:
                raise ValueError(reply.failure)
            if reply.answer is None:  # lost with the connection, or with a worker whose death is not known yet
                self._lose(kind, block, todo)
                member.ready = False
            elif block:
                return self._found(kind, member, block, reply.answer, todo)
            else:
                self._begun(reply.ticket.worker, member, reply.answer)
        except ValueError as error:
            self._refuse(reply.ticket.worker, member, [*block, *chain(*member.given.values())], str(error), todo)
        return []

    def _blame(self, member: Member, block: list[Index], problem: Problem) -> NoReturn:
        """One worker may lack memory or a disk that others have; an item that fails at two of them ends the scan."""
        if self._failed.intersection(block) or all(each.refused or each is member for each in self.members.values()):
            raise problem.error
        self._failed.update(block)
        self._lost.update(block)
        raise ValueError(" ".join(problem.lines))

    def _refuse(self, address: str, member: Member, open_items: list[Index], why: str, todo: deque[Index]) -> None:
        self._forget(member)
        todo.extendleft(reversed(open_items))
        member.ready, member.refused = False, plain(why)
        self._say(f"warning: the worker {address} gets no points: {member.refused}")

    def _forget(self, member: Member) -> None:
        for ticket in member.given:
            self.pool.drop(ticket)
        member.given.clear()

    def _begun(self, address: str, member: Member, content: bytes) -> None:
        answer = Begun.read(content)
        if why := self._assigned.misfit(answer):
            raise ValueError(why)
        member.ready = True
        self._losses.pop(BEGINNING, None)
        self.devices[address] = plain(str(answer.facts.get("device")))

    def _found(
        self, kind: Kind[F, A], member: Member, block: list[Index], content: bytes, todo: deque[Index]
    ) -> list[tuple[list[Index], A]]:
        text, _, rest = content.partition(b"\0")
        answer = kind.form.read(text)
        if answer.problem:
            self._blame(member, block, answer.problem)
        if answer.misfit:
            raise ValueError(answer.misfit)
        if not answer.has_job:  # it was started again, under the address that it had
            member.ready = False
            self._lose(kind, block, todo)
            return []
        found, attributes = kind.read(answer, rest, block), answer.kept()
        self._losses.clear()
        # One that had too little memory for the batch of all others says so: the file has the smallest.
        if _batch(attributes) <= _batch(self.attributes):
            self.attributes |= attributes
        for line in answer.said:
            if line not in self._said:
                self._said.add(line)
                self._say(plain(line))
        if kind.seconds:
            self._seconds = (self._seconds + kind.seconds(found)) / (2 if self._seconds else 1)
        return [(block, found)]

    def _lose(self, kind: Kind[F, A], block: list[Index], todo: deque[Index]) -> None:
        """Do lost items again, each by itself and last of all: it may be they that end a worker."""
        self.retries += 1
        todo.extend(block)
        self._lost.update(block)
        for what in [kind.what(index) for index in block] or [BEGINNING]:
            self._losses[what] += 1
            # Of a thousand workers a hundred may begin and die at once; a point ends one worker at a time.
            if self._losses[what] >= LOSSES * (max(1, len(self.members)) if what == BEGINNING else 1):
                problem = (
                    f"was lost {self._losses[what]} times with its worker, and nothing else was finished meanwhile"
                )
                words = self.pool.last_words or "the workers' logs say why"
                advice = f"{words}; is their memory too small? the same command resumes"
                raise WorkError(Refusal(what, problem, advice=advice))


def _batch(attributes: Attributes) -> float:
    return float(attributes.get("batch_size", math.inf))
