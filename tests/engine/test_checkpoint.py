from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lossviz.engine.checkpoint import fit, load_resume, load_tensors, of_step, save_resume, save_tensors
from lossviz.engine.foreign import load_foreign
from lossviz.engine.state import tensors_of
from lossviz.errors import RequestError, WorkError


def make_model(seed: int = 0, wide: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, wide, 3), nn.BatchNorm2d(wide), nn.Flatten(), nn.Linear(4 * wide, 2))
    model(torch.randn(5, 3, 4, 4))
    return model.to(memory_format=torch.channels_last)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    pairs = [(tensor, second[name]) for name, tensor in first.items()]
    return first.keys() == second.keys() and all(
        one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other) for one, other in pairs
    )


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def odd_tensors() -> dict[str, Tensor]:
    strange = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    return {
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).t(),
        "scalar": torch.tensor(7),
        "strange": strange,
        "double": torch.randn(3, dtype=torch.float64),
        "empty": torch.zeros(0, 2),
        "needs grad": torch.randn(2, requires_grad=True),
    }


def test_round_trip_is_bitwise(tmp_path: Path) -> None:
    path, tensors = tmp_path / "step-00000001.safetensors", odd_tensors()
    save_tensors(path, tensors)
    assert same(load_tensors(path), {name: tensor.detach() for name, tensor in tensors.items()})
    assert same(load_foreign(path), load_tensors(path))


def test_zeros_that_take_no_memory_are_written(tmp_path: Path) -> None:
    """Of one number too, as the bias of a network with one output."""
    tensors = {str(shape): torch.zeros(()).expand(shape) for shape in [(), (1,), (1, 1), (3, 2), (0,)]}
    save_tensors(tmp_path / "zeros.safetensors", tensors)
    assert same(load_tensors(tmp_path / "zeros.safetensors"), {name: each.clone() for name, each in tensors.items()})


def test_files_are_plain_safetensors_and_repeat_bitwise(tmp_path: Path) -> None:
    state = make_model().state_dict()
    for name in "ab":
        save_tensors(tmp_path / f"{name}.safetensors", state)
    content = (tmp_path / "a.safetensors").read_bytes()
    assert content == (tmp_path / "b.safetensors").read_bytes()
    assert same(safetensors.torch.load(content), dict(state))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and a state to resume from."""
    folder, model = tmp_path_factory.mktemp("sealed"), make_model()
    save_tensors(folder / "step.safetensors", model.state_dict())
    save_resume(folder / "resume.pt", 3, model, torch.optim.SGD(model.parameters(), 0.1))
    return folder


@given(st.sampled_from(["step.safetensors", "resume.pt"]), st.data())
@settings(max_examples=150)
def test_any_damage_is_noticed(sealed: Path, name: str, data: st.DataObject) -> None:
    content = (sealed / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) + content[at + 1 :]
    path = sealed / f"damaged {name}"
    path.write_bytes(content[:at] + (flipped if data.draw(st.booleans()) else b""))
    model = make_model()
    with pytest.raises(WorkError, match=f"damaged {name}.*checksum"):
        load_resume(path, model, torch.optim.SGD(model.parameters(), 0.1)) if name == "resume.pt" else load_tensors(
            path
        )


def test_a_whole_file_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    model, path = make_model(), tmp_path / "a.safetensors"
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    save_tensors(path, model.state_dict(), of_step("tiny/a", 3))
    save_resume(tmp_path / "resume.pt", 3, model, optimizer, "tiny/a")
    assert same(load_tensors(path, (of_step("tiny/a", 3),)), load_tensors(path))
    assert load_resume(tmp_path / "resume.pt", model, optimizer, ("new/a", "tiny/a")) == 3
    for wanted in (of_step("tiny/a", 4), of_step("tiny/b", 3)):
        with pytest.raises(WorkError, match=f"a.safetensors: is of tiny/a, step 3, and should be of {wanted}"):
            load_tensors(path, (wanted,))
    with pytest.raises(WorkError, match=r"resume\.pt: is of tiny/a, and should be of tiny/b"):
        load_resume(tmp_path / "resume.pt", model, optimizer, ("tiny/b",))
    save_tensors(path, model.state_dict())  # as earlier versions wrote it
    assert same(load_tensors(path, ("anything",)), load_tensors(path))


def test_appended_bytes_are_noticed(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a.safetensors", make_model().state_dict())
    with (tmp_path / "a.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WorkError, match=r"a\.safetensors"):
        load_foreign(tmp_path / "a.safetensors")


@pytest.mark.parametrize("load", [load_tensors, load_foreign])
def test_missing_file(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(RequestError, match=r"none\.safetensors"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": torch.zeros(5, 3, 3, 3)}, "0.weight is (5, 3, 3, 3) in the file and (4, 3, 3, 3) in the network"),
        ({"1.running_var": None}, "1.running_var (4,) is missing in the file"),
        ({"3.bias": torch.tensor(0.0)}, "3.bias is () in the file and (2,) in the network"),
        (
            {"shortcut.weight": torch.zeros(4, 3, 1, 1)},
            "shortcut.weight (4, 3, 1, 1) is in the file and not in the network",
        ),
    ],
)
def test_fit_names_the_first_difference(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    model = make_model(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = {**make_model(1).state_dict(), **change}
    with pytest.raises(RequestError) as caught:
        fit(model, {name: tensor for name, tensor in other.items() if tensor is not None}, tmp_path / "other.pt")
    assert f"other.pt: belongs to another network: {message}" in str(caught.value)
    assert same(dict(model.state_dict()), before)


def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(5, 3, 4, 4).cumsum(0)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
        lambda parameters: torch.optim.SGD(parameters, 0.1),
        lambda parameters: torch.optim.AdamW(parameters, 0.01),
    ],
)
def test_resume_goes_on_bitwise(tmp_path: Path, make: Callable[[Any], torch.optim.Optimizer]) -> None:
    model, resumed = make_model(0), make_model(1)
    optimizer, other = make(model.parameters()), make(resumed.parameters())
    update(model, optimizer)
    save_resume(tmp_path / "resume.pt", 17, model, optimizer)
    assert load_resume(tmp_path / "resume.pt", resumed, other) == 17
    assert same(dict(resumed.state_dict()), dict(model.state_dict()))
    for _ in range(3):
        update(model, optimizer)
        update(resumed, other)
    assert same(dict(resumed.state_dict()), dict(model.state_dict()))


def test_resume_into_another_network_is_refused(tmp_path: Path) -> None:
    model, wide = make_model(), make_model(wide=5)
    save_resume(tmp_path / "resume.pt", 1, model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(RequestError, match=r"resume\.pt: belongs to another network: 0\.weight"):
        load_resume(tmp_path / "resume.pt", wide, torch.optim.SGD(wide.parameters(), 0.1))


def test_an_average_of_the_weights(tmp_path: Path) -> None:
    """torch's own saves the number of networks in it beside them."""
    model = make_model()
    torch.save(AveragedModel(make_model(1)).state_dict(), tmp_path / "a.pt")
    fit(model, load_foreign(tmp_path / "a.pt"), tmp_path / "a.pt")
    assert same(dict(model.state_dict()), dict(make_model(1).state_dict()))


class Scaled(nn.Linear):
    """Has more to say of itself than tensors, as layers of fp8 do."""

    def get_extra_state(self) -> object:
        return {"scale": 2.0}

    def set_extra_state(self, state: object) -> None:
        raise AssertionError(f"a checkpoint has an extra state: {state}")


def test_extra_states_are_in_no_checkpoint(tmp_path: Path) -> None:
    """Neither in one of our own nor in the state to resume from; and in other tools' they do not matter."""
    saved, model = Scaled(3, 2), Scaled(3, 2)
    optimizer = torch.optim.SGD(saved.parameters(), lr=0.1)
    save_tensors(tmp_path / "a.safetensors", tensors_of(saved))
    fit(model, load_tensors(tmp_path / "a.safetensors"), tmp_path / "a.safetensors")
    assert torch.equal(model.weight, saved.weight)
    save_resume(tmp_path / "resume", 3, saved, optimizer)
    torch.save(saved.state_dict(), tmp_path / "a.pt")
    for load in (
        lambda other: load_resume(tmp_path / "resume", other, optimizer),
        lambda other: fit(other, load_foreign(tmp_path / "a.pt"), tmp_path / "a.pt"),
        lambda other: fit(other, saved.state_dict(), tmp_path),
    ):
        other = Scaled(3, 2)
        load(other)
        assert torch.equal(other.weight, saved.weight)
