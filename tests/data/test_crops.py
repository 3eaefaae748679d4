"""Each crop against the plain way of making it, and the colour noise against its definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from lossviz.data.crops import DRAWS, TRIES, centre_crop, colour_noise, he_crop, random_resized_crop, ten_crop
from tests.data.photographs import picture

SIDES = [(300, 200), (200, 300), (256, 256), (50, 37), (30, 400), (333, 251)]
uniform = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(("size", "shorter"), [(224, 256), (64, 73), (32, 37)])
def test_centre_crop_is_torchvision_s(sides: tuple[int, int], size: int, shorter: int) -> None:
    image = picture(1, sides=sides)
    expected = v2.Compose([v2.Resize(shorter), v2.CenterCrop(size)])(image)
    np.testing.assert_array_equal(np.asarray(centre_crop(image, size)), np.asarray(expected))


def test_ten_crop_is_corners_and_centre_and_their_mirror_images() -> None:
    image = picture(2, sides=(300, 200))
    whole = np.asarray(image.resize((109, 73), Image.Resampling.BILINEAR))
    places = [(0, 0), (0, 45), (9, 0), (9, 45), (4, 22)]  # (73 - 64) / 2 = 4.5 and 22.5 round to even
    crops = [each[top : top + 64, left : left + 64] for each in (whole, whole[:, ::-1]) for top, left in places]
    np.testing.assert_array_equal([np.asarray(crop) for crop in ten_crop(image, 64)], crops)


def he_by_hand(image: Image.Image, size: int, draws: list[float]) -> np.ndarray:
    mirror, down, right, scale = draws[:4]
    shorter = round(size * 256 / 224) + math.floor(scale * (round(size * 480 / 224) - round(size * 256 / 224) + 1))
    whole = np.asarray(v2.functional.resize(image, [shorter]))
    assert min(whole.shape[:2]) == shorter
    top = math.floor(down * (whole.shape[0] - size + 1))
    left = math.floor(right * (whole.shape[1] - size + 1))
    crop = whole[top : top + size, left : left + size]
    return crop[:, ::-1] if mirror < 0.5 else crop


@given(st.tuples(*[uniform] * 4), st.sampled_from(SIDES))
def test_he_crop_against_resizing_all_and_cutting(draws: tuple[float, ...], sides: tuple[int, int]) -> None:
    image = picture(3, sides=sides)
    rest = [0.5] * (DRAWS - 4)
    found = np.asarray(he_crop(image, 64, [*draws, *rest])).astype(int)
    difference = np.abs(found - he_by_hand(image, 64, [*draws]))
    # Pillow keeps the box in float32, so that a few values round the other way.
    assert difference.max() <= 2
    assert difference.mean() < 0.1


@pytest.mark.parametrize("size", [64, 224])
def test_he_crop_covers_the_whole_range(size: int) -> None:
    # A square image: then the shorter side alone decides how large a part is seen.
    ramp = np.broadcast_to(np.linspace(0, 255, 512)[None, :, None], (512, 512, 3)).astype(np.uint8)
    image = Image.fromarray(ramp)
    spans = []
    for scale in (0.0, 1 - 1e-12):
        crop = np.asarray(he_crop(image, size, [0.9, 0.0, 0.0, scale, *[0.0] * (DRAWS - 4)])).astype(float)
        spans.append((crop[0, -1, 0] - crop[0, 0, 0]) / 255)
    assert spans == pytest.approx([224 / 256, 224 / 480], abs=0.02)


def resized_by_hand(image: Image.Image, box: tuple[int, int, int, int], size: int, mirror: bool) -> np.ndarray:
    crop = np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR))
    return crop[:, ::-1] if mirror else crop


@pytest.mark.parametrize("mirror", [0.2, 0.7])
def test_random_resized_crop_by_hand(mirror: float) -> None:
    image = picture(4, sides=(100, 80))
    # The first try is 8000 * 1 pixels at 4:3 = 103 x 77: too wide. The second is 8000 * 0.31 at 1:1 = 50 x 50.
    areas, shapes = [1.0, 0.25, *[0.0] * 8], [1.0, 0.5, *[0.0] * 8]
    draws = [mirror, 0.5, 0.99, *areas, *shapes]
    top, left = math.floor(0.5 * 31), math.floor(0.99 * 51)
    expected = resized_by_hand(image, (left, top, left + 50, top + 50), 32, mirror < 0.5)
    np.testing.assert_array_equal(np.asarray(random_resized_crop(image, 32, draws)), expected)


@pytest.mark.parametrize(("sides", "part"), [((200, 20), (27, 20)), ((20, 200), (20, 27)), ((200, 160), (200, 160))])
def test_random_resized_crop_that_never_fits_takes_the_middle(sides: tuple[int, int], part: tuple[int, int]) -> None:
    """As torchvision's make_params does after ten tries."""
    image = picture(5, sides=sides)
    shape = 1.0 if sides[1] > 100 else 0.5
    draws = [0.9, 0.0, 0.99, *[1.0] * TRIES, *[shape] * TRIES]
    left, top = ((whole - taken) // 2 for whole, taken in zip(sides, part, strict=True))
    expected = resized_by_hand(image, (left, top, left + part[0], top + part[1]), 16, mirror=False)
    np.testing.assert_array_equal(np.asarray(random_resized_crop(image, 16, draws)), expected)


def test_random_resized_crop_draws_areas_and_shapes_as_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and spread of area and of log(ratio), against torchvision's own draws."""
    image, draws = Image.new("RGB", (500, 375)), torch.Generator().manual_seed(0)
    seen: list[tuple[int, int]] = []

    def crop(_: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        seen.append((box[2] - box[0], box[3] - box[1]))
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(Image.Image, "crop", crop)
    for row in torch.rand(4000, DRAWS, generator=draws).tolist():
        random_resized_crop(image, 4, row)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transform = v2.RandomResizedCrop(4)
        theirs = [transform.make_params([image]) for _ in range(4000)]
    ours = np.array(seen, dtype=float)
    reference = np.array([(each["width"], each["height"]) for each in theirs], dtype=float)
    areas = (each[:, 0] * each[:, 1] / 187_500 for each in (ours, reference))
    shapes = (np.log(each[:, 0] / each[:, 1]) for each in (ours, reference))
    for first, second in (areas, shapes):
        error = math.hypot(first.std(), second.std()) / 4000**0.5
        assert abs(first.mean() - second.mean()) < 4 * error
        assert first.std() == pytest.approx(second.std(), rel=0.05)


def test_colour_noise_is_the_sum_over_components() -> None:
    normals = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-4)  # columns are the eigenvectors
    expected = [sum(0.1 * row[i] * values[i] * vectors[:, i] for i in range(3)) for row in normals.numpy()]
    np.testing.assert_allclose(colour_noise(normals).numpy(), expected, rtol=1e-12)
