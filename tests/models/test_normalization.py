from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Noise, Norm
from lossviz.models.draws import BLOCK
from lossviz.models.normalization import (
    NoisyBatchNorm1d,
    NoisyBatchNorm2d,
    noisy,
    norm1d,
    norm2d,
    uses_batch_statistics,
)
from lossviz.seeding import seeded

CPU = torch.device("cpu")
PAPER = Noise()  # n_mu = 0.5, n_sigma = 1.25, r_mu = r_sigma = 0.1
SILENT = Noise(n_mu=0.0, n_sigma=1.0, r_mu=0.0, r_sigma=0.0)


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parts(shape: tuple[int, ...], noise: Noise, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scale s and shift m of every element, read off at the inputs 0 and 1."""
    with seeded(CPU, seed):
        shift = noisy(torch.zeros(shape, dtype=torch.float64), noise)
    with seeded(CPU, seed):
        both = noisy(torch.ones(shape, dtype=torch.float64), noise)
    return both - shift, shift


def close(values: Tensor, mean: float, variance: float, fourth: float) -> None:
    """Sample mean and variance against a distribution's, within five Monte-Carlo errors; `fourth` central moment."""
    count = values.numel()
    assert abs(float(values.mean()) - mean) < 5 * (variance / count) ** 0.5
    assert abs(float((values - mean).square().mean()) - variance) < 5 * ((fourth - variance**2) / count) ** 0.5


def test_element_noise_has_the_moments_of_algorithm_1() -> None:
    only_elements = Noise(n_mu=0.0, n_sigma=1.0, r_mu=0.3, r_sigma=0.2)
    scale, shift = parts((40, 5, 20, 20), only_elements)
    close(scale, 1.0, 0.2**2, 3 * 0.2**4)  # N(1, 0.2): r_sigma is a standard deviation
    close(shift, 0.0, 0.3**2 / 3, 0.3**4 / 5)  # U(-0.3, 0.3)
    assert shift.abs().max() <= 0.3
    assert scale.sub(1).abs().max() > 0.6  # normal, not uniform


def test_channel_noise_has_the_moments_of_algorithm_1() -> None:
    scale, shift = parts((2, 40_000, 1, 1), Noise(r_mu=0.0, r_sigma=0.0))
    close(shift[0], 0.0, 0.5**2 / 3, 0.5**4 / 5)  # mu ~ U(-0.5, 0.5)
    close(scale[0], 1.125, 0.25**2 / 12, 0.25**4 / 80)  # sigma ~ U(1, 1.25)
    assert shift.abs().max() <= 0.5
    assert scale.min() >= 1 - 1e-12
    assert scale.max() <= 1.25 + 1e-12
    assert abs(float(torch.corrcoef(torch.stack([scale[0, :, 0, 0], shift[0, :, 0, 0]]))[0, 1])) < 5 / 200


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 4, 5)])
def test_mu_and_sigma_are_one_a_channel(shape: tuple[int, ...]) -> None:
    scale, shift = parts(shape, Noise(r_mu=0.0, r_sigma=0.0))
    for values in (scale, shift):
        by_channel = values.movedim(1, 0).flatten(1)
        assert by_channel.std(dim=1).max() < 1e-12  # over batch and space
        assert len({round(value, 9) for value in by_channel[:, 0].tolist()}) == 9


def test_paper_noise_combines_channel_and_element_noise() -> None:
    scale, shift = parts((200, 6, 20, 20), PAPER)
    quiet_scale, quiet_shift = (values.mean(dim=(0, 2, 3), keepdim=True) for values in (scale, shift))
    close(scale - quiet_scale, 0.0, 0.1**2, 3 * 0.1**4)
    close(shift - quiet_shift, 0.0, 0.1**2 / 3, 0.1**4 / 5)
    assert quiet_shift.abs().max() < 0.5
    assert quiet_shift.std() > 0.1
    assert 1 <= quiet_scale.min() <= quiet_scale.max() <= 1.25
    # Different elements are independent: neighbours in batch, row and column.
    centred = (shift - quiet_shift)[:, 0]
    for dim in range(3):
        product = centred.narrow(dim, 0, 19) * centred.narrow(dim, 1, 19)
        assert abs(float(product.mean())) < 5 * (0.01 / 3) / product.numel() ** 0.5


def test_channel_and_element_noise_are_independent() -> None:
    # Slope of the element noise of the first and of another sample on the mean of its channel: 0 with an error of
    # (0.1 / sqrt 3) / (0.5 / sqrt 3) / sqrt(C) = 0.2 / sqrt(C).
    channels = 20_000
    _, shift = parts((3, channels), PAPER)
    _, mu = parts((3, channels), Noise(r_mu=0.0, r_sigma=0.0))
    for sample in (0, 2):
        slope = torch.corrcoef(torch.stack([mu[0], shift[sample] - mu[0]]))[0, 1] * 0.2
        assert abs(float(slope)) < 5 * 0.2 / channels**0.5


def test_element_noise_does_not_repeat() -> None:
    # Longer than one block of numbers; two blocks that agree anywhere would have the same state.
    _, shift = parts((3 * BLOCK, 1), Noise(n_mu=0.0, n_sigma=1.0))
    blocks = shift.view(3, BLOCK)
    off_diagonal = torch.corrcoef(blocks) - torch.eye(3, dtype=torch.float64)
    assert off_diagonal.abs().max() < 5 / BLOCK**0.5


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_noise_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    values = []
    for seed in (0, 0, 1):
        with seeded(device, seed):
            values.append(noisy(torch.zeros(64, 500, 10, 10, device=device, dtype=torch.float64), PAPER).cpu())
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    mu = values[0].mean(dim=(0, 2, 3), keepdim=True)
    close(values[0] - mu, 0.0, 0.1**2 / 3, 0.1**4 / 5)
    assert mu.abs().max() < 0.5
    assert mu.std() > 0.25


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3, 4)])
def test_same_seed_same_noise_and_every_step_another(shape: tuple[int, ...]) -> None:
    inputs = draw(shape)
    results = []
    for seed in (0, 1, 0):
        with seeded(CPU, seed):
            results.append(noisy(inputs, PAPER))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(noisy(inputs, PAPER), noisy(inputs, PAPER))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_does_not_depend_on_the_layout(dtype: torch.dtype) -> None:
    inputs = draw((8, 5, 6, 7)).to(dtype)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        with seeded(CPU, 3):
            results.append(noisy(inputs.contiguous(memory_format=layout), PAPER))
    assert torch.equal(*results)


@pytest.mark.parametrize("shape", [(16, 5), (16, 5, 6, 7)])
def test_layers_are_batchnorm_then_noise_after_the_affine(shape: tuple[int, ...]) -> None:
    plain = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5).double()
    layer = (NoisyBatchNorm1d if len(shape) == 2 else NoisyBatchNorm2d)(5, PAPER).double()
    for parameter, value in ((plain.weight, 3.0), (plain.bias, 7.0)):
        nn.init.constant_(parameter, value)
    layer.load_state_dict(plain.state_dict())
    with seeded(CPU, 0):
        expected = noisy(plain(draw(shape)), PAPER)
    with seeded(CPU, 0):
        outputs = layer(draw(shape))
    assert torch.equal(outputs, expected)
    # The running statistics are those of the inputs, not of the noise; in eval mode there is none.
    for name, tensor in plain.state_dict().items():
        assert torch.equal(layer.state_dict()[name], tensor)
    before = torch.get_rng_state()
    assert torch.equal(layer.eval()(draw(shape, 1)), plain.eval()(draw(shape, 1)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [norm1d, norm2d])
def test_noise_without_batchnorm(make: Callable[[Norm, int, Noise], nn.Module]) -> None:
    layer, inputs = make("noise", 5, PAPER), draw((16, 5, 6, 7) if make is norm2d else (16, 5))
    assert not list(layer.parameters())
    with seeded(CPU, 0):
        outputs = layer(inputs)
    with seeded(CPU, 0):
        assert torch.equal(outputs, noisy(inputs, PAPER))
    assert torch.equal(layer.eval()(inputs), inputs)


@pytest.mark.parametrize("shape", [(16, 5), (16, 5, 6, 7)])
def test_silent_noise_is_batchnorm(shape: tuple[int, ...]) -> None:
    plain = (norm1d if len(shape) == 2 else norm2d)("batch", 5, SILENT)
    silent = (norm1d if len(shape) == 2 else norm2d)("noisy-batch", 5, SILENT)
    inputs = draw(shape).float()
    assert torch.equal(silent(inputs), plain(inputs))


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2)])
def test_gradient_through_the_noise(shape: tuple[int, ...]) -> None:
    def fixed(inputs: Tensor) -> Tensor:
        with seeded(CPU, 5):
            return noisy(inputs, PAPER)

    inputs = draw(shape).requires_grad_()
    assert torch.autograd.gradcheck(fixed, inputs)
    (gradient,) = torch.autograd.grad(fixed(inputs).sum(), inputs)
    with seeded(CPU, 5):
        shift = noisy(torch.zeros(shape, dtype=torch.float64), PAPER)
    torch.testing.assert_close(gradient * inputs + shift, fixed(inputs))  # d out / d in is the scale


@pytest.mark.parametrize("make", [norm1d, norm2d])
def test_names_of_normalisations(make: Callable[[Norm, int, Noise], nn.Module]) -> None:
    assert isinstance(make("none", 4, PAPER), nn.Identity)
    batch, noisy_batch = make("batch", 4, PAPER), make("noisy-batch", 4, PAPER)
    assert type(batch) in (nn.BatchNorm1d, nn.BatchNorm2d)
    assert isinstance(noisy_batch, type(batch))
    assert type(noisy_batch) is not type(batch)


@pytest.mark.parametrize(
    "layer",
    [norm1d(norm, 3, PAPER) for norm in get_args(Norm)] + [nn.LayerNorm(3), nn.BatchNorm1d(3, affine=False)],
    ids=lambda layer: type(layer).__name__,
)
def test_statistics_of_the_batch_are_used_where_an_output_depends_on_another_example(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(3, 3), layer).double()
    inputs, other = draw((4, 3)), draw((4, 3), seed=1)
    other[0] = inputs[0]
    with seeded(CPU, 0):
        first = network(inputs)[0]
    with seeded(CPU, 0):
        second = network(other)[0]
    assert uses_batch_statistics(network) == (not torch.equal(first, second))


def test_noise_on_bfloat16_is_that_of_float32_rounded() -> None:
    """So that a measurement in float32 meets the noise of a training in bfloat16."""
    inputs = draw((8, 5, 6, 7)).bfloat16()
    with seeded(CPU, 3):
        short = noisy(inputs, PAPER)
    with seeded(CPU, 3):
        exact = noisy(inputs.float(), PAPER)
    assert short.dtype == torch.bfloat16
    assert torch.equal(short, exact.bfloat16())
