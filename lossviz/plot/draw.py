"""Draw runs from disk into files of images and other formats."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from matplotlib.figure import Figure

from lossviz.errors import did_you_mean, refuse
from lossviz.files import atomic_write
from lossviz.plot.export.formats import EXPORTS, exported
from lossviz.plot.figure import FigureGroup, FigureKind
from lossviz.plot.kit import style
from lossviz.plot.kit.curves import published_key
from lossviz.plot.needs import Scans, folders
from lossviz.plot.published.curves import needed
from lossviz.plot.registry import FIGURES, load_figure
from lossviz.plot.series import DEFAULT, Options, PlottedRun, plotted_runs
from lossviz.plot.sources import figures_folder
from lossviz.run import Run

Kinds = Mapping[str, FigureKind | FigureGroup]

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
    say: Callable[[str], object] = lambda _: None,
) -> list[Path]:
    """Draw everything there is on disk of the runs, which share axes, scales and legends.

    Args:
        runs: variants, of one experiment or of several.
        figures: names among those of `FIGURES`; all that is drawn by default when empty.
        formats: names among png, pdf and svg, which hold figures, and html, vtk and h5, which hold scans.
        folder: where the files go; by default `figures_folder` of the runs.
        options: what the figures show.
        say: told of doubts about what is drawn.

    Raises:
        RequestError: an unknown name, or nothing to draw; says which command makes what is missing.
    """
    _refuse_unknown("figure", figures, FIGURES)
    _refuse_unknown("format", formats, FORMATS)
    clip = options.clip
    if clip is not None and not clip[0] < clip[1]:
        refuse("clip", "the first must be below the second", given=clip)
    plotted = plotted_runs(runs, options.scans)
    folder = folder or figures_folder(plotted)
    images, exports = ([each for each in dict.fromkeys(formats) if each in kind] for kind in (IMAGES, EXPORTS))
    # All before the first is written: a request that one of them refuses leaves nothing behind.
    contents = _exports(plotted, figures, exports, options) if exports else {}
    if images:
        contents = _images(plotted, figures, images, options) | contents
    for doubt in (doubt for each in plotted for doubt in each.doubts):
        say(f"warning: {doubt}")
    for name, content in contents.items():
        atomic_write(folder / name, content)
    return [folder / name for name in contents]


def chosen_figures(figures: Sequence[str], runs: Sequence[PlottedRun], options: Options) -> Kinds:
    """The named figures; when none is named, all there is to say of the runs, or what named scans make."""
    if figures:
        return {name: load_figure(name) for name in figures}
    every = {name: load_figure(name) for name in FIGURES}
    return {
        name: kind
        for name, kind in every.items()
        if kind.by_default(runs) and (kind.needs.of_scans or not options.scans)
    }


def _images(
    runs: Sequence[PlottedRun], figures: Sequence[str], formats: Sequence[str], options: Options
) -> dict[str, bytes]:
    kinds = chosen_figures(figures, runs, options)
    there = {name: kind.drawings(runs, options) for name, kind in kinds.items()}
    missing = [name for name, drawings in there.items() if not drawings]
    if missing and (figures or len(missing) == len(there)):
        _refuse_missing({name: kinds[name] for name in missing}, runs)
    with style.applied():
        drawn = {stem: (make(), kinds[name].dpi) for name, drawings in there.items() for stem, make in drawings.items()}
        if options.reference and not any(published_key(figure) for figure, _ in drawn.values()):
            refuse("no published curve is the counterpart of what is drawn; there are", advice=needed())
        images = {f"{stem}.{each}": _rendered(*found, each) for stem, found in drawn.items() for each in formats}
    tables = {stem: text for kind in kinds.values() for stem, text in kind.tables(runs, options).items()}
    return images | {f"{stem}.md": text.encode() for stem, text in tables.items()}


def _exports(
    runs: Sequence[PlottedRun], figures: Sequence[str], formats: Sequence[str], options: Options
) -> dict[str, bytes]:
    if figures and not any(load_figure(name).needs.of_scans for name in figures):
        problem = f"holds scans, not the figure {', '.join(figures)}"
        refuse(f"format {', '.join(formats)}", problem, advice="leave --figure out, or add --figure surface")
    contents = exported(runs, formats, options)
    if not contents:
        _refuse_to_draw(runs, {Scans().lack(runs): ["surface"]})
    return contents


def _refuse_missing(kinds: Kinds, runs: Sequence[PlottedRun]) -> NoReturn:
    """Say what the runs lack for some figures, and the commands that make it."""
    found: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        found.setdefault(kind.needs.lack(runs), []).append(name)
    _refuse_to_draw(runs, found)


def _refuse_to_draw(runs: Sequence[PlottedRun], lacks: Mapping[str, Sequence[str]]) -> NoReturn:
    lines = [f"{', '.join(names)}: {lack}" for lack, names in lacks.items()]
    refuse(", ".join(folders(runs)), "nothing to draw", advice="\n".join(lines))


def _rendered(figure: Figure, dpi: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=IMAGES[kind])
    return buffer.getvalue()


def _refuse_unknown(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        problem = f"there is no {what} {', '.join(unknown)}{did_you_mean(unknown, known)}"
        refuse(problem, advice=f"{what}s: {', '.join(known)}")
