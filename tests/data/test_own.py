"""A person's own data: what is taken as it is, and what is refused by name."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from lossviz.config.data import OwnData
from lossviz.data.load import Dataset, load
from lossviz.errors import RequestError, WorkError
from lossviz.user_code.permissions import NOBODY, parse_allowed

CPU = torch.device("cpu")
Load = Callable[..., Dataset]

# The file under test hands on what the test wants: a module of the test cannot be reached by its name.
FILE = """
import torch

def make(number=0, **_):
    return torch.made_for_a_test[number]

def draw(count):
    both = torch.randn(2 * count, 3), torch.arange(2 * count) % 4
    return tuple(part[:count] for part in both), tuple(part[count:] for part in both)

def fail():
    return {}["nothing"]
"""


@pytest.fixture(name="make")
def _make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    (tmp_path / "nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)

    def make(*made: object, target: str = "make", args: dict[str, Any] | None = None, **keys: Any) -> Dataset:
        monkeypatch.setattr(torch, "made_for_a_test", made, raising=False)
        config = OwnData(name="own", target=f"nets.py:{target}", args=args or {}, **keys)
        return load(config, keys.get("seed", 0), parse_allowed(["nets.py"]))

    return make


def images(count: int = 6) -> Tensor:
    return torch.arange(count * 3 * 2 * 2).reshape(count, 3, 2, 2).remainder(256).to(torch.uint8)


def pair(count: int = 6, shape: tuple[int, ...] = (3,)) -> tuple[Tensor, Tensor]:
    return torch.arange(count * 100.0)[: count * 3].reshape(count, *shape), torch.arange(count) % 3


class Pairs(TorchDataset[Any]):
    """A map-style Dataset of whatever it is given."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


def test_images_are_scaled_to_one_and_then_by_mean_and_std(make: Load) -> None:
    train, test = (images(6), torch.arange(6)), (images(4), torch.tensor([0, 1, 2, 3]))
    data = make((train, test)).to(CPU, torch.float64)
    assert (len(data.train), len(data.test), data.outputs, data.channels, data.regression) == (6, 4, 6, 3, False)
    ((inputs, targets),) = data.train.batches(10)
    assert torch.equal(inputs, train[0].double() / 255)
    assert torch.equal(targets, train[1])
    scaled = make((train, test), mean=(0.25, 0.5, 0.75), std=(1.0, 2.0, 4.0)).to(CPU, torch.float64)
    ((inputs, _),) = scaled.train.batches(10)
    column = torch.tensor([[0.25, 1], [0.5, 2], [0.75, 4]], dtype=torch.float64).T[:, :, None, None]
    assert torch.equal(inputs, (train[0].double() / 255 - column[0]) / column[1])


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3, 1), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_numbers_are_used_as_they_are(make: Load, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    inputs, targets = pair(6, shape)
    inputs = inputs.to(dtype)
    expected = inputs.double()
    data = make(((inputs, targets), (inputs[:4], targets[:4]))).to(CPU, torch.float64)
    ((found, _),) = data.train.batches(10)
    assert torch.equal(found, expected)


def test_vectors_as_targets_are_a_regression(make: Load) -> None:
    parts = [(pair(count)[0], torch.rand(count, 5)) for count in (6, 4)]
    data = make(parts)
    assert (data.regression, data.outputs) == (True, 5)
    ((_, targets),) = data.to(CPU, torch.float32).test.batches(10)
    assert torch.equal(targets, parts[1][1])
    # Of vectors it is the first ones, whatever `choose` says.
    assert torch.equal(make(parts, examples=2).train.targets, parts[0][1][:2].double())


def test_classes_of_both_splits_count(make: Load) -> None:
    inputs = pair(4)[0]
    data = make(((inputs, torch.tensor([0, 1, 1, 0], dtype=torch.int32)), (inputs, torch.tensor([0, 5, 1, 0]))))
    assert data.outputs == 6
    assert data.train.targets.dtype == torch.int64


def test_examples_are_chosen_as_of_other_data(make: Load) -> None:
    inputs, labels = torch.arange(12.0)[:, None], torch.tensor([0] * 8 + [1] * 4)
    data = make(((inputs, labels), (inputs, labels)), examples=6)
    assert torch.bincount(data.train.targets).tolist() == [4, 2]
    assert len(data.test) == 12
    first = make(((inputs, labels), (inputs, labels)), examples=6, choose="first")
    ((found, _),) = first.to(CPU, torch.float32).train.batches(10)
    assert torch.equal(found.squeeze(), torch.arange(6.0))
    with pytest.raises(RequestError, match=r"data\.examples = 13: there are 12 examples in the train split"):
        make(((inputs, labels), (inputs, labels)), examples=13)


def test_sequences_of_classes(make: Load) -> None:
    inputs, labels = torch.rand(5, 7, 2), torch.arange(35).reshape(5, 7) % 4
    data = make(((inputs, labels), (inputs, labels)), examples=3)
    assert (data.outputs, data.regression, tuple(data.train.targets.shape)) == (4, False, (3, 7))


def test_datasets_of_torch_give_what_tensors_give(make: Load) -> None:
    """Batches, minibatches, classes and stratified choice, whatever an example's label is."""
    inputs, labels = images(12), torch.tensor([0] * 8 + [1] * 4)
    keys: dict[str, Any] = {"examples": 6, "mean": (0.25, 0.5, 0.75), "std": (1.0, 2.0, 4.0)}
    expected = make(((inputs, labels), (inputs, labels)), **keys).to(CPU, torch.float64)
    for dataset in (
        TensorDataset(inputs, labels),
        Pairs(*((row, int(label)) for row, label in zip(inputs, labels, strict=True))),
        Pairs(*([row, label] for row, label in zip(inputs, labels, strict=True))),
    ):
        found = make((dataset, (inputs, labels)), **keys).to(CPU, torch.float64)
        assert (found.channels, found.image_size, found.outputs, found.regression) == (3, (2, 2), 2, False)
        for mine, theirs in zip(found.train.batches(4), expected.train.batches(4), strict=True):
            assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
        for augment in ("none", "crop-flip"):
            mine, theirs = (each.minibatches(5, 3, augment)(7) for each in (found, expected))
            assert torch.equal(mine.inputs, theirs.inputs)
            assert torch.equal(mine.targets, theirs.targets)
            assert mine.noise == theirs.noise


def test_draws_are_those_of_the_seed_and_of_nobody_else(make: Load) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make(target="draw", args={"count": 5})
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert make(target="draw", args={"count": 5}).fingerprint() == first.fingerprint()
    config = OwnData(name="own", target="nets.py:draw", args={"count": 5})
    assert load(config, 1, parse_allowed(["nets.py"])).fingerprint() != first.fingerprint()


def test_not_allowed(make: Load) -> None:
    make(((*pair(),), (*pair(),)))
    with pytest.raises(RequestError, match=r"nets\.py:make: runs code that the command line did not allow"):
        load(OwnData(name="own", target="nets.py:make"), 0, NOBODY)


def test_errors_of_the_code_are_told_by_line(make: Load) -> None:
    with pytest.raises(WorkError, match=r"^nets\.py, line 12, while nets\.py:fail makes the data: KeyError: 'nothing'"):
        make(target="fail")

    class Broken(Pairs):
        def __getitem__(self, index: int) -> Any:
            raise OSError("no such picture")

    with pytest.raises(WorkError, match=r"^while nets\.py:make makes the data: OSError: no such picture"):
        make((Broken(1), pair()))


GOOD, LABELS = torch.rand(4, 3), torch.arange(4)
SHUFFLED = DataLoader(TensorDataset(GOOD, LABELS), batch_size=4, shuffle=True)
CHANGED = DataLoader(TensorDataset(GOOD, LABELS), batch_size=4, collate_fn=lambda pairs: torch.rand(len(pairs), 3))
WRONG: dict[str, tuple[object, str, str]] = {
    "nothing": (None, "returned NoneType", "(train, test)"),
    "one": (GOOD, "returned float32 (4, 3)", "(train, test)"),
    "three": ((GOOD, LABELS, 3), "returned (float32 (4, 3), int64 (4,), int)", "(train, test)"),
    "tensor": ((GOOD, GOOD), "train is float32 (4, 3)", "(inputs, targets), a Dataset, or batches"),
    "dict": (({"a": 1}, {}), "train is dict", "(inputs, targets), a Dataset, or batches"),
    "stream": ((Stream(), (GOOD, LABELS)), "train is Stream, which gives single examples", "a DataLoader of it"),
    "array": (
        ((GOOD.numpy(), LABELS), 0),
        "train is (ndarray, int64 (4,))",
        "(inputs, targets), a Dataset, or batches",
    ),
    "array of targets": (((GOOD, LABELS.numpy()), 0), "train is (float32 (4, 3), ndarray)", "two torch.Tensors"),
    "generator": ((iter([GOOD]), 0), "train is list_iterator, which can be gone through only once", "again and again"),
    "shuffled": ((SHUFFLED, 0), "train is DataLoader whose first batch is another one every time", "a Dataset"),
    "changed": (
        (CHANGED, 0),
        "train is DataLoader whose first batch is another one every time",
        "nor changed at random",
    ),
    "no batches": (([], 0), "train is () without batches", "at least one batch"),
    "number": ((3, 0), "train is int", "(inputs, targets), a Dataset, or batches"),
    "lengths": (((GOOD, LABELS[:3]), 0), "train is float32 (4, 3) and int64 (3,)", "as many targets as inputs"),
    "empty": (((GOOD[:0], LABELS[:0]), 0), "train is float32 (0, 3) and int64 (0,)", "at least one"),
    "no examples": ((Pairs(), 0), "train is Pairs without examples", "at least one"),
    "scalar": (((torch.tensor(1.0), torch.tensor(1)), 0), "inputs of train are float32 ()", "two dimensions or more"),
    "flat": (((GOOD[:, 0], LABELS), 0), "inputs of train are float32 (4,)", "with two dimensions or more"),
    "complex": (
        ((GOOD.to(torch.complex64), LABELS), 0),
        "inputs of train are complex64 (4, 3)",
        "real numbers (N, ...)",
    ),
    "float (N,)": (((GOOD, GOOD[:, 0]), 0), "targets of train are float32 (4,)", "targets[:, None]"),
    "bool": (((GOOD, LABELS > 1), 0), "targets of train are bool (4,)", "classes as whole numbers (N,)"),
    "negative": (((GOOD, LABELS - 1), 0), "targets of train hold the class -1", "classes 0, 1, 2, ..."),
    "test": (((GOOD, LABELS), (GOOD, LABELS - 1)), "targets of test hold the class -1", "classes 0, 1, 2, ..."),
    "other inputs": (
        ((GOOD, LABELS), (GOOD[:, :2], LABELS)),
        "inputs are float32 (4, 3) in train and float32 (4, 2) in test",
        "the same but for N",
    ),
    "other targets": (
        ((GOOD, LABELS), (GOOD, GOOD)),
        "targets are int64 (4,) in train and float64 (4, 3) in test",
        "the same but for N",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_a_data_set_is_refused_by_name(make: Load, name: str) -> None:
    made, problem, accepted = WRONG[name]
    with pytest.raises(RequestError) as caught:
        make(made)
    first, second = str(caught.value).splitlines()
    assert first == f"data.target = nets.py:make: {problem}"
    assert second.startswith("  accepted: ")
    assert accepted in second


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mean": (0.5,)}, "inputs are float32 (4, 3), and data.mean is given"),
        ({"std": (0.5,)}, "inputs are float32 (4, 3), and data.std is given"),
        ({"augment": "crop-flip"}, "inputs are float32 (4, 3), and data.augment = crop-flip"),
    ],
)
def test_keys_of_images_are_refused_for_other_numbers(make: Load, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        make(((GOOD, LABELS), (GOOD, LABELS)), **keys)
    assert message in str(caught.value)


def test_bytes_without_channels_are_no_images(make: Load) -> None:
    part = (images(4)[:, 0], LABELS)
    with pytest.raises(
        RequestError, match=r"inputs are uint8 \(4, .*\), and data\.mean is given\n  .*inputs\[:, None\]"
    ):
        make((part, part), mean=(0.5,))


def test_statistics_of_images_have_one_number_a_channel(make: Load) -> None:
    part = (images(4), LABELS)
    with pytest.raises(RequestError, match=r"data\.mean = \[0\.5\]: own has 3 channel\(s\)"):
        make((part, part), mean=(0.5,))


def test_half_precision_becomes_single(make: Load) -> None:
    part = (GOOD.bfloat16(), LABELS)
    ((inputs, _),) = make((part, part)).to(CPU, torch.float32).train.batches(10)
    assert torch.equal(inputs, part[0].float())
    assert make((part, part)).fingerprint()["train"].startswith("sha256:")


def test_sequences_may_have_targets_that_do_not_count(make: Load) -> None:
    tokens = torch.tensor([[1, 2, 3], [4, 0, 0]])
    data = make(((tokens, torch.tensor([[2, 3, 4], [0, -100, -100]])), (tokens, tokens)))
    assert data.sequences
    assert data.outputs == 5
    assert data.train.targets.tolist()[1] == [0, -100, -100]
    assert not make(((GOOD, LABELS), (GOOD, LABELS))).sequences
    for wrong in (torch.tensor([[2, 3, 4], [0, -1, -100]]), torch.tensor([0, -100])):
        with pytest.raises(RequestError, match="hold the class -1"):
            make(((tokens, wrong), (tokens, wrong)))


def test_a_list_is_batches_and_no_data_set(make: Load) -> None:
    """Though it has len() and entries by index, too: they would be collated, and be one more dimension."""
    batches = [{"x": torch.zeros(2)}, {"x": torch.ones(3)}]
    found = list(make((batches, batches)).train.batches(1))
    assert [len(batch["x"]) for batch in found] == [2, 3]
