"""The loss of sequences against a loop in float64, and sequences through all commands."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import eigenpairs
from lossviz.engine.evaluation import evaluate
from lossviz.engine.losses import OfModel
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import IGNORED
from lossviz.engine.precision import Precision
from lossviz.engine.tokens import OfTokens, token_losses
from lossviz.errors import RequestError
from lossviz.notebook import loss_surface
from lossviz.results import load_results
from tests.faults import tiny

PLAIN = Precision(torch.device("cpu"), torch.float64)
TOKENS = 5


GPT = """
name: sequences
data: {name: text, context: 8, examples: 40}
model: {name: gpt, depth: 1, width: 8, heads: 2}
train: {steps: 6, batch_size: 4, micro_batch: 3, lr: 0.05, eval_every: 3, checkpoint_every: 3}
probe: {every: 3, measures: [landscape, sharpness, shift, activations], layers: [1, 3], lengths: [0.1]}
surface: {x: [-1, 1, 3], y: [-1, 1, 3], metrics: [gradient, hessian]}
"""


class Bigrams(nn.Module):
    """Scores of the next token that depend on the last one alone."""

    def __init__(self, wrapped: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, TOKENS, dtype=torch.float64)
        self.wrapped = wrapped

    def forward(self, tokens: Tensor) -> Any:
        outputs = self.table(tokens)
        return SimpleNamespace(logits=outputs, cache=None) if self.wrapped else outputs


def example(count: int = 7, length: int = 4, padding: bool = False) -> tuple[Bigrams, Tensor, Tensor]:
    torch.manual_seed(0)
    inputs, targets = torch.randint(0, TOKENS, (2, count, length))
    if padding:
        for row in range(count):
            targets[row, 1 + row % length :] = IGNORED
        targets[-1] = IGNORED
    return Bigrams(), inputs, targets


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", [2, 7])
def test_mean_error_and_standard_error_by_hand(padding: bool, size: int) -> None:
    model, inputs, targets = example(padding=padding)
    batches = zip(inputs.split(size), targets.split(size), strict=True)
    found = evaluate(OfTokens().losses(model, PLAIN), batches)
    sums, counts, shares = [], [], []
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        pairs = [(token, answer) for token, answer in zip(row, answers, strict=True) if answer != IGNORED]
        if not pairs:
            continue
        scores = model.table.weight.tolist()
        losses = [math.log(sum(map(math.exp, scores[token]))) - scores[token][answer] for token, answer in pairs]
        right = [scores[token].index(max(scores[token])) == answer for token, answer in pairs]
        sums.append(sum(losses))
        counts.append(len(losses))
        shares.append(sum(right) / len(right))
    count, ratio = len(sums), sum(sums) / sum(counts)
    away = sum((s - ratio * c) ** 2 for s, c in zip(sums, counts, strict=True))
    assert found.loss == pytest.approx(ratio, rel=1e-12)
    assert found.loss_stderr == pytest.approx(math.sqrt(count / (count - 1) * away) / sum(counts), rel=1e-12)
    assert found.error == pytest.approx(100 * (1 - sum(shares) / count), rel=1e-12)
    assert (found.examples, found.weight) == (count, sum(counts))


def test_as_a_loss_of_the_model_it_is_the_same_bit_for_bit() -> None:
    model, inputs, targets = example(padding=True)
    one, other = (
        evaluate(loss.losses(model, PLAIN), [(inputs, targets)]) for loss in (OfTokens(), OfModel(token_losses))
    )
    assert (one.loss, one.loss_stderr, one.weight) == (other.loss, other.loss_stderr, other.weight)


def test_gradient_and_curvature_are_those_of_the_mean_over_tokens() -> None:
    """Two minibatches with different numbers of tokens are one set: against autograd of the plain mean."""
    model, inputs, targets = example(padding=True)
    objective = Objective(model, OfTokens())
    weight = model.table.weight.detach().clone().requires_grad_()

    def mean(table: Tensor) -> Tensor:
        return nn.functional.cross_entropy(table[inputs].flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    whole = Minibatch((inputs, targets), None)
    (expected,) = torch.autograd.grad(mean(weight), weight)
    torch.testing.assert_close(objective.differentiate(whole).gradient, [expected])
    parts = [Minibatch((inputs[rows], targets[rows]), None) for rows in (slice(0, 2), slice(2, 7))]
    hessian = torch.autograd.functional.hessian(mean, weight.detach()).view(TOKENS**2, TOKENS**2)
    found = eigenpairs(objective, parts, (1, 2))
    values = torch.linalg.eigvalsh(hessian).flip(0)[:2].tolist()
    assert [value for value, _ in found] == pytest.approx(values, rel=1e-3)


def test_what_networks_of_hugging_face_return() -> None:
    model, inputs, targets = example()
    wrapped = Bigrams(wrapped=True)
    wrapped.load_state_dict(model.state_dict())
    one, other = (evaluate(OfTokens().losses(each, PLAIN), [(inputs, targets)]) for each in (model, wrapped))
    assert one == other
    labels = torch.randint(0, TOKENS, (7,))
    plain, logits = (Objective(each).evaluate([(inputs[:, 0], labels)]) for each in (model, wrapped))
    assert plain == logits


def test_in_python_the_targets_suggest_it() -> None:
    """Batches with different numbers of tokens, as padding leaves them; a line along which the table grows."""
    model, inputs, targets = example(padding=True)
    batches = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]
    along = {"x": {"table.weight": model.table.weight.detach().clone()}}
    surface = loss_surface(model, batches, x=(-1, 1, 3), y=None, directions=along, metrics=["hessian"])
    for at, found in zip(surface.x.values, surface.loss.values, strict=True):
        outputs = (1 + at) * model.table.weight[inputs]
        expected = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        assert found == pytest.approx(expected.item(), rel=1e-12)
    weight = model.table.weight.detach()
    hessian = torch.autograd.functional.hessian(
        lambda table: nn.functional.cross_entropy(table[inputs].flatten(0, 1), targets.flatten(), ignore_index=IGNORED),
        weight,
    )
    largest = torch.linalg.eigvalsh(hessian.view(TOKENS**2, TOKENS**2))[-1].item()
    assert float(surface.hessian_max.sel(x=0)) == pytest.approx(largest, rel=1e-3)


def test_scores_of_another_shape_are_refused() -> None:
    model, inputs, targets = example()
    said = r"the network has outputs \(7, 4, 5\) for targets \(7, 3\)\n  accepted: scores of all tokens at every place"
    with pytest.raises(RequestError, match=said):
        OfTokens().losses(model, PLAIN)((inputs, targets[:, :3]))


def test_a_small_gpt_through_all_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained, probed on the way and afterwards, scanned: the centre is the last evaluation."""
    monkeypatch.chdir(tmp_path)
    Path("sequences.yaml").write_text(GPT, encoding="utf-8")
    for command in ("train", "probe", "surface"):
        answer = tiny.lossviz(command, "sequences.yaml")
        assert answer.status == 0, answer
    run = tmp_path / "runs" / "sequences" / "sequences"
    curves, probes, surface = (load_results(run / f"{name}.nc") for name in ("train", "probe", "surface-main"))
    assert curves.train_loss.values[0] == pytest.approx(math.log(256), rel=0.02)
    assert curves.train_loss.values[-1] < curves.train_loss.values[0]
    assert 0 < float(curves.train_error.values[-1]) <= 100
    assert bool(probes.hessian_eigenvalue.notnull().all())
    centre = surface.sel(x=0, y=0)
    assert float(centre.loss) == pytest.approx(float(curves.train_loss.values[-1]), rel=1e-6)
    assert float(centre.error) == pytest.approx(float(curves.train_error.values[-1]), rel=1e-6)
    assert float(centre.loss_stderr) > 0
