"""A small GPT: predicts the next token of a sequence."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Gpt as GptConfig

DEVIATION = 0.02


class Attention(nn.Module):
    """Causal self-attention: token t sees tokens 1 to t."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        heads = self.c_attn(inputs).unflatten(-1, (3, self.heads, -1))  # (N, T, 3, heads, width / heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        outputs: Tensor = self.c_proj(seen.transpose(1, 2).flatten(2))
        return outputs


class Mlp(nn.Module):
    """Two layers, four times as wide within, with GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.c_proj(functional.gelu(self.c_fc(inputs)))
        return outputs


class Block(nn.Module):
    """x + attention(norm(x)), and then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs + self.attn(self.ln_1(inputs))
        outputs: Tensor = inputs + self.mlp(self.ln_2(inputs))
        return outputs


class Body(nn.Module):
    """From tokens (N, T) to what the network knows at each of them, (N, T, width)."""

    def __init__(self, config: GptConfig, context: int, vocabulary: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, config.width)
        self.wpe = nn.Embedding(context, config.width)
        self.h = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.ln_f = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            hidden = block(hidden)
        outputs: Tensor = self.ln_f(hidden)
        return outputs


class Gpt(nn.Module):
    """Tokens (N, T) to scores of each next token, (N, T, vocabulary): LayerNorm before each part, learned positions.

    Names of parameters are nanoGPT's (transformer.wte, transformer.h.0.attn.c_attn, lm_head, ...). With `tied` the last
    layer is the embedding, one matrix under two names.

    Weights are drawn from torch's global generator: N(0, 0.02^2), and in the layers that end a residual branch
    N(0, 0.02^2 / (2 depth)); biases are zero.

    Args:
        config: depth, width, heads, tied.
        context: the longest sequence, T.
        vocabulary: the number of tokens.

    Source:
        Radford et al. 2019, Language models are unsupervised multitask learners, section 2.3.
    """

    def __init__(self, config: GptConfig, context: int, vocabulary: int) -> None:
        super().__init__()
        self.transformer = Body(config, context, vocabulary)
        self.lm_head = nn.Linear(config.width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                ends_branch = name.endswith("c_proj.weight")
                nn.init.normal_(parameter, std=DEVIATION / (2 * config.depth) ** 0.5 if ends_branch else DEVIATION)
        if config.tied:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.lm_head(self.transformer(tokens))
        return scores
