"""From runs on disk to image files."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lossviz.errors import RequestError
from lossviz.files import atomic_write
from lossviz.plot import style
from lossviz.plot.drawings import FIGURES
from lossviz.plot.missing import missing_results
from lossviz.plot.options import DEFAULT, Options
from lossviz.plot.overlay import shows_published
from lossviz.plot.reference import NEEDED
from lossviz.plot.series import appearing
from lossviz.run import Run

# No dates: the same results give the same bytes.
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def draw(
    runs: Sequence[Run],
    *,
    figures: Sequence[str] = (),
    formats: Sequence[str] = ("png",),
    folder: Path | None = None,
    options: Options = DEFAULT,
) -> list[Path]:
    """Draw everything there is on disk of the runs, which share axes, scales and legends.

    Args:
        runs: variants, of one experiment or of several.
        figures: names among those of `FIGURES`; all that there is when empty.
        formats: names among png, pdf and svg.
        folder: where the images go; by default `figures` beside the first run.
        options: what the figures show.

    Raises:
        RequestError: an unknown name, or nothing to draw; says which command makes what is missing.
    """
    _refuse_unknown("figure", figures, FIGURES)
    _refuse_unknown("format", formats, FORMATS)
    clip = options.clip
    if clip is not None and not clip[0] < clip[1]:
        raise RequestError(f"clip = [{clip[0]:g}, {clip[1]:g}]: the first must be below the second")
    folder = folder or runs[0].folder.parent / "figures"
    there = {name: FIGURES[name](appearing(runs), options) for name in figures or FIGURES}
    missing = [name for name, drawings in there.items() if not drawings]
    if missing and (figures or len(missing) == len(there)):
        raise RequestError(missing_results(missing, runs))
    paths = []
    with style.applied():
        # All before the first is written: a request that one of them refuses leaves nothing behind.
        drawn = {stem: make() for drawings in there.values() for stem, make in drawings.items()}
        if options.reference and not any(map(shows_published, drawn.values())):
            raise RequestError(f"no published curve is the counterpart of what is drawn; there are\n  {NEEDED}")
        for stem, figure in drawn.items():
            for each in dict.fromkeys(formats):
                paths.append(folder / f"{stem}.{each}")
                atomic_write(paths[-1], _rendered(figure, each))
    return paths


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=FORMATS[kind])
    return buffer.getvalue()


def _refuse_unknown(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"there is no {what} {', '.join(unknown)}\n  {what}s: {', '.join(known)}")
