"""Lanczos on matrices whose spectrum is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.engine.lanczos import Product, extremes, largest


def start(size: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def symmetric(eigenvalues: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """A matrix with these eigenvalues, and its eigenvectors as columns."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues), len(eigenvalues))))
    return torch.from_numpy(rotation @ np.diag(eigenvalues) @ rotation.T), rotation


class Counted:
    """A product with a diagonal matrix A, off by about `rounding` times |A|, that counts how often it is taken."""

    def __init__(self, spectrum: Tensor, rounding: float = 0.0) -> None:
        self.spectrum, self.rounding, self.products = spectrum, rounding, 0
        self.draws = torch.Generator().manual_seed(2)

    def __call__(self, vector: Tensor) -> Tensor:
        self.products += 1
        noise = torch.randn(len(vector), generator=self.draws, dtype=torch.float64)
        size = self.rounding * float(self.spectrum.abs().max()) / math.sqrt(len(vector))
        return self.spectrum * vector + size * noise


def test_pairs_against_numpy() -> None:
    eigenvalues = np.concatenate([[-7.0, 9, 5, 4.9], np.random.default_rng(1).uniform(-2, 2, size=296)])
    matrix, vectors = symmetric(eigenvalues)
    pairs = largest(matrix.mv, start(300), 3)
    np.testing.assert_allclose([value for value, _ in pairs], [9, 5, 4.9], rtol=1e-7)
    for rank, (value, vector) in enumerate(pairs, start=1):
        assert abs(float(vector.norm()) - 1) < 1e-14
        assert abs(float(vector @ torch.from_numpy(vectors[:, rank]))) > 1 - 1e-6
        assert float((matrix @ vector - value * vector).norm()) <= 1e-4 * np.linalg.norm([9, 5, 4.9][:rank])
    # Its sign is not an accident of the library's: the vector leans toward the start.
    assert float(pairs[0][1] @ start(300)) > 0
    np.testing.assert_allclose(extremes(matrix.mv, start(300)), (-7, 9), rtol=1e-4)


@pytest.mark.parametrize(
    ("spectrum", "expected"), [((10, 10, 3, 1, 0.5), (10, 10)), ((2, 2, 1.3, 1.3, -7), (2, 2, 1.3))]
)
def test_repeated_eigenvalues(spectrum: tuple[float, ...], expected: tuple[float, ...]) -> None:
    matrix, _ = symmetric(np.array(spectrum))
    pairs = largest(matrix.mv, start(5), len(expected))
    np.testing.assert_allclose([value for value, _ in pairs], expected, rtol=1e-6)
    vectors = torch.stack([vector for _, vector in pairs])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(expected)), atol=1e-12)


def test_the_whole_spectrum_and_no_more() -> None:
    eigenvalues = np.array([3.0, 3, 1, 0, -2])
    matrix, _ = symmetric(eigenvalues)
    np.testing.assert_allclose([value for value, _ in largest(matrix.mv, start(5), 8)], eigenvalues, atol=1e-12)


@pytest.mark.parametrize("value", [2.0, 0.0, -3.0])
def test_a_multiple_of_the_identity(value: float) -> None:
    assert extremes(lambda vector: value * vector, start(9)) == pytest.approx((value, value), rel=1e-12)
    pairs = largest(lambda vector: value * vector, start(9), 3)
    assert [pair[0] for pair in pairs] == pytest.approx([value] * 3, rel=1e-12)


def test_a_single_parameter() -> None:
    assert extremes(lambda vector: -3 * vector, start(1)) == (-3, -3)


def test_more_eigenvalues_than_a_matrix_has_beside_zero() -> None:
    """What rounding leaves of a zero operator is zero, and has converged."""
    spectrum = torch.zeros(200, dtype=torch.float64)
    spectrum[:2] = torch.tensor([5.0, 3.0])
    product = Counted(spectrum, rounding=1e-7)
    np.testing.assert_allclose([value for value, _ in largest(product, start(200), 4)], [5, 3, 0, 0], atol=1e-5)
    assert product.products < 15


def test_a_small_eigenvalue_beside_a_large_negative_one() -> None:
    """To 1e-4 of 0.001 the products are not exact: then 1e-4 of the largest in size is what can be had."""
    product = Counted(torch.linspace(-50, 0.001, 400, dtype=torch.float64), rounding=1e-6)
    found = [value for value, _ in largest(product, start(400), 2)]
    assert product.products <= 200
    np.testing.assert_allclose(found, [0.001, 0.001 - 50.001 / 399], atol=50 * 1e-3)


def outlier(smallest: float) -> Tensor:
    """Mostly zeros, as of a wide network: a random vector is nearly in the null space."""
    spectrum = torch.zeros(1_000_000, dtype=torch.float64)
    spectrum[:3] = torch.tensor([1.0, 0.5, smallest])
    return spectrum


def test_a_small_negative_end_is_not_taken_for_zero() -> None:
    product = Counted(outlier(-0.01))
    assert extremes(product, start(1_000_000)) == pytest.approx((-0.01, 1), rel=1e-3)
    ((value, vector),) = largest(lambda vector: -product(vector), start(1_000_000), 1)
    assert value == pytest.approx(0.01, rel=1e-6)
    assert abs(float(vector[2])) > 1 - 1e-6


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
@pytest.mark.parametrize("others", [3, 10, 500])
def test_a_tiny_negative_end_beside_a_null_space_is_found(others: int, rounding: float) -> None:
    """Before that, a vector of the null space has a residual of 1e-6 of the largest eigenvalue: it proves nothing."""
    spectrum = torch.zeros(20_000, dtype=torch.float64)
    spectrum[: others + 1] = torch.cat([torch.linspace(0.1, 1, others), torch.tensor([-1e-4])])
    product = Counted(spectrum, rounding)
    assert extremes(product, start(20_000)) == pytest.approx((-1e-4, 1), rel=1e-3)
    ((value, vector),) = largest(lambda vector: -product(vector), start(20_000), 1)
    assert value == pytest.approx(1e-4, rel=1e-3)
    assert abs(float(vector[others])) > 0.99


def test_a_null_space_alone_costs_no_hundred_products() -> None:
    """Once the Krylov space holds all that the start has a part in, no further product can find anything."""
    spectrum = torch.zeros(2000, dtype=torch.float64)
    spectrum[:10] = torch.linspace(0.1, 1, 10)
    product = Counted(spectrum, rounding=1e-7)
    assert extremes(product, start(2000)) == pytest.approx((0, 1), abs=1e-6)
    assert product.products < 15


def test_both_ends_cost_one_krylov_space() -> None:
    spectrum = torch.linspace(-0.01, 0.01, 3000, dtype=torch.float64)
    spectrum[:4] = torch.tensor([1.0, 0.5, 0.2, -0.1])
    both, one = Counted(spectrum), Counted(spectrum)
    assert extremes(both, start(3000)) == pytest.approx((-0.1, 1), rel=1e-3)
    largest(lambda vector: -one(vector), start(3000), 1)
    assert both.products <= one.products


def test_a_dense_spectrum_down_to_zero() -> None:
    """No residual is ever small relative to zero; relative to the largest it is, in the end."""
    product = Counted(torch.logspace(0, -8, 2000, dtype=torch.float64))
    assert extremes(product, start(2000)) == pytest.approx((0, 1), abs=1e-3)
    assert product.products == 100


@pytest.mark.parametrize(
    "product",
    [lambda vector: vector * math.nan, lambda vector: vector * math.inf, Counted(torch.linspace(0, 1, 10**4).double())],
    ids=["NaN", "infinite", "too dense"],
)
def test_what_does_not_converge(product: Product) -> None:
    assert largest(product, start(10**4), 2) == []
    if not isinstance(product, Counted):  # a hundred products are enough for its ends
        assert all(math.isnan(value) for value in extremes(product, start(10**4)))
