"""The gallery's figures of docs/runs, drawn by the commands that it shows, into docs/figures.

python -m benchmarks.figures [NAME ...]

A PNG there has 256 colours, which makes it a third as large and is not seen, but where a picture has light and shade.
"""

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

RUNS, FIGURES = Path("docs/runs"), Path("docs/figures")
COLOURS = 256
SHADED = ("official-relief", "official-first1000-relief")
_BATCHNORM = ("batchnorm-paper", "--variant", "standard", "--variant", "batchnorm")
_NOISY = (*_BATCHNORM, "--variant", "noisy")
_PLANES, _NOSHORT = (
    (f"official-accuracy/{name}/surface-main.nc", str(RUNS / f"official-accuracy/{name}/surface-first1000.nc"))
    for name in ("resnet56", "resnet56-noshort")
)
# The figure's name there: the run and options of `lossviz plot`, and the file that it leaves.
DRAWN: dict[str, tuple[tuple[str, ...], str]] = {
    "batchnorm-paper-training": (
        (*_NOISY, "--variant", "control", "--figure", "training", "--reference"),
        "training",
    ),
    "batchnorm-paper-landscape": ((*_BATCHNORM, "--figure", "landscape", "--reference"), "landscape"),
    "batchnorm-paper-activations": ((*_NOISY, "--figure", "activations"), "activations"),
    "batchnorm-paper-moments": ((*_NOISY, "--figure", "moments"), "moments"),
    "batchnorm-paper-shift": ((*_BATCHNORM, "--figure", "shift"), "shift"),
    "resnet-fig6-residual": (("resnet-fig6", "--figure", "residual", "--reference"), "residual"),
    "resnet-fig4-long-residual": (("resnet-fig4-small", "--figure", "residual"), "residual"),
    "official-relief": (("official-accuracy", "--figure", "relief"), "surface-main-relief"),
    "official-accuracy": (("official-accuracy", "--figure", "accuracy"), "surface-main-accuracy"),
    "official-first1000-relief": ((*_PLANES, "--figure", "relief"), "surface-main+first1000-relief"),
    "official-noshort-first1000-contour": ((*_NOSHORT, "--figure", "contour"), "surface-main+first1000-contour"),
    "official-first1000-difference": ((*_PLANES, "--figure", "difference"), "surface-main+first1000-difference"),
}


def draw(name: str) -> Path:
    """Draw one of them; the file written."""
    (run, *options), file = DRAWN[name]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lossviz", "plot", str(RUNS / run), *options, "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        content = (Path(folder) / f"{file}.png").read_bytes()
    path = FIGURES / f"{name}.png"
    path.write_bytes(content if name in SHADED else reduced(content))
    return path


def reduced(png: bytes) -> bytes:
    """The same picture in 256 colours."""
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw them, and say how large they are."""
    parser = argparse.ArgumentParser(description="the figures of docs/runs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DRAWN))
    for name in parser.parse_args(arguments).names or DRAWN:
        path = draw(name)
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e3:,.0f} kB\n")


if __name__ == "__main__":
    main()
