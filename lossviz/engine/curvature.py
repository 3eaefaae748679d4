"""Gradient and Hessian of the mean loss over some batches, with respect to some of a network's parameters."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossviz.data.minibatches import Minibatch
from lossviz.engine import lanczos
from lossviz.engine.differences import Differences
from lossviz.engine.objective import Objective, dense
from lossviz.engine.point import Vector, move, squared_norm
from lossviz.errors import Refusal, WorkError

EXACT = "exact"
MATHS = "exact, with torch's plain kernel of attention"
DIFFERENCES = "finite differences"
WAYS = (EXACT, MATHS, DIFFERENCES)
# Attributes of result files.
PRODUCTS = ("hessian_products", "hessian_step", "hessian_error")
# torch's words where a backward pass has no derivative: of its own operations, of autograd.Function, of torch.compile.
_NOT_TWICE = ("differentiat", "derivative", "double backward")


@dataclass
class Products:
    """How products with the Hessian of a network are taken; decided by the first of them.

    Attributes:
        way: one of `WAYS`, the first that the network allows.
        differences: the step and the error of finite differences.
    """

    way: str = EXACT
    differences: Differences = field(default_factory=Differences)

    def attributes(self) -> dict[str, str | float]:
        """The same as attributes of a result file."""
        taken: list[str | float] = [self.way]
        if self.way == DIFFERENCES:
            taken += [self.differences.step, self.differences.error]
        return dict(zip(PRODUCTS, taken, strict=False))


_PRODUCTS = WeakKeyDictionary[nn.Module, Products]()


def products_of(model: nn.Module) -> Products:
    """How products with the Hessian of a network are taken: one answer for all objectives of the network."""
    return _PRODUCTS.setdefault(model, Products())


def attributes_of_products(model: nn.Module) -> dict[str, str | float]:
    """Attributes of a result file: how products with the Hessian of a network were taken, if there were any."""
    return _PRODUCTS[model].attributes() if model in _PRODUCTS else {}


def mean_gradient(objective: Objective, batches: Iterable[Minibatch], parameters: Vector) -> list[Tensor]:
    """The gradient of the mean loss, sum over batches b of n_b / N * grad L_b; float64, one tensor a parameter.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their N examples together are the set over which L is the mean.
        parameters: with respect to which.
    """
    examples, total = 0.0, [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    for batch in batches:
        found = objective.differentiate(batch, parameters)
        weight, counted = found.losses.sizes()
        if weight:  # a batch of padding alone has no mean, and adds nothing
            torch._foreach_add_(total, [part.double() for part in found.gradient], alpha=weight)
        examples += counted
    return [part / examples for part in total]


def gradient_norm(objective: Objective, batches: Iterable[Minibatch], parameters: Vector) -> float:
    """|grad L|, the 2-norm over all given parameters of the gradient of the mean loss."""
    return float(squared_norm(mean_gradient(objective, batches, parameters)).sqrt())


def eigenpairs(
    objective: Objective, batches: Sequence[Minibatch], ranks: Sequence[int], parameters: Vector | None = None
) -> list[tuple[float, list[Tensor]]]:
    """Eigenvalues and unit eigenvectors of the Hessian of the mean loss, by rank.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their examples together are the set over which L is the mean.
        ranks: 1, 2, ... from the largest eigenvalue; -1, -2, ... from the smallest (most negative).
        parameters: with respect to which; all trainable ones unless given.

    Returns:
        An eigenvalue and its eigenvector a rank: one tensor a parameter, in its shape and dtype. |H v - lambda v| is
        about 1e-4 of the eigenvalues from the end to this one, or after 100 products of the largest in size.

    Raises:
        WorkError: one has not converged, or there are fewer parameters.
    """
    hessian = Hessian(objective, batches, parameters)
    start = hessian.start()
    highest = lanczos.largest(hessian, start, max((0, *ranks)))
    lowest = lanczos.largest(lambda vector: -hessian(vector), start, max((0, *(-rank for rank in ranks))))
    found = []
    for rank in ranks:
        pairs = highest if rank > 0 else lowest
        if abs(rank) > len(pairs):
            subject = f"eigenvector {rank} of the Hessian of {len(start):,} parameters"
            problem = (
                f"the Lanczos iteration has not converged within {lanczos.MOST_STEPS} products, "
                "or the loss is not finite"
            )
            advice = "try eigenvectors nearer to the ends (1, -1), more examples, or another checkpoint"
            raise WorkError(Refusal(subject, problem, advice=advice))
        value, vector = pairs[abs(rank) - 1]
        found.append((value if rank > 0 else -value, hessian.split(vector)))
    return found


def extremes(
    objective: Objective, batches: Sequence[Minibatch], parameters: Vector | None = None
) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of the Hessian of the mean loss, from one Krylov space.

    Lanczos converges at both ends of the spectrum at once, so no second run on a shifted operator is needed, as in
    the code of Li et al. (2018, section 6.2). 10 to 35 products for ResNet-56 on CIFAR-10.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their examples together are the set over which L is the mean.
        parameters: with respect to which; all trainable ones unless given.

    Returns:
        With residuals of at most 3e-3 of each, or after 100 products of the larger in size; NaN where the gradient
        is not finite or the iteration has not converged by then.
    """
    hessian = Hessian(objective, batches, parameters)
    return lanczos.extremes(hessian, hessian.start())


class Hessian:
    """v -> H v = sum over batches b of n_b / N * grad <grad L_b, v>: the Hessian of the mean loss as an operator.

    Every example weighs the same, also in a ragged last batch. (The code of Li et al. adds batches up, so its
    eigenvalues are too large by their number; their ratio is not affected.)

    With one batch, the graph of its gradient is kept for all products: 1.3 to 1.6 times as fast as building it again
    (ResNet-20, one core) at the same peak of memory. The graphs of several would lie in memory together, so they
    are built again. The operator is valid as long as the parameters stay where they are.

    Where the backward pass has no derivative of its own (fused attention, somebody's autograd.Function), products are
    taken in another of `WAYS`; `products` says in which.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their N examples together are the set over which L is the mean.
        parameters: with respect to which; all trainable ones unless given.
    """

    def __init__(self, objective: Objective, batches: Sequence[Minibatch], parameters: Vector | None = None) -> None:
        self.objective = objective
        self.batches = batches
        self.parameters = objective.parameters if parameters is None else parameters
        self.sizes = [parameter.numel() for parameter in self.parameters]
        # Examples that the loss ignores add nothing to a sum, and must not divide it.
        self.weights, counted = zip(*(objective.sizes(batch) for batch in batches), strict=True)
        self.examples = sum(counted)
        self.products = products_of(objective.model)
        self._kept: list[Tensor] | None = None
        self._written: list[Tensor] | None = None

    def __call__(self, vector: Tensor) -> Tensor:
        """H v, both float64 (n,) on the device; products are taken in the network's dtype.

        NaN where the gradient is not finite.
        """
        while self.products.way != DIFFERENCES:
            try:
                return self._exact(vector)
            except RuntimeError as error:
                if not any(word in str(error) for word in _NOT_TWICE):
                    raise  # out of memory, say
            self._kept = None
            self.products.way = WAYS[WAYS.index(self.products.way) + 1]
        return self._by_differences(vector)

    def _exact(self, vector: Tensor) -> Tensor:
        if len(self.batches) == 1 and self._kept is None:
            self._kept = self._gradient(self.batches[0])
        along = self.split(vector)
        total = torch.zeros_like(vector)
        for batch, weight in zip(self.batches, self.weights, strict=True):
            if self.examples and not weight:
                continue  # it has no mean
            gradient = self._kept or self._gradient(batch)
            product = torch.cat([part.double().flatten() for part in self._differentiate_again(gradient, along)])
            total.add_(product, alpha=weight / self.examples if self.examples else math.nan)
            # Zero, or NaN: a loss that has become infinite may look as if it had no curvature.
            total += 0 * squared_norm([part.detach() for part in gradient])
        return total

    def _by_differences(self, vector: Tensor) -> Tensor:
        length = float(vector.norm())
        along = self.split(vector / length) if length else self.split(vector)
        origin = [parameter.detach().clone() for parameter in self.parameters]

        def gradient(step: float) -> Tensor:
            move(self.parameters, origin, (step, along))
            parts = mean_gradient(self.objective, self.batches, self.parameters)
            return torch.cat([part.flatten() for part in parts])

        try:
            return length * self.products.differences.product(gradient, float(squared_norm(origin).sqrt()))
        finally:
            move(self.parameters, origin)

    def start(self) -> Tensor:
        """A random vector to begin Lanczos with, float64 (n,), always the same."""
        draws = torch.Generator().manual_seed(0)
        # By name: a person's default device may be another one, for which this generator does not draw.
        numbers = torch.randn(sum(self.sizes), generator=draws, dtype=torch.float64, device="cpu")
        return numbers.to(self.objective.device)

    def split(self, vector: Tensor) -> list[Tensor]:
        """A vector (n,) as one tensor a parameter, in its shape and dtype."""
        pieces = zip(torch.split(vector, self.sizes), self.parameters, strict=True)
        return [piece.view(parameter.shape).to(parameter.dtype) for piece, parameter in pieces]

    def _gradient(self, batch: Minibatch) -> list[Tensor]:
        """The gradient of the loss of a batch, ready to be differentiated again."""
        # The plain kernel of attention, where the fused ones have no second derivatives.
        with sdpa_kernel(SDPBackend.MATH) if self.products.way == MATHS else nullcontext():
            loss = self.objective.apply(batch).mean
        found = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True, materialize_grads=True)
        return dense(found)

    def _differentiate_again(self, gradient: Vector, along: Vector) -> list[Tensor]:
        """The gradient of <gradient, along>, one tensor a parameter.

        backward() and not autograd.grad(): the latter prunes the nodes that say "cannot be differentiated twice",
        and the curvature would silently be too small.
        """
        curved = [(part, v) for part, v in zip(gradient, along, strict=True) if part.requires_grad]
        if self._written is None or self._kept is None:
            # Also tensors of a loss, or inputs that want a gradient: backward() writes into all of them.
            others = {id(leaf): leaf for leaf in leaves([part for part, _ in curved])}
            self._written = [*({id(each): each for each in self.objective.parameters} | others).values()]
        with _blank(self._written):
            if curved:  # else the loss is linear in the parameters
                parts, vectors = zip(*curved, strict=True)
                torch.autograd.backward(parts, vectors, retain_graph=self._kept is not None)
            return dense(torch.zeros_like(each) if each.grad is None else each.grad for each in self.parameters)


@contextmanager
def _blank(written: Sequence[Tensor]) -> Iterator[None]:
    """Tensors without `.grad`, and without what is called when it is written, as optimisers do that step on the way."""
    grads = [leaf.grad for leaf in written]
    hooks = [leaf._post_accumulate_grad_hooks or {} for leaf in written]
    called = [dict(each) for each in hooks]
    try:
        for leaf, each in zip(written, hooks, strict=True):
            leaf.grad = None
            each.clear()  # it is torch's own: once another stands in its place, torch calls what is in this one
        yield
    finally:
        for leaf, grad, each, functions in zip(written, grads, hooks, called, strict=True):
            leaf.grad = grad
            each.update(functions)


def leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors into whose `.grad` a backward pass from these writes."""
    seen = set[object]()
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors]
    found = []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # AccumulateGrad's; a person's own Function may have one too
        if isinstance(leaf, Tensor) and leaf.is_leaf:
            found.append(leaf)
        waiting += [each for each, _ in node.next_functions]
    return found
