"""Measure in a training of the Trainer of transformers: `with probed(trainer, folder, loss): trainer.train()`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lossviz.loops.probe import Probe


@contextmanager
def probed(trainer: Any, folder: Path | str, loss: Callable[..., Any] | None = None, **settings: Any) -> Iterator[None]:
    """Within the block, the training of a Trainer is measured, and loss, learning rate and `eval_loss` recorded.

    A second one goes on from a checkpoint of the first, or is refused as another training.

    Args:
        trainer: a transformers.Trainer, or of a class that is derived from it.
        folder: as of `lossviz.Probe`.
        loss: of the model and a batch, which is the mapping that the collator makes.
        settings: as of `lossviz.Probe`; the optimizer is the trainer's.
    """
    begin, step, evaluate = trainer.train, trainer.training_step, trainer.evaluate
    losses: dict[int, Tensor] = {}

    with ExitStack() as stack:
        probes: list[Probe] = []

        def train(*given: Any, **named: Any) -> Any:
            # With one probe for two trainings, the measurements of the first and the curves of the second were mixed.
            stack.close()
            probes.clear()
            losses.clear()
            return begin(*given, **named)

        def training_step(model: nn.Module, inputs: Mapping[str, Any], *rest: Any) -> Tensor:
            if not probes:  # now the trainer has its optimizer
                given = {"optimizer": trainer.optimizer, **settings}
                probes.append(stack.enter_context(Probe(folder, model, loss, **given)))
                settings["fresh"] = False  # for a second training: what is discarded is older than the block
            probe, now = probes[0], trainer.state.global_step
            probe(inputs, now)
            found: Tensor = step(model, inputs, *rest)
            # The batches of a step that are accumulated are parts of its loss.
            before = losses.get(now)
            losses.clear()
            losses[now] = found if before is None else before + found
            probe.record(loss=losses[now], lr=trainer.optimizer.param_groups[0]["lr"])
            return found

        def evaluated(*given: Any, **named: Any) -> dict[str, float]:
            metrics: dict[str, float] = evaluate(*given, **named)
            if probes and "eval_loss" in metrics:
                probes[0].record(val_loss=metrics["eval_loss"])
            return metrics

        own = vars(trainer).copy()
        trainer.train, trainer.training_step, trainer.evaluate = train, training_step, evaluated
        try:
            yield
        finally:
            for name in ("train", "training_step", "evaluate"):
                del vars(trainer)[name]  # the methods of its class
                vars(trainer).update({name: own[name]} if name in own else {})
