"""Messages between client and workers: text that is checked, bit for bit the numbers that were sent."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from lossviz.cluster.job import Begun, Computed, Decided, Job, Measured, Problem, pack, plain, unpack
from lossviz.config import read
from lossviz.errors import LossvizError, Refusal, RequestError, WorkError
from lossviz.surface.file import Attributes, Found
from lossviz.surface.grid import Index
from lossviz.surface.sampled.estimator import GROUPS
from lossviz.surface.sampled.files import Seen

POINTS = [(0, 3), (1, 2)]
NUMBERS = [5e-324, math.inf]


def answer(**changes: Any) -> bytes:
    values = {"loss": NUMBERS, "error": [0.1, math.nan], "seconds": [1.0, 2.0]}
    return json.dumps({"points": POINTS, "values": values, **changes}).encode()


def test_numbers_arrive_bit_for_bit() -> None:
    draws = np.random.default_rng(0)
    many = np.frombuffer(draws.bytes(8 * 4000), float)  # denormal numbers, infinities and NaN among them
    found: Found = {(i,): {"loss": float(many[i]), "seconds": 0.0} for i in range(4000)}
    sent = Computed.of(found, [], {}).encode()
    back = Computed.read(sent).found(list(found), ["loss"])
    read_back = np.array([back[index]["loss"] for index in found])
    nan = np.isnan(many)
    np.testing.assert_array_equal(np.isnan(read_back), nan)
    assert read_back[~nan].tobytes() == many[~nan].tobytes()


def test_numbers_of_groups_arrive_too() -> None:
    groups = np.random.default_rng(0).standard_normal(GROUPS)
    found: Found = {(0, 1): {"loss": 1.0, "loss_deviation": groups, "seconds": 0.0}}
    back = Computed.read(Computed.of(found, [], {}).encode()).found([(0, 1)], ["loss", "loss_deviation"])
    np.testing.assert_array_equal(back[(0, 1)]["loss_deviation"], groups)


def test_a_good_answer_is_taken() -> None:
    found = Computed.read(answer()).found(POINTS, ["loss", "error"])
    assert found[(0, 3)]["loss"] == 5e-324
    assert found[(1, 2)]["loss"] == math.inf
    assert math.isnan(float(found[(1, 2)]["error"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": [(0, 3), (1, 1)]}, "other points"),
        ({"points": [(0, 3)]}, "other points"),
        ({"points": [(0, 3), (0, 3)]}, "other points"),
        ({"points": [(0, 3), (1, 2), (1, 2)]}, "other points"),
        ({"points": "all"}, "of another form"),
        ({"points": [[0.5, 1], [1, 2]]}, "of another form"),
        ({"values": {"loss": NUMBERS, "seconds": NUMBERS}}, "other quantities"),
        ({"values": {"loss": NUMBERS, "error": NUMBERS, "seconds": NUMBERS, "more": NUMBERS}}, "other quantities"),
        ({"values": {"loss": NUMBERS, "error": [1.0], "seconds": NUMBERS}}, "error are not 2 numbers"),
        ({"values": {"loss": NUMBERS, "error": [[1.0], [2.0]], "seconds": NUMBERS}}, "error are not 2 numbers"),
        ({"values": {"loss": NUMBERS, "error": ["1", "2"], "seconds": NUMBERS}}, "of another form"),
        ({"values": {"loss": NUMBERS, "error": [None, 1.0], "seconds": NUMBERS}}, "of another form"),
        ({"values": {"loss": NUMBERS, "error": [True, 1.0], "seconds": NUMBERS}}, "of another form"),
        ({"said": ["x" * 10_000]}, "of another form"),
        ({"said": [1]}, "of another form"),
        ({"code": "import os"}, "of another form"),
    ],
)
def test_anything_else_is_not(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Computed.read(answer(**changes)).found(POINTS, ["loss", "error"])


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x05.", b"[" * 100_000, b'"text"', b"\xff\xfe", b"null"])
def test_no_message_at_all(content: bytes) -> None:
    for kind in (Begun, Computed, Job):
        with pytest.raises(ValueError, match="of another form"):
            kind.read(content)


SEEN: dict[Index, Seen] = {(0, 3): {"": np.array([[0.1, 1.0], [2.5, 0.0]]), "test_": np.array([[np.inf, 0.0]])}}


def test_samples_arrive_as_they_are_kept() -> None:
    """In float32, which every point is interpolated from."""
    back = unpack(pack(SEEN), [(0, 3)], {"": 2, "test_": 7})
    assert back.keys() == SEEN.keys()
    for prefix, values in SEEN[(0, 3)].items():
        np.testing.assert_array_equal(back[(0, 3)][prefix], values.astype(np.float32).astype(float))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "of another form"),
        (pickle.dumps(SEEN), "of another form"),
        (pack({}), "samples of other points"),
        (pack({(0, 2): SEEN[(0, 3)]}), "samples of other points"),
        (pack({(0, 3): {"": np.zeros((2, 2))}}), "samples of other points"),
        (pack({(0, 3): {"": np.zeros((3, 2)), "test_": np.zeros((1, 2))}}), r"samples are float32 \[3, 2\]"),
        (pack({(0, 3): {"": np.zeros((0, 2)), "test_": np.zeros((1, 2))}}), r"samples are float32 \[0, 2\]"),
        (pack({(0, 3): {"": np.zeros((2, 3)), "test_": np.zeros((1, 2))}}), r"samples are float32 \[2, 3\]"),
        (pack({(0, 3): {"": np.zeros(()), "test_": np.zeros((1, 2))}}), r"samples are float32 \[\]"),
    ],
)
def test_other_samples_are_not_taken(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(content, [(0, 3)], {"": 2, "test_": 7})


def test_what_is_decided_must_be_complete() -> None:
    good: Attributes = {"batch_size": 64, "compiled": 0, "pace": "64 a batch", "loss_range": 0.5}
    assert Decided(attributes=good).decided() == good
    bad_ones: tuple[Attributes, ...] = (
        {"batch_size": 0},
        {"batch_size": "all"},
        {"batch_size": 10**12},
        {"loss_range": "wide"},
        {"frozen_prefix": "layer1"},
    )
    for bad in bad_ones:
        with pytest.raises(ValueError, match=r"does not decide|may not set"):
            Decided(attributes={**good, **bad}).decided()
    with pytest.raises(ValueError, match="does not decide"):
        Decided().decided()


def test_a_checkpoint_is_measured_in_all_that_was_asked_for() -> None:
    found = Measured(values={"loss": 0.1, "x": math.nan}, precision="float64\a").waypoint({"x", "loss"})
    assert (found.values["loss"], found.precision) == (0.1, "float64?")
    with pytest.raises(ValueError, match="other quantities"):
        Measured(values={"loss": 0.1}, precision="float64").waypoint({"x", "loss"})


def test_attributes_are_those_of_computing() -> None:
    sent = {"batch_size": 64, "pace": "fast\x1b[2J", "hessian_error": 1.0}
    assert Computed.read(answer(attributes=sent)).kept() == {**sent, "pace": "fast?[2J"}


@pytest.mark.parametrize(
    "sent",
    [
        {"title": "another"},
        {"checkpoint_sha256": "another"},
        {"loss_range": 0.5},  # decided before
        {"batch_size": "64"},
        {"batch_size": 64.0},
        {"pace": 1},
        {"frozen_prefix_speedup": "fast"},
    ],
)
def test_other_attributes_are_not_taken(sent: Attributes) -> None:
    with pytest.raises(ValueError, match=f"it may not set {next(iter(sent))} = "):
        Computed.read(answer(attributes={"compiled": 0, **sent})).kept()


@pytest.mark.parametrize("error", [RequestError(Refusal("x", "is wrong", advice="try y")), WorkError("lost", "gone")])
def test_an_error_is_the_same_error_on_the_other_side(error: LossvizError) -> None:
    back = Problem.read(Problem.of(error).encode()).error
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_a_terminal_obeys_nothing() -> None:
    assert plain("a\x1b]0;b\x07\nc\u202ed") == "a?]0;b?\nc?d"


def test_a_job_is_the_configuration_itself() -> None:
    for config in read("quickstart", ["surface.y=null", "surface.x=[auto, 0.3, 7]"]):
        job = Job(
            id="1",
            config=config,
            folder="runs/a/b",
            device="cpu",
            threads=1,
            allow=("mine.py",),
            axes={"x": [-1 / 3, 0.1]},
            attributes={"loss_range": math.nan, "batch_size": 3, "cosine": 1 / 3},
        )
        back = Job.read(job.encode())
        assert back.config == config
        assert back.axes == job.axes
        assert back.attributes["cosine"] == 1 / 3
        assert math.isnan(float(back.attributes["loss_range"]))
