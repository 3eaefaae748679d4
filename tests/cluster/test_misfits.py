"""Workers that do not fit, or cannot do what others do: named, and left without points."""

from itertools import chain, islice

import pytest

from lossviz.cluster.crew import Crew
from lossviz.cluster.job import Answer, Begun, Computed, Problem
from lossviz.cluster.tasks import Assignment
from lossviz.errors import Refusal, RequestError, WorkError
from lossviz.surface.file import Attributes
from lossviz.surface.grid import Index
from tests.cluster.simulated import (
    FACTS,
    JOB,
    POINTS,
    RIGHT,
    Simulated,
    all_of,
    begun,
    computed,
    kind,
    loss,
    results,
)

INSTALL = "install the same one there, and start the worker again"
THERE = "its relative paths begin in /home/me, where it was started"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"torch": "2.1.0"}, f"its torch is 2.1.0, and not 2: {INSTALL}"),
        ({"lossviz": "0", "code": "b", "data_sha256": "e"}, f"its lossviz is 0, and not 1: {INSTALL}"),
        ({"code": "b"}, f"its lossviz 1 has other code: {INSTALL}"),
        ({"checkpoint_sha256": "e"}, f"its checkpoint_sha256 is e, and not c; {THERE}"),
        ({"data_sha256": "0" * 64}, "its data_sha256 is 0000"),
        ({"more": "x\x1b[2J"}, ""),
    ],
)
def test_a_worker_that_does_not_fit_is_named_and_gets_nothing(facts: dict[str, str], words: str) -> None:
    said: list[str] = []
    pool = Simulated({"good": [], "other": []})
    told = {"folder": "/home/me", **facts}
    pool.answers = lambda name, function, _: begun(**told) if name == "other" and function == "begin" else b""
    assert all_of(pool, said=said) == RIGHT
    if words:
        assert any(line.startswith("warning: the worker other gets no points: ") and words in line for line in said)
        assert not any(name == "other" and block for name, _, block in pool.given)


def test_a_worker_that_was_started_in_another_folder_is_told_to_start_in_this_one() -> None:
    """And not to make a checkpoint there, which the command would advise."""
    refusal = Refusal(
        "surface.checkpoint", "runs/a/b has no checkpoint", given="last", advice="make one: lossviz train"
    )
    answer = Begun(facts={**FACTS, "folder": "/home/me"}, problem=Problem.of(RequestError(refusal))).encode()
    said: list[str] = []
    pool = Simulated({"good": [], "lost": []})
    pool.answers = lambda name, function, _: answer if name == "lost" and function == "begin" else b""
    assert all_of(pool, said=said) == RIGHT
    assert said == [
        "warning: the worker lost gets no points: surface.checkpoint = last: runs/a/b has no checkpoint; "
        f"{THERE}: start it again in the folder of the experiment"
    ]


def test_where_no_worker_fits_the_request_is_refused() -> None:
    pool = Simulated({"a": [], "b": []}, answers=lambda *_: begun(torch="1"))
    with pytest.raises(RequestError, match=f"no worker fits this scan: a: its torch is 1, and not 2: {INSTALL}; b: "):
        all_of(pool)


def test_while_the_worker_that_fits_is_started_again_it_waits() -> None:
    """Beside one that does not fit; a worker of a queue may be away for a minute."""
    pool = Simulated({"good": [], "other": []}, speed=0.5)
    pool.answers = lambda name, function, _: begun(torch="1") if name == "other" and function == "begin" else b""
    found = results(pool, POINTS)
    first = dict(chain.from_iterable(each.items() for each in islice(found, 12)))
    del pool.there["good"]
    assert list(islice(found, 5)) == [{}] * 5
    pool.there["again"] = []
    rest = dict(chain.from_iterable(each.items() for each in found))
    assert {**first, **rest}.keys() == set(POINTS)


@pytest.mark.parametrize(
    "bad",
    [
        "ModuleNotFoundError: No module named 'lossviz'",
        b"\x80\x05}.",
        computed([(9, 9)]),
        Computed.of({(0, 0): {"loss": 1.0}}, [], {}).encode(),
        Answer(misfit="its file is another one").encode(),
    ],
)
def test_a_worker_whose_answers_are_none_gets_no_more(bad: bytes | str) -> None:
    said: list[str] = []
    pool = Simulated({"good": [], "bad": []})
    pool.answers = lambda name, function, _: bad if name == "bad" and function == "compute" else b""
    assert all_of(pool, said=said) == RIGHT
    assert sum("the worker bad gets no points" in line for line in said) == 1


def test_an_error_of_a_point_is_the_error_of_the_scan() -> None:
    problem = Computed(problem=Problem.of(WorkError("mine.py, line 3: ZeroDivisionError"))).encode()
    pool = Simulated({"a": []}, answers=lambda _, function, __: problem if function == "compute" else b"")
    with pytest.raises(WorkError, match=r"mine\.py, line 3"):
        all_of(pool)


PROBLEM = Computed(problem=Problem.of(WorkError("out of memory"))).encode()


def test_what_one_worker_cannot_do_others_do() -> None:
    """Its GPU is smaller; it is named, and its points are computed elsewhere."""
    said: list[str] = []
    pool = Simulated({"small": [], "large": []}, speed=0.5)
    pool.answers = lambda name, function, _: PROBLEM if name == "small" and function == "compute" else b""
    assert all_of(pool, said=said) == RIGHT
    assert said == ["warning: the worker small gets no points: out of memory"]
    assert sum(name == "small" and function == "compute" for name, function, _ in pool.given) <= 2


@pytest.mark.parametrize("last", ["small", "large"])
def test_a_worker_that_halved_its_batch_is_in_the_attributes_whoever_answers_last(last: str) -> None:
    attributes: dict[str, Attributes] = {
        "small": {"batch_size": 32, "pace": "64 a batch; out of memory: continuing with 32 examples a batch"},
        "large": {"batch_size": 64, "pace": "64 a batch"},
    }

    def answers(name: str, function: str, points: list[Index]) -> bytes:
        if function == "begin":
            return begun()
        found = {index: {"loss": loss(index), "seconds": 1.0} for index in points}
        return Computed.of(found, [], attributes[name]).encode()

    names = ["small", "large"] if last == "large" else ["large", "small"]
    crew = Crew(Simulated({name: [] for name in names}, answers=answers), lambda _: None)
    crew.assign(Assignment(JOB, b"", FACTS))
    assert sum(len(found or {}) for found in crew.each(kind(), POINTS)) == len(POINTS)
    assert crew.attributes == attributes["small"]


def test_a_point_that_fails_at_two_workers_ends_the_scan() -> None:
    """The others are found until then; a third one does not get it."""
    pool = Simulated({f"w{i}": [] for i in range(5)}, speed=5.0)
    tried = []

    def answers(name: str, _: str, points: list[Index]) -> bytes:
        tried.extend([name] if (2, 2) in points else [])
        return PROBLEM if (2, 2) in points else b""

    pool.answers = answers
    with pytest.raises(WorkError, match="out of memory"):
        all_of(pool)
    assert len(set(tried)) == len(tried) == 2
