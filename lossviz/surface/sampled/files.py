"""The losses of single examples at the coarse points of an estimated scan, in files beside its results."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lossviz.errors import LossvizError
from lossviz.files import atomic_write, check_owner, read_sealed, seal
from lossviz.surface.sampled.estimator import Values

Seen = Mapping[str, Values]
"""What was seen at a point: by the prefix of a split, losses and wrong answers (examples, 2)."""

_LOST = "delete it: the same command computes the point again"


@dataclass(frozen=True)
class SampleFiles:
    """One file for each coarse point, in float32.

    Every point is interpolated from what the files say, so the numbers do not depend on who computed what, and when.

    Attributes:
        folder: of the files.
    """

    folder: Path
    _held: dict[Path, Seen] = field(default_factory=dict, init=False)

    def has(self, where: Mapping[str, float]) -> bool:
        """Whether there is a sound file of a point, by its x and y."""
        try:
            return bool(self.load(where))
        except LossvizError:
            return False

    def save(self, where: Mapping[str, float], values: Seen) -> None:
        """Write what was seen at a point."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"{prefix}values": each.astype(np.float32) for prefix, each in values.items()}
        path = self._file(where)
        np.savez(buffer, of=np.array(_place(path)), **arrays)
        atomic_write(path, seal(buffer.getvalue()))

    def load(self, where: Mapping[str, float]) -> Seen:
        """Read what was seen at a point; each file is read once.

        Raises:
            RequestError: there is no such file.
            WorkError: it is cut short or altered, or of another point or scan.
        """
        path = self._file(where)
        if path not in self._held:
            with np.load(io.BytesIO(read_sealed(path, _LOST)), allow_pickle=False) as saved:
                check_owner(path, str(saved["of"]) if "of" in saved else "", (_place(path),))
                names = [name for name in saved.files if name.endswith("values")]
                self._held[path] = {name.removesuffix("values"): saved[name].astype(float) for name in names}
        return self._held[path]

    def discard(self) -> None:
        """Delete what is there, as of a scan whose result file somebody deleted."""
        for path in self.folder.glob("*.npz"):
            path.unlink()

    def _file(self, where: Mapping[str, float]) -> Path:
        # By its place and not by its number, which is another one in a finer grid.
        return self.folder / f"{'_'.join(f'{axis}{value:+.9g}' for axis, value in sorted(where.items()))}.npz"


def _place(path: Path) -> str:
    """Experiment, variant, scan and point; in a folder that was renamed the points are computed again."""
    return "/".join(path.absolute().parts[-4:])
