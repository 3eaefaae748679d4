"""Losses of the model: bitwise those of outputs, ratios of ragged sequences, named terms, derivatives by inputs."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import Hessian, mean_gradient
from lossviz.engine.evaluation import evaluate
from lossviz.engine.losses import OfModel, OfOutputs, loss_of
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError
from tests.closed_forms import Parabola, slope_residual


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(16, 3)]
    return nn.Sequential(*layers)


def pictures(count: int = 11) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 4, 4, generator=draws), torch.arange(count) % 3


def closure(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch["image"]), batch["label"], reduction="none")


@pytest.mark.parametrize("training", [True, False])
def test_a_closure_is_bitwise_the_built_in_path(training: bool) -> None:
    """Loss, gradient, Hessian and standard error, with dropout and BatchNorm."""
    inputs, targets = pictures()
    found = []
    for loss, batch in ((None, (inputs, targets)), (closure, {"image": inputs, "label": targets})):
        model = network().train(training)
        objective = Objective(model) if loss is None else Objective(model, loss)
        minibatch = Minibatch(batch, 5)
        here = objective.differentiate(minibatch)
        hessian = Hessian(objective, [minibatch, minibatch])
        evaluation = objective.evaluate([batch, batch])
        gradient = mean_gradient(objective, [minibatch, minibatch], objective.parameters)
        found.append([here.loss, *here.gradient, *gradient, hessian(hessian.start()), *model.state_dict().values()])
        found[-1] += [torch.tensor([evaluation.loss, evaluation.loss_stderr, evaluation.examples])]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_part_of_a_minibatch_weighs_by_its_examples() -> None:
    inputs, targets = pictures(12)
    objective = Objective(network().eval(), closure)
    whole = objective.differentiate(Minibatch({"image": inputs, "label": targets}, None))
    parts = [
        objective.differentiate(Minibatch({"image": inputs[rows], "label": targets[rows]}, None), examples=12)
        for rows in (slice(0, 4), slice(4, 12))
    ]
    for i, gradient in enumerate(whole.gradient):
        torch.testing.assert_close(parts[0].gradient[i] + parts[1].gradient[i], gradient)


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (functional.cross_entropy, OfOutputs),
        (nn.CrossEntropyLoss(reduction="none"), OfOutputs),
        (lambda outputs, targets: outputs - targets, OfOutputs),
        (lambda model, batch: model(batch), OfModel),
        (lambda model, batch, weight=1: weight * model(batch), OfModel),
        (lambda batch, model: model(batch), OfOutputs),
    ],
)
def test_the_name_of_the_first_parameter_tells_the_kinds_apart(loss: Callable[..., Any], kind: type) -> None:
    assert type(loss_of(loss)) is kind


class Tokens:
    """Sequences of different lengths, padded, for a network that scores the next of five tokens by the present one."""

    def __init__(self, sequences: int = 40, seed: int = 0) -> None:
        draws = np.random.default_rng(seed)
        self.lengths = draws.integers(2, 9, size=sequences)
        self.tokens = draws.integers(0, 5, size=(sequences, 9))
        self.scores = np.random.default_rng(1).normal(size=(5, 5))
        self.model = nn.Embedding.from_pretrained(torch.from_numpy(self.scores), freeze=False)

    def batches(self, size: int) -> list[dict[str, Tensor]]:
        tokens, lengths = torch.from_numpy(self.tokens), torch.from_numpy(self.lengths)
        mask = torch.arange(9) < lengths[:, None]
        return [
            {"input_ids": tokens[i : i + size], "attention_mask": mask[i : i + size].long()}
            for i in range(0, len(tokens), size)
        ]

    @staticmethod
    def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        tokens, kept = batch["input_ids"], batch["attention_mask"][:, 1:]
        losses = functional.cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")
        return (losses * kept).sum(1), kept.sum(1)

    def by_hand(self) -> tuple[float, float]:
        """Mean over all tokens, and its standard error, one token after another in float64."""
        sums, counts = [], []
        for tokens, length in zip(self.tokens, self.lengths, strict=True):
            losses = [
                np.log(np.exp(self.scores[now]).sum()) - self.scores[now, then]
                for now, then in pairwise(tokens[:length])
            ]
            sums.append(sum(losses))
            counts.append(len(losses))
        ratio, n = sum(sums) / sum(counts), len(sums)
        squares = sum((s - ratio * c) ** 2 for s, c in zip(sums, counts, strict=True))
        return ratio, (n / (n - 1) * squares) ** 0.5 / sum(counts)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_mean_over_ragged_sequences_counts_every_token_once(size: int) -> None:
    tokens = Tokens()
    found = Objective(tokens.model, tokens.loss).evaluate(tokens.batches(size))
    assert (found.loss, found.loss_stderr) == pytest.approx(tokens.by_hand(), rel=1e-12)
    assert (found.examples, found.weight) == (40, sum(tokens.lengths - 1))
    assert np.isnan(found.error)


def test_the_standard_error_of_a_ratio_is_what_repeated_samples_show() -> None:
    """Of 2,000 data sets: the spread of their means, and the mean of what they say of it."""
    means, errors = [], []
    for seed in range(2000):
        found = Tokens(50, seed).by_hand()
        means.append(found[0])
        errors.append(found[1])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.05)


def test_examples_without_tokens_do_not_count() -> None:
    sums, counts = torch.tensor([3.0, 0.0, 5.0]), torch.tensor([1, 0, 3])
    with_empty, without = (
        evaluate(Objective(nn.Linear(1, 1), lambda model, batch: batch).losses(nn.Linear(1, 1)), [pair])
        for pair in ((sums, counts), (sums[[0, 2]], counts[[0, 2]]))
    )
    assert str(with_empty) == str(without)  # the error is NaN
    assert with_empty.loss == 2


def test_they_do_not_count_in_a_gradient_either() -> None:
    """Where the sum of an example that has no token is not 0: 0.5 of the whole here, but for the counts."""

    def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return closure(model, batch), batch["count"]

    inputs, targets = pictures(6)
    some = {"image": inputs, "label": targets, "count": torch.tensor([1, 1, 0, 0, 0, 2])}
    objective = Objective(network().eval(), loss)
    expected = closure(objective.model, some)[[0, 1, 5]].sum() / 4
    here = objective.differentiate(Minibatch(some, None))
    torch.testing.assert_close(here.loss, expected.detach())
    for found, slope in zip(here.gradient, torch.autograd.grad(expected, objective.parameters), strict=True):
        torch.testing.assert_close(found, slope)
    assert objective.evaluate([some]).loss == pytest.approx(float(here.loss), rel=1e-6)


@pytest.mark.parametrize("sizes", [(40,), (7,)])
def test_gradient_and_hessian_of_a_ratio(sizes: tuple[int, ...]) -> None:
    """Against autograd through the mean over all tokens, whatever the batches."""
    tokens = Tokens()
    objective = Objective(tokens.model, tokens.loss)
    (whole,) = tokens.batches(40)
    sums, counts = tokens.loss(tokens.model, whole)
    (gradient,) = torch.autograd.grad(sums.sum() / counts.sum(), tokens.model.weight, create_graph=True)
    batches = [Minibatch(batch, None) for batch in tokens.batches(sizes[0])]
    torch.testing.assert_close(mean_gradient(objective, batches, objective.parameters)[0], gradient)
    hessian = Hessian(objective, batches)
    vector = hessian.start()
    (along,) = torch.autograd.grad(gradient.flatten() @ vector, tokens.model.weight)
    torch.testing.assert_close(hessian(vector), along.flatten())


def test_terms_may_have_different_numbers_of_examples() -> None:
    """The first is differentiated, unless another is named."""
    model = nn.Linear(1, 1, bias=False).double()

    def loss(model: nn.Module, batch: Batch) -> dict[str, Any]:
        inside, edge = batch
        return {
            "pde": model(inside).square().squeeze(1),
            "boundary": (model(edge) - 1).abs().squeeze(1),
            "both": (model(inside).squeeze(1), torch.full((len(inside),), 2.0)),
        }

    inside, edge = torch.arange(1.0, 5.0).double()[:, None], torch.tensor([[0.0], [2.0]]).double()
    weight = model.weight.item()
    found = Objective(model, loss).evaluate([(inside, edge), (inside, edge)])
    assert found.loss == pytest.approx(weight**2 * 30 / 4)
    assert found.terms["boundary"].loss == pytest.approx((1 + abs(2 * weight - 1)) / 2)
    assert found.terms["both"].loss == pytest.approx(weight * 10 / 8)
    assert list(found.terms) == ["boundary", "both"]
    other = Objective(model, loss_of(loss, term="boundary"))
    assert other.evaluate([(inside, edge)]).loss == pytest.approx((1 + abs(2 * weight - 1)) / 2)
    gradient = Objective(model, loss).differentiate(Minibatch((inside, edge), None)).gradient[0]
    assert float(gradient) == pytest.approx(2 * weight * 30 / 4)
    with pytest.raises(RequestError, match=r"loss\.term = edge: .*\n  accepted: pde, boundary, both"):
        Objective(model, loss_of(loss, term="edge")).evaluate([(inside, edge)])


def test_a_loss_of_the_derivative_by_the_input() -> None:
    """f(x) = w x^2 with the residual f'(x) - 2 x has the loss 4 (w - 1)^2 x^2, in evaluation as in training."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    objective = Objective(Parabola(), slope_residual)
    assert objective.evaluate([x]).loss == pytest.approx(16 * float(x.square().mean()), rel=1e-12)
    here = objective.differentiate(Minibatch(x, None))
    assert float(here.loss) == pytest.approx(16 * float(x.square().mean()), rel=1e-12)
    assert float(here.gradient[0]) == pytest.approx(16 * float(x.square().mean()), rel=1e-12)
    hessian = Hessian(objective, [Minibatch(x, None)])
    assert float(hessian(torch.ones(1, dtype=torch.float64))) == pytest.approx(8 * float(x.square().mean()), rel=1e-12)


ONE = torch.ones(3)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (ONE.mean(), "the loss: returned one number for the whole batch\n  accepted: one value for each example, (N,)"),
        (ONE[:, None], "the loss: returned (3, 1)\n"),
        (1.0, "the loss: returned float\n"),
        ((ONE, 3), "the loss: returned (Tensor, int)\n"),
        ((ONE, ONE[:2]), "the loss: returned sums (3,) and counts (2,)\n  accepted: as many counts as sums"),
        ({"loss": ONE.mean(), "logits": ONE}, "the loss, term loss: returned one number for the whole batch\n"),
        ({}, "the loss: returned a mapping without terms\n"),
        ({"a b": ONE}, "the loss: has a term named 'a b'\n"),
        ({"stderr": ONE}, "the loss: has a term named 'stderr'\n"),
        ({"deviation": ONE}, "the loss: has a term named 'deviation'\n"),
        (ONE[:0], "the loss: returned no value: its batch has no example\n"),
    ],
)
def test_what_a_closure_must_return(returned: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Objective(nn.Linear(1, 1), lambda model, batch: returned).evaluate([0])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("values", [[float("nan"), 1.0], [float("inf"), 1.0]])
def test_losses_that_are_not_finite_are_results(values: list[float]) -> None:
    found = Objective(nn.Linear(1, 1), lambda model, batch: torch.tensor(values)).evaluate([0])
    np.testing.assert_array_equal(found.loss, np.mean(values))


def test_a_network_that_has_converged_is_folded_all_the_same() -> None:
    """Its losses have few digits in float32: what the network returns inside of the closure is compared, if it can."""

    def scaled(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        scores = 30 * functional.one_hot(batch["label"], 3) + model(batch["image"])
        return functional.cross_entropy(scores, batch["label"], reduction="none")

    inputs, targets = pictures()
    objective = Objective(network(), scaled)
    batch = {"image": inputs, "label": targets}
    with torch.no_grad():
        for buffer in objective.model.buffers():
            buffer.add_(torch.rand(buffer.shape).to(buffer.dtype))
        assert objective.follow(batch)() is not objective.model
        outputs = objective.watched(objective.model.eval())(batch).outputs
        assert outputs is not None
        assert torch.equal(outputs, objective.model(inputs))
    assert objective.doubts == []
    assert not objective.model._forward_hooks


def test_a_term_of_a_loss_of_outputs() -> None:
    with pytest.raises(
        RequestError, match=r"loss\.term = pde: the loss takes outputs and targets, .* and has no terms"
    ):
        loss_of(functional.cross_entropy, term="pde")
