"""A callback in a training of the real Lightning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lossviz.config.measures import MEASURES
from lossviz.loops.lightning import probe_callback
from lossviz.results import load_results
from tests.faults.tiny import flat

lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed: pip install lightning")

INPUTS = torch.randn(24, 6, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(INPUTS, torch.arange(24) % 3)


class Steps:
    """A module as everybody writes it, with an evaluation that is logged."""

    log: Any

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 3))

    def forward(self, inputs: Tensor) -> Any:
        return self.net(inputs)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss = functional.cross_entropy(self.forward(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_loss", functional.cross_entropy(self.forward(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=0.01)


Classifier: Any = type("Classifier", (Steps, lightning.LightningModule), {})


def fitted(
    folder: Path, *callbacks: object, make: Any = Classifier, compiled: Any = lambda module: module, **settings: Any
) -> tuple[list[object], list[float]]:
    """The weights after a training on a loader that shuffles, and the losses of its batches."""
    lightning.seed_everything(0)
    module = make()
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(compiled(module), DataLoader(DATA, 8, shuffle=True), DataLoader(DATA, 24))
    return [flat(each) for each in module.state_dict().values()], module.losses


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16-mixed", "accumulate_grad_batches": 3}], ids=["", "mixed"])
def test_it_measures_and_records_and_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain, losses = fitted(tmp_path, **settings)
    callback = probe_callback(
        tmp_path / "run",
        every=2 if not settings else 1,
        measures=list(MEASURES),
        layers=[1],
        batches=DataLoader(DATA, 8),
    )
    assert fitted(tmp_path, callback, **settings) == (plain, losses)
    found, curves = load_results(tmp_path / "run" / "probe.nc"), load_results(tmp_path / "run" / "train.nc")
    assert found.step.values.tolist() == ([0, 2, 4] if not settings else [0, 1])
    assert found.attrs["precision"] == "float32"
    steps = 6 if not settings else 2
    assert curves.step.values.tolist() == list(range(steps))
    np.testing.assert_allclose(curves.loss, losses[len(losses) // steps - 1 :: len(losses) // steps], rtol=1e-6)
    np.testing.assert_allclose(curves.lr, [0.01] * steps)
    assert curves.eval_step.values.tolist() == [steps // 2, steps]
    assert np.isfinite(curves.val_loss).all()


def test_compiled_it_is_measured_as_it_is_written(tmp_path: Path) -> None:
    """Lightning puts what torch.compile made into the place of the module's methods."""
    found = []
    for i, compiled in enumerate((lambda module: module, lambda module: torch.compile(module, backend="eager"))):
        callback = probe_callback(tmp_path / str(i), every=2)
        fitted(tmp_path, callback, compiled=compiled)
        found.append(load_results(tmp_path / str(i) / "probe.nc").loss.values.tolist())
    assert found[0] == found[1]


class ByHand(Steps):
    """Calls its two optimizers itself, and returns what it likes."""

    automatic_optimization: bool
    optimizers: Any

    def __init__(self, returns: Any = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.returns = returns

    def training_step(self, batch: list[Tensor], _: int) -> Any:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        functional.cross_entropy(self.forward(batch[0]), batch[1]).backward()
        for optimizer in self.optimizers():
            optimizer.step()
        return self.returns

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.net[i].parameters(), lr=0.01) for i in (0, 4)]


@pytest.mark.parametrize("returns", [None, {"generator": torch.ones(())}], ids=["nothing", "no loss"])
def test_a_module_that_calls_its_optimizers_itself(tmp_path: Path, returns: object) -> None:
    """Lightning counts the steps of both: two a batch."""
    manual: Any = type("Manual", (ByHand, lightning.LightningModule), {})
    fitted(tmp_path, probe_callback(tmp_path / "run", every=3), make=lambda: manual(returns))
    assert load_results(tmp_path / "run" / "probe.nc").step.values.tolist() == [0, 4, 6, 10]
    curves = load_results(tmp_path / "run" / "train.nc")
    assert curves.eval_step.values.tolist() == [6, 12]
    assert curves.step.size == 0
