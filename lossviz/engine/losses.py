"""The two kinds of functions that give the losses of a batch: of outputs, or of the model and the batch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch, kind, tensors
from lossviz.engine.outputs import PerExample, are_classes, count_right, ignored_label, scores
from lossviz.engine.precision import Precision
from lossviz.engine.terms import Losses, Term
from lossviz.engine.views import over_views
from lossviz.errors import refuse

Closure = Callable[[nn.Module, Batch], Any]
"""From the model and a batch to losses (N,), to (sums (N,), counts (N,)), or to a mapping from names to these."""

RETURNS = "one value for each example, (N,); or (sums, counts), each (N,); or a mapping from names to these"
# Endings of variables of result files, which no term may have.
_TAKEN = ("stderr", "deviation")


@dataclass(frozen=True)
class OfOutputs:
    """`loss(outputs, targets)`: of what the network makes of the inputs; a batch is (inputs, targets).

    Attributes:
        function: the loss.
        views: whether inputs of five dimensions are several views of each image, as in ten-crop evaluation.
        counts: whether a mean over a batch is over the examples that count. Else it is over all, and a batch must
            hold none that the loss ignores; that saves a look at the labels in every step of a training.
    """

    function: PerExample
    views: bool = False
    counts: bool = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example."""
        return self.function(outputs, targets)

    @cached_property
    def ignored(self) -> int:
        """The label whose examples do not count."""
        return ignored_label(self.function)

    def forward(self, network: Callable[[Tensor], Tensor], precision: Precision) -> Callable[[Tensor], Tensor]:
        """From inputs to outputs in which a loss can be computed, over all views.

        Of a copy of the inputs: a network may work on them in place, and others come to see them.
        """
        network = partial(over_views, network) if self.views else network

        def of_copy(inputs: Tensor) -> Tensor:
            with precision.mixed():
                outputs = scores(network(inputs.clone()))
            return precision.widened(outputs)

        return of_copy

    def outputs(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Tensor]:
        """From a batch to what shows whether two networks are one: the outputs."""
        forward = self.forward(network, precision)
        return lambda batch: forward(batch[0])

    def losses(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Losses]:
        """From a batch to its losses."""
        return self.judged(self.forward(network, precision))

    watched = losses

    def judged(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Batch], Losses]:
        """From a batch to the losses of a forward pass."""

        def of_batch(batch: Batch) -> Losses:
            inputs, targets = batch
            outputs = forward(inputs)
            term = Term(self.function(outputs, targets))
            if not are_classes(outputs, targets):
                return Losses(term, _no_answers(outputs.device), outputs=outputs)
            counted = targets != self.ignored
            if self.counts and not bool(counted.all()):
                term = Term(term.sums, counted)
            return Losses(term, count_right(outputs.detach(), targets, counted), counted=counted, outputs=outputs)

        return of_batch

    def sizes(self, batch: Batch) -> tuple[float, float] | None:
        """As `Losses.sizes`, where the targets alone tell."""
        _, targets = batch
        alone = targets.is_floating_point() or not (targets == self.ignored).any()
        return (len(targets), len(targets)) if alone else None

    def examples(self, batch: Batch) -> int:
        """How many there are."""
        return len(batch[1])

    def few(self, batch: Batch, count: int) -> Batch:
        """The first examples of a batch."""
        inputs, targets = batch
        return inputs[:count], targets[:count]


@dataclass(frozen=True)
class OfModel:
    """`loss(model, batch)`: a closure, which alone knows what a batch is and how the model is called.

    Attributes:
        function: the loss.
        name: of the term that is the loss; the first unless given.
    """

    function: Closure
    name: str | None = None

    def outputs(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Tensor]:
        """From a batch to what shows whether two networks are one: outputs, where the closure calls the network."""
        watched = self.watched(network, precision)
        return lambda batch: watched(batch).seen

    def watched(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Losses]:
        """From a batch to its losses with the outputs, where the closure calls the network and they have N rows.

        Of a tiny loss, such as that of a converged network, float32 keeps few digits: they show less than the outputs.
        """
        losses = self.losses(network, precision)

        def of_batch(batch: Batch) -> Losses:
            heard: list[object] = []
            handle = network.register_forward_hook(lambda *call: heard.append(call[-1]))
            try:
                found = losses(batch)
            finally:
                handle.remove()
            of_examples = (each for each in tensors(heard) if each.dim() and len(each) == found.examples)
            return replace(found, outputs=next(filter(Tensor.is_floating_point, of_examples), None))

        return of_batch

    def losses(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Losses]:
        """From a batch to its losses."""

        def of_batch(batch: Batch) -> Losses:
            with precision.mixed():
                found = self.function(network, batch)
            terms = {name: _term(name, value, precision) for name, value in _named(found).items()}
            wanted = next(iter(terms)) if self.name is None else self.name
            if wanted not in terms:
                accepted = ", ".join(terms) if isinstance(found, Mapping) else "none, as there is one loss only"
                refuse("loss.term", "the loss has no term of that name", given=wanted, accepted=accepted)
            term = terms.pop(wanted)
            return Losses(term, _no_answers(term.sums.device), terms)

        return of_batch

    def sizes(self, _: Batch) -> None:
        """Only the closure knows."""

    def examples(self, _: Batch) -> None:
        """Only the closure knows."""

    def few(self, batch: Batch, _: int) -> Batch:
        """The whole batch: nobody else can take it apart."""
        return batch


Loss = OfOutputs | OfModel


def loss_of(function: Callable[..., Any] | Loss, *, views: bool = False, term: str | None = None) -> Loss:
    """The kind of a loss: of the model where the first parameter is named `model`, else of outputs.

    Args:
        function: the loss.
        views: see `OfOutputs`.
        term: see `OfModel`.

    Example:
        >>> from lossviz.engine.outputs import cross_entropy
        >>> type(loss_of(cross_entropy)).__name__, type(loss_of(lambda model, batch: model(batch))).__name__
        ('OfOutputs', 'OfModel')
    """
    if isinstance(function, OfOutputs | OfModel):
        return function
    if _takes_model(function):
        return OfModel(function, term)
    if term is not None:
        problem = "the loss takes outputs and targets, as its first parameter is not named model, and has no terms"
        refuse("loss.term", problem, given=term, accepted="a loss(model, batch) that returns a mapping")
    return OfOutputs(function, views)


def _takes_model(function: Callable[..., Any]) -> bool:
    """Whether the first parameter of a loss is named `model`."""
    return first_parameter(function) == "model"


def first_parameter(function: Callable[..., Any]) -> str:
    """The name of the first parameter of a loss; empty where it tells none."""
    try:
        return next(iter(inspect.signature(function).parameters), "")
    except ValueError:  # a builtin function
        return ""


def _no_answers(device: torch.device) -> Tensor:
    return torch.full((), float("nan"), dtype=torch.float64, device=device)


def _named(found: object) -> Mapping[str, object]:
    if not isinstance(found, Mapping):
        return {"": found}
    wrong = [name for name in found if not (isinstance(name, str) and name.isidentifier()) or name.endswith(_TAKEN)]
    if wrong or not found:
        problem = f"has a term named {wrong[0]!r}" if wrong else "returned a mapping without terms"
        refuse("the loss", problem, accepted="names of letters, digits and _, as of variables; not stderr, deviation")
    return found


def _term(name: str, value: object, precision: Precision) -> Term:
    sums, counts = value if isinstance(value, tuple | list) and len(value) == 2 else (value, None)
    subject = f"the loss, term {name}" if name else "the loss"
    if not isinstance(sums, Tensor) or not isinstance(counts, Tensor | None):
        refuse(subject, f"returned {kind(value)}", accepted=RETURNS)
    if sums.dim() != 1:
        problem = "returned one number for the whole batch" if sums.dim() == 0 else f"returned {tuple(sums.shape)}"
        advice = 'with torch\'s own losses, reduction="none", and the mean over all dimensions but the first'
        refuse(subject, problem, accepted=RETURNS, advice=advice)
    if counts is not None and counts.shape != sums.shape:
        problem = f"returned sums {tuple(sums.shape)} and counts {tuple(counts.shape)}"
        refuse(subject, problem, accepted="as many counts as sums, one for each example")
    if not len(sums):
        refuse(subject, "returned no value: its batch has no example", accepted="batches of one example or more")
    if not (sums.is_floating_point() or sums.is_complex()):
        sums = sums.to(precision.dtype)  # such as which answers are wrong
    if counts is not None:
        counts = counts.to(sums.device)
        sums = sums * (counts > 0)  # NaN stays NaN, so that the rehearsal sees it
    return Term(precision.widened(sums), counts)
