"""From runs on disk to files of images and other formats."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lossviz.errors import RequestError
from lossviz.files import atomic_write
from lossviz.plot import style
from lossviz.plot.drawings import FIGURES, default_figures, residual_tables
from lossviz.plot.exports import EXPORTS, exported
from lossviz.plot.missing import missing_results
from lossviz.plot.options import DEFAULT, Options
from lossviz.plot.overlay import shows_published
from lossviz.plot.place import figures_folder
from lossviz.plot.reference import NEEDED
from lossviz.plot.series import Shown, appearing
from lossviz.plot.surfaces import SURFACE_FIGURES
from lossviz.run import Run

# No dates: the same results give the same bytes.
IMAGES: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
FORMATS = (*IMAGES, *EXPORTS)


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
        figures: names among those of `FIGURES`; all that there is when empty, but not `difference`.
        formats: names among png, pdf and svg, which hold figures, and html, vtk and h5, which hold scans.
        folder: where the files go; by default `figures_folder` of the runs.
        options: what the figures show.

    Raises:
        RequestError: an unknown name, or nothing to draw; says which command makes what is missing.
    """
    _refuse_unknown("figure", figures, FIGURES)
    _refuse_unknown("format", formats, FORMATS)
    clip = options.clip
    if clip is not None and not clip[0] < clip[1]:
        raise RequestError(f"clip = [{clip[0]:g}, {clip[1]:g}]: the first must be below the second")
    shown = appearing(runs, options.scans)
    folder = folder or figures_folder(shown)
    images, exports = ([each for each in dict.fromkeys(formats) if each in kind] for kind in (IMAGES, EXPORTS))
    # All before the first is written: a request that one of them refuses leaves nothing behind.
    contents = _exports(shown, figures, exports, options) if exports else {}
    if images:
        contents = _images(shown, figures, images, options) | contents
    for name, content in contents.items():
        atomic_write(folder / name, content)
    return [folder / name for name in contents]


def _images(shown: Sequence[Shown], figures: Sequence[str], kinds: Sequence[str], options: Options) -> dict[str, bytes]:
    there = {name: FIGURES[name](shown, options) for name in figures or default_figures(shown, options)}
    missing = [name for name, drawings in there.items() if not drawings]
    if missing and (figures or len(missing) == len(there)):
        raise RequestError(missing_results(missing, [each.run for each in shown]))
    with style.applied():
        drawn = {stem: make() for drawings in there.values() for stem, make in drawings.items()}
        if options.reference and not any(map(shows_published, drawn.values())):
            raise RequestError(f"no published curve is the counterpart of what is drawn; there are\n  {NEEDED}")
        images = {f"{stem}.{kind}": _rendered(figure, kind) for stem, figure in drawn.items() for kind in kinds}
    tables = residual_tables(shown) if there.get("residual") else {}
    return images | {f"{stem}.md": table.encode() for stem, table in tables.items()}


def _exports(
    shown: Sequence[Shown], figures: Sequence[str], kinds: Sequence[str], options: Options
) -> dict[str, bytes]:
    if figures and not any(name in SURFACE_FIGURES for name in figures):
        raise RequestError(
            f"format {', '.join(kinds)}: holds scans, not the figure {', '.join(figures)}\n"
            "  leave --figure out, or add --figure surface"
        )
    contents = exported(shown, kinds, options)
    if not contents:
        raise RequestError(missing_results(["surface"], [each.run for each in shown]))
    return contents


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=IMAGES[kind])
    return buffer.getvalue()


def _refuse_unknown(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"there is no {what} {', '.join(unknown)}\n  {what}s: {', '.join(known)}")
