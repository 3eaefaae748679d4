"""Normalisation layers by name, and the noise that Santurkar et al. add after BatchNorm."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from lossviz.config.model import Noise, Norm
from lossviz.models.draws import uniform_and_normal
from lossviz.models.lp import LpNorm
from lossviz.seeding import stream


def noisy(inputs: Tensor, noise: Noise) -> Tensor:
    """Multiply and shift every element by noise whose own distribution changes at every step.

    Per channel j: mu_j ~ U(-n_mu, n_mu), sigma_j ~ U(1, n_sigma); per element i of it:
    m_ij ~ U(mu_j - r_mu, mu_j + r_mu), s_ij ~ N(sigma_j, r_sigma); returns s * inputs + m.

    Args:
        inputs: (N, C) or (N, C, H, W); height and width count as batch.
        noise: the four scales.

    Source:
        Santurkar et al. 2018, Algorithm 1 (appendix A.2.1).
    """
    # Drawn in float32 at least: in bfloat16 it would be other noise, of 8 bits, than a float32 measurement meets.
    wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    channel = (1, inputs.shape[1], *(1,) * (inputs.dim() - 2))
    # Every layer takes two numbers from the global generator, which the engine seeds by the step: its noise
    # depends on the seed, the step and its place, not on the sizes of the layers before it. Channels and elements
    # have keys of their own: with one key their first numbers would be the same ones.
    of_channels, of_elements = torch.randint(2**62, (2,)).tolist()
    draws = stream(inputs.device, of_channels)
    mu = wide.new_empty(channel).uniform_(-noise.n_mu, noise.n_mu, generator=draws)
    sigma = wide.new_empty(channel).uniform_(1.0, noise.n_sigma, generator=draws)
    shift, scale = uniform_and_normal(wide, noise.r_mu, noise.r_sigma, of_elements)
    return torch.addcmul(shift.add_(mu), scale.add_(sigma), wide).to(inputs.dtype)


class NoisyBatchNorm(_BatchNorm):
    """BatchNorm followed by noise in training mode; see `noisy`."""

    def __init__(self, channels: int, noise: Noise) -> None:
        super().__init__(channels)
        self.noise = noise

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        return noisy(outputs, self.noise) if self.training else outputs


class NoisyBatchNorm1d(NoisyBatchNorm, nn.BatchNorm1d):
    """Over (N, C)."""


class NoisyBatchNorm2d(NoisyBatchNorm, nn.BatchNorm2d):
    """Over (N, C, H, W)."""


class NoiseLayer(nn.Module):
    """The same noise without BatchNorm, in training mode: the control of Santurkar et al. 2018, section 2.1."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, inputs: Tensor) -> Tensor:
        return noisy(inputs, self.noise) if self.training else inputs


# Everything that normalises, of torch's and of ours; batch and instance normalisations are _NormBase.
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, LpNorm, NoiseLayer)


def norm1d(norm: Norm, channels: int, noise: Noise) -> nn.Module:
    """The normalisation of a fully connected layer, (N, channels)."""
    if norm == "batch":
        return nn.BatchNorm1d(channels)
    return NoisyBatchNorm1d(channels, noise) if norm == "noisy-batch" else _of_any_shape(norm, channels, noise)


def norm2d(norm: Norm, channels: int, noise: Noise) -> nn.Module:
    """The normalisation of a convolution, (N, channels, H, W)."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return NoisyBatchNorm2d(channels, noise) if norm == "noisy-batch" else _of_any_shape(norm, channels, noise)


def centres(norm: Norm) -> bool:
    """Whether a normalisation subtracts the mean, so that a bias before it would do nothing."""
    return norm not in ("none", "noise")


def uses_batch_statistics(network: nn.Module) -> bool:
    """Whether what a network computes of an example in training depends on the examples beside it."""
    return any(isinstance(module, _BatchNorm | LpNorm) for module in network.modules())


def _of_any_shape(norm: Norm, channels: int, noise: Noise) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "noise":
        return NoiseLayer(noise)
    return LpNorm(channels, {"l1": 1.0, "l2": 2.0, "linf": math.inf}[norm])
