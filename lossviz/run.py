"""A run folder: every file name in one class, and what happened there."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lossviz.config import Config, read
from lossviz.config.reading import dump
from lossviz.errors import RequestError, WorkError
from lossviz.files import atomic_write, remove_partials
from lossviz.lock import exclusive

# What decides the numbers of a training; the rest of a configuration may change between commands.
IDENTITY = ("seed", "data", "model", "train")
# Where data lie is not what they are; run.json holds their fingerprint.
PLACES = {"data": {"root", "download"}}


@dataclass(frozen=True)
class Run:
    """`runs/<experiment>/<variant>/`."""

    folder: Path

    @property
    def variant(self) -> str:
        return self.folder.name

    @property
    def experiment(self) -> str:
        return self.folder.parent.name

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def record_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def train_file(self) -> Path:
        return self.folder / "train.nc"

    @property
    def probe_file(self) -> Path:
        return self.folder / "probe.nc"

    def surface_file(self, name: str) -> Path:
        return self.folder / f"surface-{name}.nc"

    def directions_file(self, name: str) -> Path:
        return self.folder / f"directions-{name}.safetensors"

    @property
    def surface_files(self) -> list[Path]:
        return sorted(self.folder.glob("surface-*.nc"))

    def checkpoint_file(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"step-{step:08d}.safetensors"

    @property
    def resume_file(self) -> Path:
        return self.folder / "checkpoints" / "resume.pt"

    @property
    def replay_file(self) -> Path:
        """Where a replay for `lossviz probe` stands; gone when it is complete."""
        return self.folder / "checkpoints" / "replay.pt"

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        files = (self.folder / "checkpoints").glob("step-*.safetensors")
        return sorted(int(path.stem.removeprefix("step-")) for path in files)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """The configuration that ran, with overrides of the command line."""
        return read(str(self.config_file), overrides)[0]

    @contextmanager
    def writing(self, config: Config, fresh: Sequence[Path] = ()) -> Iterator[None]:
        """Be the folder's only writer, for this configuration.

        Args:
            config: becomes the folder's config.yaml.
            fresh: files and folders to discard first.

        Raises:
            WorkError: somebody else writes here.
            RequestError: the folder holds the results of another configuration.
        """
        with exclusive(self.folder):
            remove_partials(self.folder)
            for path in fresh:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            self._refuse_another(config)
            content = dump(config).encode()
            if not self.config_file.exists() or self.config_file.read_bytes() != content:
                atomic_write(self.config_file, content)
            yield

    def _refuse_another(self, config: Config) -> None:
        if not (self.train_file.exists() or self.checkpoint_steps):
            return
        there, here = (each.model_dump(mode="json", exclude=PLACES) for each in (self.config(), config))
        for key in IDENTITY:
            for name, before, now in _differences(there[key], here[key], key):
                raise RequestError(
                    f"{self.folder}: holds a training with {name} = {before}, and now {name} = {now}\n"
                    "  keep both with another name: or --out, or discard what is there with "
                    f"lossviz train ... --fresh"
                )

    def record(self) -> dict[str, Any]:
        """What run.json says, by stage: train, probe, surface-<name>."""
        if not self.record_file.exists():
            return {}
        try:
            return dict(json.loads(self.record_file.read_text(encoding="utf-8")))
        except (ValueError, UnicodeDecodeError) as error:
            raise WorkError(f"{self.record_file}: is damaged ({error})\n  delete it; it is only a record") from error

    def note(self, stage: str, **facts: Any) -> None:
        """Add facts to what run.json says of a stage."""
        record = self.record()
        record["experiment"], record["variant"] = self.experiment, self.variant
        record.setdefault(stage, {}).update(facts)
        atomic_write(self.record_file, (json.dumps(record, indent=2) + "\n").encode())

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Record how a stage goes: running, then done, interrupted or failed; the caller may add facts."""
        started = datetime.now(UTC)
        self.note(name, status="running", command=["lossviz", *sys.argv[1:]], started=_stamp(started), **facts)
        outcome: dict[str, Any] = {"status": "done"}
        try:
            yield outcome
        except (KeyboardInterrupt, SystemExit):
            outcome["status"] = "interrupted"
            raise
        except BaseException:
            outcome["status"] = "failed"
            raise
        finally:
            ended = datetime.now(UTC)
            self.note(name, ended=_stamp(ended), seconds=round((ended - started).total_seconds(), 3), **outcome)


def run_of(config: Config, out: Path) -> Run:
    """The folder of one variant."""
    return Run(out / config.name / config.variant)


def find_runs(path: Path, only: Sequence[str] = ()) -> list[Run]:
    """The runs under `runs/<experiment>`, in the experiment's own order, or the one `runs/<experiment>/<variant>`.

    Raises:
        RequestError: there is none, or not the variant asked for.
    """
    if (path / "config.yaml").is_file():
        return [Run(path)]
    runs = sorted((Run(config.parent) for config in path.glob("*/config.yaml")), key=_order)
    missing = [name for name in only if name not in {run.variant for run in runs}]
    if missing or not runs:
        there = ", ".join(run.variant for run in runs) or "no run (a folder with config.yaml, one level down)"
        wanted = f"no variant {', '.join(missing)}" if missing else "nothing that lossviz train left"
        raise RequestError(f"{path}: holds {wanted}\n  there is: {there}")
    return [run for run in runs if not only or run.variant in only]


def _order(run: Run) -> tuple[int, str]:
    siblings = run.config().siblings
    return siblings.index(run.variant) if run.variant in siblings else len(siblings), run.variant


def _differences(there: Any, here: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}")
    elif there != here:
        yield name, there, here


def _stamp(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
