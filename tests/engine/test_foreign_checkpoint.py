"""Networks that other tools saved: wherever they nest the weights, whatever wraps the names, and never as code."""

import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lossviz.engine.checkpoint import check_fit, fit
from lossviz.engine.foreign import load_foreign
from lossviz.errors import LossvizError, RequestError
from tests.engine.test_checkpoint import make_model, same

NESTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"acc": 94.1, "state_dict": state, "epoch": 300},
    "model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "net": lambda state: {"net": state},
    "twice": lambda state: {"model": {"state_dict": state}},
    "network": lambda state: {"network": state},
    "DeepSpeed": lambda state: {"module": state, "dp_world_size": 8},
    "super-resolution": lambda state: {"params": state},
    "an average alone": lambda state: {"ema": state, "step": 5},
    "an average beside it": lambda state: {"ema": {n: t + 1 for n, t in state.items()}, "model": state},
    "PyTorch's tutorial": lambda state: {"epoch": 3, "model_state_dict": state, "loss": torch.tensor(0.5)},
    "a name beside it": lambda state: {"model": "resnet56", "state_dict": state},
    "numpy's numbers": lambda state: {
        "net": state,
        "acc": np.float64(94.1),
        "epoch": np.int64(3),
        "best": np.bool_(True),
        "history": np.arange(6.0).reshape(2, 3),
        "small": [np.float32(1), np.uint8(2)],
    },
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_pytorch_files(tmp_path: Path, nest: str, prefix: str, zipped: bool) -> None:
    state = make_model().state_dict()
    path = tmp_path / "foreign.t7"
    wrapped = NESTS[nest]({prefix + name: tensor for name, tensor in state.items()})
    torch.save(wrapped, path, _use_new_zipfile_serialization=zipped)
    assert same(load_foreign(path), dict(state))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_foreign_safetensors(tmp_path: Path, prefix: str) -> None:
    state = {name: tensor.contiguous() for name, tensor in make_model().state_dict().items()}
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({prefix + name: tensor for name, tensor in state.items()}, path)
    assert same(load_foreign(path), state)


def test_numbers_of_numpy_1_too(tmp_path: Path) -> None:
    """Its modules had other names; this is what it wrote."""
    state, path = dict(make_model().state_dict()), tmp_path / "old.t7"
    torch.save({"net": state, "acc": np.float64(94.1)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"cnumpy._core.multiarray\nscalar\n" in content
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert same(load_foreign(path), state)


def test_nothing_of_numpy_runs(tmp_path: Path) -> None:
    """numpy can be asked to make things of any size and type; a checkpoint's numbers in its types are passed over."""
    path = tmp_path / "a.pt"
    torch.save({"net": {"a": torch.zeros(1)}, "acc": np.float64(94.1)}, path)
    made: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "dtype", made.append)
        patch.setattr("numpy._core.multiarray.scalar", made.append)
        assert list(load_foreign(path)) == ["a"]
    assert not made
    # and only while a checkpoint is read
    with pytest.raises(pickle.UnpicklingError, match=r"numpy\._core\.multiarray\.scalar"):
        torch.load(path, weights_only=True)


def test_storages_of_a_gpu_are_read_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = dict(make_model().state_dict()), tmp_path / "cuda.t7"
    with monkeypatch.context() as patch:
        # What torch.save writes beside a storage that lies on the first GPU.
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save({"net": state}, path, _use_new_zipfile_serialization=False)
    assert b"cuda:0" in path.read_bytes()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
            torch.load(path, weights_only=True)
    assert same(load_foreign(path), state)
    assert {tensor.device.type for tensor in load_foreign(path).values()} == {"cpu"}


class Wrapped(nn.Module):
    """A network whose author calls a part of it `module`, as DataParallel does."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.module = make_model(seed)
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace("module.", "module._orig_mod."),
        lambda name: name.removeprefix("module."),
    ],
)
def test_wrappers_inside_a_network_and_in_a_file_do_not_matter(tmp_path: Path, spell: Callable[[str], str]) -> None:
    saved, model = Wrapped(0).state_dict(), Wrapped(1)
    torch.save({spell(name): tensor for name, tensor in saved.items()}, tmp_path / "a.pt")
    fit(model, load_foreign(tmp_path / "a.pt"), tmp_path / "a.pt")
    assert same(dict(model.state_dict()), dict(saved))


def test_a_part_that_was_parallel(tmp_path: Path) -> None:
    """torchvision's VGG of old days: `features.module.0.weight`."""
    saved, model = nn.ModuleDict({"features": make_model(0)}).state_dict(), nn.ModuleDict({"features": make_model(1)})
    found = check_fit(model, {name.replace(".", ".module.", 1): each for name, each in saved.items()}, tmp_path)
    assert same(found, dict(saved))


def test_a_tensor_that_stands_twice_is_refused(tmp_path: Path) -> None:
    model = make_model()
    twice = {**model.state_dict(), "module.0.weight": torch.zeros(4, 3, 3, 3)}
    torch.save(twice, tmp_path / "a.pt")
    with pytest.raises(RequestError, match=r"a\.pt: belongs to another network: it holds a tensor twice"):
        fit(model, load_foreign(tmp_path / "a.pt"), tmp_path / "a.pt")


def test_fit_takes_files_without_counters(tmp_path: Path) -> None:
    old, model = make_model(0).state_dict(), make_model(1)
    del old["1.num_batches_tracked"]
    fit(model, old, tmp_path / "old.t7")
    assert same({name: model.state_dict()[name] for name in old}, dict(old))
    assert model.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.requires_grad for parameter in model.parameters())


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["evil.pt", "evil.safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda tree, path: path.write_bytes(pickle.dumps(tree))])
def test_code_in_a_file_never_runs(tmp_path: Path, name: str, write: Callable[[object, Path], object]) -> None:
    path, proof = tmp_path / name, tmp_path / "it ran"
    write({"state_dict": make_model().state_dict(), "extra": Evil(proof)}, path)
    with pytest.raises(RequestError, match=f"{name}: is not a checkpoint that can be read without running its code"):
        load_foreign(path)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))
    assert proof.exists()  # this is what it would have done


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(make_model(), tmp_path / "module.pt")
    with pytest.raises(RequestError, match=r"module\.pt: .*: it holds torch\.nn\.modules\.") as caught:
        load_foreign(tmp_path / "module.pt")
    assert "weights_only" not in str(caught.value)
    assert str(caught.value).endswith("save model.state_dict()")


def test_what_a_file_without_tensors_holds_is_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": {"a": torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(RequestError, match=r"holds no state_dict, but a dict of epoch, weights\n"):
        load_foreign(tmp_path / "a.pt")


@pytest.mark.parametrize("tree", [{}, [], {"state_dict": 3}, {"a": 1.0}, {"weights": {"a": torch.zeros(1)}}, "text"])
def test_a_file_without_tensors_is_refused(tmp_path: Path, tree: object) -> None:
    torch.save(tree, tmp_path / "a.pt")
    with pytest.raises(RequestError, match=r"(?s)a\.pt: holds no state_dict.*state_dict, model_state_dict, model, net"):
        load_foreign(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "foreign.safetensors"])
def test_damaged_foreign_files_never_crash(tmp_path: Path, name: str) -> None:
    path, state = tmp_path / name, make_model().state_dict()
    if name == "foreign.safetensors":
        safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    else:
        torch.save(dict(state), path, _use_new_zipfile_serialization=name == "zip.pt")
    content, draws = path.read_bytes(), torch.Generator().manual_seed(0)
    refused = 0
    for at, value in zip(
        torch.randint(0, min(len(content), 1500), (400,), generator=draws).tolist(),
        torch.randint(0, 256, (400,), generator=draws).tolist(),
        strict=True,
    ):
        path.write_bytes(content[:at] + bytes([value]) + (content[at + 1 :] if at % 4 else b""))
        try:
            load_foreign(path)
        except LossvizError as error:
            assert name in str(error)
            refused += 1
    assert refused > 100


class Hyperparameters:
    """Stands for classes of the person who trained."""

    def __init__(self) -> None:
        self.lr = 0.1


def lightning(model: nn.Module, **hyper_parameters: object) -> dict[str, object]:
    """What Lightning's ModelCheckpoint writes of a LightningModule that has its network in `self.model`."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**state, "criterion.weight": torch.ones(2)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"dirpath": Path("runs"), "best_model_score": None}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(400.0)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
    }


def test_lightning_s_checkpoints(tmp_path: Path) -> None:
    """Hyper-parameters of any class, and what the module has beside its network, do not matter."""
    model, other, path = make_model(), make_model(1), tmp_path / "last.ckpt"
    own, loss = Hyperparameters(), nn.CrossEntropyLoss()
    torch.save(lightning(model, own=own, loss=loss, namespace=Namespace(lr=0.1), folder=tmp_path), path)
    fit(other, load_foreign(path), path)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_lightning_wrote(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="needs lightning")
    model, other, path = make_model(), make_model(1), tmp_path / "last.ckpt"

    def training_step(self: Any, batch: tuple[Tensor, Tensor]) -> Any:
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())

    methods = {"training_step": training_step, "configure_optimizers": configure_optimizers}
    module = type("Module", (lightning.LightningModule,), methods)()
    module.net, module.loss = model, nn.CrossEntropyLoss(weight=torch.ones(2))
    module.save_hyperparameters({"own": Hyperparameters(), "namespace": Namespace(lr=0.1)})
    data = torch.utils.data.TensorDataset(torch.randn(8, 3, 4, 4), torch.randint(0, 2, (8,)))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(data, 4))
    trainer.save_checkpoint(path)
    with pytest.raises(pickle.UnpicklingError, match="Hyperparameters"):
        torch.load(path, weights_only=True)
    fit(other, load_foreign(path), path)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


def test_code_in_lightning_s_hyper_parameters_never_runs(tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.ckpt", tmp_path / "it ran"
    torch.save(lightning(make_model(), evil=Evil(proof)), path)
    with pytest.raises(RequestError, match=r"evil\.ckpt: is not a checkpoint.* without running its code: it holds"):
        load_foreign(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists()  # this is what it would have done


def test_two_networks_in_one_checkpoint_are_not_guessed_at(tmp_path: Path) -> None:
    path, state = tmp_path / "gan.ckpt", make_model().state_dict()
    torch.save({f"{part}.{name}": tensor for part in ("student", "teacher") for name, tensor in state.items()}, path)
    with pytest.raises(RequestError, match=r"holds the network several times, under student\. or teacher\.\n"):
        fit(make_model(1), load_foreign(path), path)
