"""Run folders of a small configuration."""

from pathlib import Path

from lossviz.config import Config, read
from lossviz.run import Run, run_of

BASE = """\
name: exp
data: {name: cifar10, root: here}
model: {name: vgg}
train: {steps: 10, batch_size: 4}
"""


def configs(folder: Path, *overrides: str, variants: str = "") -> list[Config]:
    path = folder / "c.yaml"
    path.write_text(BASE + variants, encoding="utf-8")
    return read(str(path), overrides)


def trained(folder: Path) -> Run:
    """A run below the working directory with a training of BASE: curves, two checkpoints, a scan."""
    (config,) = configs(folder)
    made = run_of(config, Path("runs"))
    with made.writing(config):
        for path in (made.train_file, made.checkpoint_file(0), made.checkpoint_file(10), made.surface_file("main")):
            path.parent.mkdir(exist_ok=True)
            path.write_text("content")
    return made
