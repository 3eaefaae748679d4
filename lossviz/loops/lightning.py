"""Measure in a training of Lightning: `Trainer(callbacks=[probe_callback(folder, loss, every=100)])`."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lossviz.loops.probe import Probe


def probe_callback(folder: Path | str, loss: Callable[..., Any] | None = None, **settings: Any) -> Any:
    """A callback that measures before the first batch of each step, and records loss, learning rate and evaluations.

    Of what `self.log` of the module gets, val_loss and val_error are recorded.

    Args:
        folder: as of `lossviz.Probe`.
        loss: of the outputs of the module's `forward` and the targets, or of the module and a batch. It is not
            `training_step`, which logs.
        settings: as of `lossviz.Probe`; the optimizer is the trainer's, where it has one only.
    """
    fits: list[Probe] = []

    def begin(trainer: Any, module: nn.Module) -> None:
        optimizer = trainer.optimizers[0] if len(trainer.optimizers) == 1 else None
        fits.append(Probe(folder, module, loss, **{"optimizer": optimizer, **settings}))

    def measure(trainer: Any, _: nn.Module, batch: Any, *__: int) -> None:
        probe = fits[-1]
        probe(batch, trainer.global_step)
        if probe.optimizer is not None:
            probe.record(lr=probe.optimizer.param_groups[0]["lr"])

    def record(trainer: Any, _: nn.Module, outputs: Mapping[str, Tensor] | None, *__: object) -> None:
        if outputs and "loss" in outputs:  # a module that calls its optimizers itself may return anything
            # Lightning divides the loss of a batch that is one of several of a step.
            fits[-1].record(loss=outputs["loss"] * trainer.accumulate_grad_batches)

    def evaluate(trainer: Any, _: nn.Module) -> None:
        if fits:  # not where Lightning tries the evaluation before the training
            found, done = trainer.callback_metrics, trainer.global_step
            fits[-1].record_at(done, done, {name: found[name] for name in ("val_loss", "val_error") if name in found})

    def end(_: Any, __: nn.Module, error: BaseException | None = None) -> None:
        if fits:
            fits.pop().__exit__(None if error is None else type(error), error, None)

    # The trainer is of the one or of the other package, and so must be its callbacks.
    package = next(
        (name for name in ("lightning.pytorch", "pytorch_lightning") if name in sys.modules), "lightning.pytorch"
    )
    return import_module(f"{package}.callbacks").LambdaCallback(
        on_train_start=begin,
        on_train_batch_start=measure,
        on_train_batch_end=record,
        on_validation_end=evaluate,
        on_train_end=end,
        on_exception=end,
    )
