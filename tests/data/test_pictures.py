"""Every colour mode becomes RGB, and what is no usable image says why."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossviz.data.pictures import DamagedError, read_picture
from tests.data.photographs import encoded, picture


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "LA", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.file"
    image = picture(1, mode)
    path.write_bytes(encoded(image, "jpg" if mode == "CMYK" else "png"))
    found = read_picture(path)
    assert found.mode == "RGB"
    expected = Image.open(path).convert("RGB")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    if mode == "L":
        np.testing.assert_array_equal(np.asarray(found)[:, :, 1], np.asarray(image))


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_needs_no_warning(tmp_path: Path) -> None:
    path, image = tmp_path / "a.png", picture(1).quantize(8)
    image.info["transparency"] = bytes(range(8))
    image.save(path, transparency=bytes(range(8)))
    np.testing.assert_array_equal(np.asarray(read_picture(path)), np.asarray(image.convert("RGBA").convert("RGB")))


def test_a_panorama_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (100, 2)), "png"))
    assert read_picture(tmp_path / "a.png").size == (100, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is text", "no format of images"),
        (b"", "no format of images"),
        (encoded(picture(0))[:-300], "truncated"),
        (encoded(picture(0), "png")[:-300], "truncated"),
        (encoded(Image.fromarray(np.full((4, 4), 4000, np.uint16)), "png"), "more than 8 bits"),
        (encoded(Image.new("RGB", (2, 101)), "png"), "2 x 101 pixels: one side is more than 50 times the other"),
    ],
)
def test_what_is_no_usable_image_is_damaged(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DamagedError, match=reason):
        read_picture(tmp_path / "a.jpg")
