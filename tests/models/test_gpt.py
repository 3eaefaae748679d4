"""The small GPT against its formula in float64, and its counts."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config import read
from lossviz.config.model import Gpt as GptConfig
from lossviz.models.build import build, count_parameters


def make(depth: int = 2, width: int = 8, heads: int = 2, tied: bool = True, seed: int = 0) -> nn.Module:
    return build(GptConfig(name="gpt", depth=depth, width=width, heads=heads, tied=tied), 6, 11, seed)


def norm(inputs: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = inputs - inputs.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(inputs: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return inputs @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def scores(state: dict[str, Tensor], tokens: list[int], depth: int, heads: int) -> Tensor:
    """The formula, one sequence, one head and one token after another."""
    hidden = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][: len(tokens)]
    for layer in range(depth):
        at = f"transformer.h.{layer}"
        query, key, value = linear(norm(hidden, state, f"{at}.ln_1"), state, f"{at}.attn.c_attn").chunk(3, dim=-1)
        seen, size = torch.zeros_like(hidden), hidden.shape[1] // heads
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(tokens)):
                weights = (key[: t + 1, part] @ query[t, part] / math.sqrt(size)).softmax(0)
                seen[t, part] = weights @ value[: t + 1, part]
        hidden = hidden + linear(seen, state, f"{at}.attn.c_proj")
        inner = functional.gelu(linear(norm(hidden, state, f"{at}.ln_2"), state, f"{at}.mlp.c_fc"))
        hidden = hidden + linear(inner, state, f"{at}.mlp.c_proj")
    return norm(hidden, state, "transformer.ln_f") @ state["lm_head.weight"].T


@pytest.mark.parametrize("tied", [True, False])
def test_it_computes_its_formula(tied: bool) -> None:
    model = make(tied=tied).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    tokens = torch.randint(0, 11, (3, 6))
    expected = torch.stack([scores(dict(model.state_dict()), row, 2, 2) for row in tokens.tolist()])
    torch.testing.assert_close(model(tokens), expected, rtol=1e-10, atol=1e-10)


def test_what_follows_a_token_does_not_matter() -> None:
    model, tokens = make(), torch.randint(0, 11, (1, 6))
    changed = tokens.clone()
    changed[0, 4:] = (tokens[0, 4:] + 1) % 11
    assert torch.equal(model(tokens)[:, :4], model(changed)[:, :4])
    assert not torch.equal(model(tokens)[:, 4:], model(changed)[:, 4:])


def test_shorter_sequences_pass() -> None:
    assert make()(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 11)


def test_parameters() -> None:
    """12 width^2 + 13 width a block, embeddings of 11 tokens and 6 places, the last norm; untied the head."""
    common = 2 * (12 * 64 + 13 * 8) + (11 + 6) * 8 + 2 * 8
    assert count_parameters(make()) == common
    assert count_parameters(make(tied=False)) == common + 11 * 8
    (small,) = read("transformer-small")
    assert 1e6 < count_parameters(build(small.model, 64, 256)) < 10e6


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (make(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_deviations_at_the_start() -> None:
    state = make(depth=8, width=128).state_dict()
    for name, tensor in state.items():
        last = name.endswith("c_proj.weight")
        if name.endswith("bias"):
            assert not tensor.any()
        elif "ln_" in name:
            assert torch.equal(tensor, torch.ones_like(tensor))
        else:
            expected = 0.02 / 4 if last else 0.02
            assert float(tensor.std()) == pytest.approx(expected, rel=0.15 if tensor.numel() < 2000 else 0.05), name


def test_at_the_start_every_token_is_as_likely() -> None:
    tokens, targets = torch.randint(0, 11, (2, 40, 6), generator=torch.Generator().manual_seed(0))
    outputs = make(depth=4, width=64, tied=False)(tokens)
    assert functional.cross_entropy(outputs.flatten(0, 1), targets.flatten()).item() == pytest.approx(
        math.log(11), 0.02
    )
