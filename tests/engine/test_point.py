import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lossviz.engine.point import dot, move, penalty, squared_norm, undisturbed
from lossviz.errors import WorkError


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2))
    model[0].bias.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


def vectors(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draws).to(dtype) for shape in ((5, 3), (), (7,), (2, 3, 4, 5))]


def flat(tensors: list[Tensor]) -> np.ndarray:
    return np.concatenate([np.atleast_1d(tensor.double().numpy()).ravel() for tensor in tensors])


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=6))
def test_moves_never_accumulate(walk: list[tuple[float, float]]) -> None:
    origin, x, y = vectors(0), vectors(1), vectors(2)
    walked, straight = vectors(3), vectors(4)
    for a, b in walk:
        move(walked, origin, (a, x), (b, y))
    move(straight, origin, (walk[-1][0], x), (walk[-1][1], y))
    assert same(walked, straight)
    move(walked, origin, (0.0, x), (0.0, y))
    assert same(walked, origin)
    assert same(origin, vectors(0))


def test_a_point_without_coordinates_can_be_moved() -> None:
    move([], [], (1.0, []))


def test_move_by_hand() -> None:
    origin, x, y = (vectors(seed, torch.float64) for seed in range(3))
    places = [tensor.clone() for tensor in origin]
    storage = [tensor.data_ptr() for tensor in places]
    move(places, origin, (0.25, x), (-3.0, y))
    np.testing.assert_allclose(flat(places), flat(origin) + 0.25 * flat(x) - 3 * flat(y), rtol=1e-13, atol=1e-13)
    assert [tensor.data_ptr() for tensor in places] == storage
    move(places, origin)
    assert same(places, origin)


def test_move_writes_parameters_without_a_graph() -> None:
    model = make_model()
    parameters = list(model.parameters())
    origin = [parameter.detach().clone() for parameter in parameters]
    move(parameters, origin, (1.0, [torch.ones_like(tensor) for tensor in origin]))
    assert all(torch.equal(parameter, start + 1) for parameter, start in zip(parameters, origin, strict=True))
    assert all(parameter.grad_fn is None for parameter in parameters)


def disturb(model: nn.Sequential, origin: Sequence[Tensor]) -> None:
    model.train()
    model[2].eval()
    model(torch.randn(8, 3, 6, 6))
    for parameter in model.parameters():
        parameter.data.mul_(2).add_(1)
    for tensor in origin:
        assert tensor.grad_fn is None


@pytest.mark.parametrize("fails", [False, True])
def test_undisturbed_puts_everything_back(fails: bool) -> None:
    model = make_model()
    model(torch.randn(8, 3, 6, 6))  # statistics that are not their initial values
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    try:
        with undisturbed(model, model.parameters()) as origin:
            assert same(origin, [before[name] for name, _ in model.named_parameters()])
            disturb(model, origin)
            assert not any(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    after = model.state_dict()
    assert int(after["1.num_batches_tracked"]) == 1
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name: tensor.data_ptr() for name, tensor in after.items()} == places
    assert [module.training for module in model.modules()] == [True, True, False, True, True, True]


def test_undisturbed_keeps_the_origin_where_it_was() -> None:
    model = make_model()
    with undisturbed(model) as origin:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        move(parameters, origin, (2.0, origin))
        torch.testing.assert_close(parameters, [3 * tensor for tensor in origin])
        move(parameters, origin)
        assert same(list(parameters), origin)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norm_and_product_of_large_float32_tensors_have_the_precision_of_float64(layout: torch.memory_format) -> None:
    # The largest convolution of VGG-16; a sum in float32 is 1e-4 off.
    shape = (512, 512, 3, 3)
    draws = torch.Generator().manual_seed(0)
    first, second = (torch.rand(shape, generator=draws).contiguous(memory_format=layout) for _ in range(2))
    u, v = (tensor.numpy().astype(np.float64) for tensor in (first, second))
    assert float(squared_norm([first])) == pytest.approx((u * u).sum(), rel=1e-12)
    assert float(dot([first], [second])) == pytest.approx((u * v).sum(), rel=1e-12)
    assert squared_norm([first]).dtype == dot([first], [second]).dtype == torch.float64


def test_norm_and_product_over_several_tensors() -> None:
    first, second = vectors(1, torch.float64), vectors(2, torch.float64)
    assert float(squared_norm(first)) == pytest.approx(flat(first) @ flat(first), rel=1e-14)
    assert float(dot(first, second)) == pytest.approx(flat(first) @ flat(second), rel=1e-13)
    assert squared_norm(first).shape == dot(first, second).shape == ()


def test_norm_of_numbers_whose_squares_float32_cannot_hold() -> None:
    tiny, huge = torch.full((4,), 1e-30), torch.full((4,), 1e30)
    assert float(squared_norm([tiny])) == pytest.approx(4e-60, rel=1e-6)
    assert float(squared_norm([huge])) == pytest.approx(4e60, rel=1e-6)
    assert float(dot([tiny], [tiny])) == pytest.approx(4e-60, rel=1e-6)
    assert float(dot([huge], [-huge])) == pytest.approx(-4e60, rel=1e-6)


def test_penalty_is_the_function_whose_gradient_is_weight_decay() -> None:
    parameters = [tensor.requires_grad_() for tensor in vectors(1, torch.float64)]
    value = penalty(parameters, 5e-4)
    assert not value.requires_grad
    assert float(value) == pytest.approx(2.5e-4 * (flat([each.detach() for each in parameters]) ** 2).sum(), rel=1e-14)
    for index, direction in enumerate(vectors(2, torch.float64)):  # central differences are exact for a parabola
        ahead, behind = (list(parameters) for _ in range(2))
        ahead[index], behind[index] = parameters[index] + direction, parameters[index] - direction
        slope = (penalty(ahead, 5e-4) - penalty(behind, 5e-4)) / 2
        assert float(slope) == pytest.approx(5e-4 * float((parameters[index] * direction).sum().detach()), rel=1e-9)
    assert float(penalty(parameters, 0.0)) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_penalty_of_short_numbers_is_summed_in_long_ones(dtype: torch.dtype) -> None:
    """In float16 a sum of more than 65,504 is infinite."""
    parameters = [torch.full((3_000_000,), 0.2, dtype=dtype), torch.ones(2)]
    expected = 0.25 * (3_000_000 * float(parameters[0][0]) ** 2 + 2)
    assert float(penalty(parameters, 0.5)) == pytest.approx(expected, rel=1e-9)


def test_a_step_of_length_zero_is_the_origin_whatever_the_direction() -> None:
    parameter, origin = torch.ones(3), torch.tensor([1.0, 2.0, 3.0])
    move([parameter], [origin], (0.0, [torch.tensor([math.nan, math.inf, 1.0])]))
    assert torch.equal(parameter, origin)


def test_frozen_weights_are_not_copied_and_what_changes_them_is_refused() -> None:
    """Through `.data` too, which counts no version."""
    model = make_model()
    frozen = model.get_parameter("0.bias")
    with undisturbed(model) as origin:
        assert len(origin) == 5
    with pytest.raises(WorkError, match=r"0\.bias: is frozen"), undisturbed(model):
        frozen.data.mul_(0.9)
    value = frozen.detach().clone()
    with undisturbed(model, model.parameters()):
        frozen.data.mul_(0.9)
    assert torch.equal(frozen, value)
    frozen.data.fill_(math.nan)
    with undisturbed(model):
        pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_numbers_are_rounded_once(dtype: torch.dtype) -> None:
    """Of theta + x d1 + y d2; rounded after each step, 3 of 10 numbers would be others."""
    model = make_model().to(dtype)
    model[1].float()  # as normalisation layers mostly are
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    draws = torch.Generator().manual_seed(1)
    x, y = ([torch.randn(each.shape, generator=draws).to(each.dtype) for each in parameters] for _ in range(2))
    before, dtypes = {name: value.clone() for name, value in model.state_dict().items()}, [p.dtype for p in parameters]
    with undisturbed(model) as origin:
        move(parameters, origin, (0.01, x), (-0.003, y))
        for parameter, theta, d1, d2 in zip(parameters, origin, x, y, strict=True):
            exact = (theta.double() + 0.01 * d1.double() - 0.003 * d2.double()).to(parameter.dtype)
            ulp = torch.finfo(parameter.dtype).eps * exact.double().abs()
            differ = (parameter.detach() != exact) & ((parameter.detach().double() - exact.double()).abs() <= ulp)
            assert torch.equal(parameter.detach()[~differ], exact[~differ])
            if parameter.dtype == dtype:
                assert int(differ.sum()) <= 0.01 * differ.numel()  # sums in float32 that lie half-way
        assert [parameter.dtype for parameter in parameters] == dtypes
        move(parameters, origin)
        assert same(parameters, origin)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_only_what_moves_is_copied() -> None:
    """And put back; other trainable parameters are only watched."""
    model = make_model()
    moved, watched = model.get_parameter("4.weight"), model.get_parameter("4.bias")
    value = moved.detach().clone()
    with undisturbed(model, [moved]) as origin:
        assert same(origin, [value])
        move([moved], origin, (1.0, origin))
    assert torch.equal(moved, value)
    with pytest.raises(WorkError, match=r"4\.bias: does not move here"), undisturbed(model, [moved]):
        watched.data.add_(1)
