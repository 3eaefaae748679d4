"""Batches of every form: moved, taken apart and told apart."""

from collections import UserDict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from lossviz.data.batch import digest, leaves, moved, rows, tensors

META, CPU = torch.device("meta"), torch.device("cpu")
Point = namedtuple("Point", "x y")


class Encoding(UserDict[str, Any]):
    """As Hugging Face's BatchEncoding: a mapping whose own `.to` changes it."""

    def to(self, device: torch.device) -> "Encoding":
        self.data = {name: value.to(device) for name, value in self.data.items()}
        return self


class Graph:
    """As the Data of PyTorch Geometric: an object whose `.to` changes it and returns it."""

    def __init__(self, nodes: Tensor, edges: Tensor) -> None:
        self.nodes, self.edges = nodes, edges

    def to(self, device: torch.device) -> "Graph":
        self.nodes, self.edges = self.nodes.to(device), self.edges.to(device)
        return self


def nested() -> dict[str, Any]:
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    return {
        "pair": (torch.ones(3), torch.arange(3)),
        "images": [torch.zeros(2, 3), torch.zeros(1, 3)],
        "point": Point(torch.ones(1), [torch.ones(2)]),
        "encoding": Encoding(input_ids=torch.arange(4), attention_mask=torch.ones(4)),
        "proxy": MappingProxyType({"a": torch.ones(1)}),
        "graph": Graph(torch.ones(4, 2), torch.arange(6).view(2, 3)),
        "packed": packed,
        "names": ["a", "b"],
        "number": 3,
        "nothing": None,
    }


def test_every_tensor_is_moved_and_what_was_given_stays() -> None:
    given = nested()
    found = moved(given, META)
    found["packed"] = found["packed"].data  # its sizes stay with the CPU, as torch wants them
    given["packed"] = given["packed"].data
    assert all(tensor.device == META for tensor in tensors(found))
    assert all(tensor.device == CPU for tensor in tensors(given))
    assert [name for name, _ in leaves(found)] == [name for name, _ in leaves(given)]
    for name, value in given.items():
        kind = dict if name == "proxy" else type(value)
        assert type(found[name]) is kind
    assert (found["names"], found["number"], found["nothing"]) == (["a", "b"], 3, None)
    assert found["point"].y[0].device == META


def test_real_numbers_get_the_dtype_and_whole_ones_keep_theirs() -> None:
    found = moved({"x": torch.ones(2), "i": torch.arange(2), "b": torch.ones(2).bool()}, CPU, torch.float64)
    assert {name: value.dtype for name, value in found.items()} == {
        "x": torch.float64,
        "i": torch.int64,
        "b": torch.bool,
    }


def test_a_tensor_that_is_there_already_is_not_copied() -> None:
    tensor = torch.ones(3)
    assert moved([tensor], CPU, torch.float32)[0] is tensor


INDEX = torch.tensor([2, 0, 0])


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.arange(3), torch.tensor([2, 0, 0])),
        ({"a": torch.arange(3), "b": (torch.arange(6).view(3, 2),)}, {"a": INDEX, "b": (2 * INDEX[:, None],)}),
        (["a", "b", "c"], ["c", "a", "a"]),
    ],
)
def test_examples_by_their_rows(batch: Any, expected: Any) -> None:
    found = rows(batch, INDEX, 3)
    for (name, one), (_, other) in zip(leaves(found), leaves(expected), strict=True):
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            assert torch.equal(one.view(3, -1)[:, 0], other.view(3, -1)[:, 0]), name
        else:
            assert one == other


@pytest.mark.parametrize(
    "batch",
    [torch.arange(4), {"a": torch.arange(3), "b": torch.tensor(1)}, nested(), [torch.ones(3, 3)] * 3],
    ids=["another number", "a scalar", "objects", "ambiguous"],
)
def test_batches_that_have_no_rows(batch: Any) -> None:
    assert rows(batch, INDEX, 3) is None


def changes() -> Iterator[dict[str, Any]]:
    plain = {"pair": (torch.ones(3), torch.zeros(3)), "images": [], "names": ["a", "c"], "number": 4}
    for name in ("encoding", "graph", *plain):
        other = nested()
        if name == "graph":
            other[name].nodes = other[name].nodes + 1
        elif name == "encoding":
            other[name]["input_ids"] = torch.arange(1, 5)
        else:
            other[name] = {"pair": (torch.ones(3), torch.zeros(3)), "images": [], "names": ["a", "c"], "number": 4}[
                name
            ]
        yield other


def test_digests_tell_contents_apart_and_nothing_else() -> None:
    assert digest(nested()) == digest(nested())
    found = {digest(each) for each in changes()}
    assert len(found) == 6
    assert digest(nested()) not in found
    assert digest(torch.ones(2, 3)) != digest(torch.ones(3, 2))
    assert digest(torch.zeros(2)) != digest(torch.zeros(2, dtype=torch.int32))
    assert digest(torch.ones(2, dtype=torch.bfloat16)) == digest(torch.ones(2, dtype=torch.bfloat16))
