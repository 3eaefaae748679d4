"""The options of the commands, as the command line has them."""

from pathlib import Path
from typing import Annotated

import typer

from lossviz.plot.registry import figures_help

ConfigSource = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of one that ships with lossviz: quickstart, batchnorm-small, ...",
    ),
]
AnySource = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG|RUN",
        help="A YAML file, the name of one that ships with lossviz, or a folder: runs/EXPERIMENT or "
        "runs/EXPERIMENT/VARIANT.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the configuration: seed=1, 'surface.x=[-1, 1, 25]'. May be repeated.",
    ),
]
Variants = Annotated[
    list[str] | None, typer.Option("--variant", metavar="NAME", help="Only this variant; may be repeated.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where the runs of a CONFIG are kept. [default: runs]")
]
Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, or auto: the first GPU if any.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would run, what it costs and what it writes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="FILE.py|MODULE",
        help="Let the configuration run code of yours: that of this file or module; may be repeated.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Also print the traceback of an error.")]

# Options that only surface has.
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Compute points in N processes on this machine: one for each GPU, or on a CPU with one thread each.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tls://HOST:PORT",
        help="Compute points with the workers of this scheduler of Dask.",
    ),
]

# Options that only plot has.
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN",
        help="Folders: runs/EXPERIMENT or runs/EXPERIMENT/VARIANT. Or files surface-NAME.nc in the latter, which then "
        "share one figure, whatever their names; also surface files of the official tool (.h5).",
    ),
]
Figures = Annotated[list[str] | None, typer.Option("--figure", metavar="NAME", help=figures_help())]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="png (the default), pdf or svg; of scans also html (interactive pages), vtk (for ParaView) and h5 (as "
        "the official tool of Li et al. has them). May be repeated.",
    ),
]
FiguresFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where the figures go. [default: EXPERIMENT/figures; of a single variant, VARIANT/figures; of some, "
        "EXPERIMENT/figures/VARIANT+VARIANT]",
    ),
]
Log = Annotated[
    bool | None,
    typer.Option(
        "--log/--linear",
        help="Scale of every loss. [default: log in training and landscape, and for a wide range in surfaces]",
    ),
]
Clip = Annotated[
    tuple[float, float] | None,
    typer.Option("--clip", metavar="LOW HIGH", help="Clip the losses of surfaces, in the figures only."),
]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference",
        help="Overlay the published curves (Santurkar et al. 2018, He et al. 2015) on the runs that they fit.",
    ),
]
