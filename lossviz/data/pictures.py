"""A picture file as RGB, whatever it holds, or the reason why it cannot be one."""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lossviz.errors import Refusal, WorkError, first_line
from lossviz.files import shown

# The longer side by the shorter one. Resized to a shorter side of 256, a longer picture would take gigabytes.
LONGEST = 50


class DamagedError(Exception):
    """The content of a file is not an image that can be used."""


def read_picture(path: Path) -> Image.Image:
    """An image in RGB: greyscale repeated, CMYK converted, transparency dropped; as torchvision's ImageFolder reads it.

    Raises:
        DamagedError: the file is cut short, is not an image of 8 bits a channel, or is a strip of pixels.
        WorkError: the file is not there or cannot be read, which another moment may change: it is never skipped.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkError(Refusal(shown(path), f"cannot be read: {error.strerror}")) from error
    try:
        return _decoded(content)
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise DamagedError("no format of images that Pillow knows") from error
    except Exception as error:  # Pillow raises whatever a damaged byte leads to
        raise DamagedError(first_line(error)) from error


def _decoded(content: bytes) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(content))
    if max(image.size) > LONGEST * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels: one side is more than {LONGEST} times the other")
    if image.mode.startswith(("I", "F")):  # `convert` would clip to white without a word
        raise ValueError(f"more than 8 bits a channel (mode {image.mode})")
    if image.mode == "P" and "transparency" in image.info:  # else Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")
