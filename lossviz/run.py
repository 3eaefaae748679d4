"""A run folder: every file name in one class, and what happened there."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lossviz.config import Config, read
from lossviz.config.document import open_document
from lossviz.config.merging import IDENTITY, PLACES, differences
from lossviz.config.reading import dump
from lossviz.errors import Refusal, RequestError, WorkError, either, refuse, show
from lossviz.files import atomic_write, remove_partials, sealed_text, shown
from lossviz.files import read as read_file
from lossviz.lock import exclusive
from lossviz.signals import Stopped
from lossviz.user_code.permissions import NOBODY, Allowed


@dataclass(frozen=True)
class Run:
    """`runs/<experiment>/<variant>/`.

    Attributes:
        folder: its path.
        source: the configuration as the command line named it; for advice, before there is one in the folder.
    """

    folder: Path
    source: str = field(default="CONFIG", compare=False)

    @property
    def variant(self) -> str:
        return self.folder.absolute().name

    @property
    def experiment(self) -> str:
        return self.folder.absolute().parent.name

    @property
    def title(self) -> str:
        """`experiment/variant` as config.yaml has them, whatever the folders are called by now.

        Raises:
            RequestError: config.yaml cannot be read.
        """
        tree = open_document(self.config_file).tree if self.config_file.is_file() else {}
        return f"{tree.get('name', self.experiment)}/{tree.get('variant', self.variant)}"

    @property
    def titles(self) -> tuple[str, ...]:
        """The title, and the one that the run began with: who renames an experiment keeps its results.

        Raises:
            RequestError: config.yaml cannot be read.
        """
        record: dict[str, Any] = {}
        with suppress(WorkError):  # a damaged run.json is only a record
            record = self.record()
        began = f"{record.get('experiment')}/{record.get('variant')}"
        return tuple(dict.fromkeys([self.title, *([began] if record else [])]))

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

    def blocks_folder(self, name: str) -> Path:
        """Points that processes of lossviz 0.1 under torchrun left, in files beside the result file."""
        return self.folder / f"blocks-{name}"

    def block_files(self, name: str) -> list[Path]:
        return sorted(self.blocks_folder(name).glob("*.nc"))

    def samples_folder(self, name: str) -> Path:
        """Losses of single examples at the coarse points of a scan with `surface.accuracy`."""
        return self.folder / f"samples-{name}"

    def scan_files(self, name: str) -> list[Path]:
        """The files of a scan of this name."""
        return [
            *(self.surface_file(name), self.directions_file(name)),
            *(self.blocks_folder(name), self.samples_folder(name)),
        ]

    @property
    def is_there(self) -> bool:
        """Whether the folder is a run: of lossviz, or of a user's own loop, which has no configuration."""
        return any(file.is_file() for file in (self.config_file, self.train_file, self.probe_file))

    def checkpoint_file(self, step: int) -> Path:
        return self.folder / "checkpoints" / f"step-{step:08d}.safetensors"

    @property
    def resume_file(self) -> Path:
        return self.folder / "checkpoints" / "resume.pt"

    @property
    def replay_file(self) -> Path:
        """The saved state of a replay for `lossviz probe`; deleted when it is complete."""
        return self.folder / "checkpoints" / "replay.pt"

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        files = (self.folder / "checkpoints").glob("step-*.safetensors")
        steps = [path.stem.removeprefix("step-") for path in files]
        return sorted(int(step) for step in steps if step.isdecimal())

    def config(self, overrides: Sequence[str] = (), allowed: Allowed | None = None) -> Config:
        """The configuration that ran, with overrides of the command line; `allowed` as in `config.read`.

        Raises:
            RequestError: there is none, or it is wrong.
        """
        if self.is_there and not self.config_file.is_file():
            advice = (
                "lossviz plot draws it; lossviz.Probe measures in the loop, and lossviz.loss_surface scans a network"
            )
            refuse(shown(self.folder), "comes from a training loop that lossviz cannot run", advice=advice)
        return read(str(self.config_file), overrides, allowed=allowed)[0]

    def command(self, word: str, allowed: Allowed = NOBODY) -> str:
        """The arguments of a `lossviz` command for this variant's configuration; for advice.

        Args:
            word: train or probe.
            allowed: whose code it runs.
        """
        source = str(self.config_file) if self.config_file.exists() else self.source
        out = self.folder.parent.parent
        place = [] if out.absolute() == Path("runs").absolute() else ["--out", shown(out)]
        return shlex.join([word, source, *place, *allowed.options])

    @contextmanager
    def writing(self, config: Config, fresh: Sequence[Path] = (), keep: bool = False) -> Iterator[None]:
        """Be the folder's only writer, for this configuration.

        Args:
            config: becomes the folder's config.yaml.
            fresh: files and folders to discard first.
            keep: leave a config.yaml that is there: the settings are for this once.

        Raises:
            WorkError: another process writes here.
            RequestError: the folder holds the results of another configuration.
        """
        with exclusive(self.folder):
            remove_partials(self.folder)
            self.refuse_another(config, fresh)
            _discard(fresh)
            before = self.config_file.read_bytes() if self.config_file.exists() else None
            content = before if keep and before is not None else sealed_text(dump(config))
            if content != before:
                atomic_write(self.config_file, content)
            try:
                yield
            except RequestError:
                # What was refused did not run, and must not be what the next command reads.
                if before is not None and content != before:
                    atomic_write(self.config_file, before)
                raise

    def refuse_another(self, config: Config, fresh: Sequence[Path] = ()) -> None:
        """Refuse a folder with the results of another configuration, but for files that are discarded first."""
        curves = self.train_file.exists() and self.train_file not in fresh
        checkpoints = self.checkpoint_steps and self.resume_file.parent not in fresh
        if not (curves or checkpoints):
            return
        there, here = (each.model_dump(mode="json", exclude=PLACES) for each in (self.config(), config))
        found = [difference for key in IDENTITY for difference in differences(there[key], here[key], key)]
        if found:
            lines = [f"{name} = {show(before)} there, {show(now)} now" for name, before, now in found]
            lines += [
                "repeat the --set of that training, keep both (--set name=NAME or --out DIR), or train ... --fresh"
            ]
            problem = "holds the training of another configuration"
            refuse(shown(self.folder), problem, advice="\n".join(lines))

    def record(self) -> dict[str, Any]:
        """The content of run.json, by stage: train, probe, surface-<name>."""
        if not self.record_file.exists():
            return {}
        content = read_file(self.record_file)
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise WorkError(Refusal(shown(self.record_file), "is damaged", advice="delete it; it is only a record"))
        return record

    def note(self, stage: str, **facts: object) -> None:
        """Add facts to what run.json says of a stage."""
        self._keep(stage, {**self.record().get(stage, {}), **facts})

    def _keep(self, stage: str, facts: dict[str, object]) -> None:
        record = {"experiment": self.experiment, "variant": self.variant, **self.record(), stage: facts}
        atomic_write(self.record_file, (json.dumps(record, indent=2) + "\n").encode())

    @contextmanager
    def stage(self, name: str, **facts: object) -> Iterator[dict[str, Any]]:
        """Record how a stage goes: running, then done, interrupted or failed; the caller may add facts."""
        started, clock = datetime.now(UTC), time.monotonic()
        command = ["lossviz", *sys.argv[1:]]
        self._keep(name, {"status": "running", "command": command, "started": _stamp(started), **facts})
        outcome: dict[str, Any] = {"status": "done"}
        try:
            yield outcome
        except (Stopped, KeyboardInterrupt):
            outcome["status"] = "interrupted"
            raise
        except BaseException:
            outcome["status"] = "failed"
            raise
        finally:
            # Clocks are set while a training runs: its length is not the difference of the two times.
            seconds = round(time.monotonic() - clock, 3)
            self.note(name, ended=_stamp(datetime.now(UTC)), seconds=seconds, **outcome)


def run_of(config: Config, out: Path, source: str = "CONFIG") -> Run:
    """The folder of one variant, whose configuration was read from a source."""
    return Run(out / config.name / config.variant, source)


def find_runs(path: Path, only: Sequence[str] = ()) -> list[Run]:
    """The runs under `runs/<experiment>`, in the experiment's own order, or the one `runs/<experiment>/<variant>`.

    Raises:
        RequestError: there is none, or not the variant asked for.
    """
    if not path.is_dir():
        refuse(shown(path), "there is no such folder; lossviz train makes it")
    runs = [Run(path)] if Run(path).is_there else []
    runs = runs or sorted(runs_below(path), key=_order)
    missing = [name for name in only if name not in {run.variant for run in runs}]
    if missing or not runs:
        there = ", ".join(run.variant for run in runs) or "no run (a folder with config.yaml, one level down)"
        below = [] if runs else sorted(str(each) for each in path.glob("*/") if runs_below(each))
        meant = f"\ndid you mean {either(below)}?" if below else ""
        wanted = f"no variant {', '.join(missing)}" if missing else "nothing that lossviz train left"
        refuse(shown(path), f"holds {wanted}", advice=f"there is: {there}{meant}")
    return [run for run in runs if not only or run.variant in only]


def runs_below(folder: Path) -> list[Run]:
    """The runs one level down."""
    return [run for path in folder.glob("*/") if (run := Run(path)).is_there]


def _order(run: Run) -> tuple[bool, int, str]:
    siblings = run.config().siblings if run.config_file.is_file() else ()
    known = run.variant in siblings
    return not known, siblings.index(run.variant) if known else 0, run.variant


def _discard(paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise WorkError(Refusal(shown(Path(error.filename)), f"cannot be deleted: {error.strerror}")) from error


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
