"""What a worker needs for a scan, and what it answers, as text that is checked on both sides."""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from lossviz.config import Config
from lossviz.errors import LossvizError, RequestError, WorkError
from lossviz.surface.file import Attributes, Found
from lossviz.surface.grid import GROUPED, Index
from lossviz.surface.sampling import GROUPS

Text = Annotated[str, StringConstraints(max_length=4000)]
Facts = dict[Text, Text | int | float]

# Facts of a worker, by name: what computes, and of the attributes of a scan those of the place where it is computed.
VERSIONS = ("lossviz", "code", "torch")
PLACE = ("checkpoint_sha256", "data_sha256", "own_code", "precision", "directions_sha256")
# Attributes of a result file that only who computes knows.
COMPUTED = (
    *("batch_size", "compiled", "pace", "low_precision", "frozen_prefix", "frozen_prefix_bytes"),
    *("frozen_prefix_speedup", "hessian_products", "hessian_step", "hessian_error"),
)


class _Message(BaseModel):
    # Numbers are not taken from text, and nothing that is not named here is taken at all.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, ser_json_inf_nan="constants")

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def read(cls, answer: bytes) -> Self:
        """From JSON.

        Raises:
            ValueError: it is of another form.
        """
        try:
            return cls.model_validate_json(answer)
        except ValidationError as error:
            raise ValueError(f"its answer is of another form: {error.errors()[0]['msg']}") from None


class Job(_Message):
    """Everything that a worker needs for a scan but its directions.

    Attributes:
        id: another one for every scan.
        config: the variant.
        folder: of its run, where the worker finds the checkpoint.
        device: as `--device` says it.
        threads: of torch, on a CPU.
        allow: what `--allow` named.
        axes: of the grid.
        attributes: of the result file: what was decided when the scan began.
    """

    id: str
    config: Config
    folder: str
    device: str
    threads: int
    allow: tuple[str, ...]
    axes: dict[str, list[float]]
    attributes: dict[str, str | int | float]


class Problem(_Message):
    """An error that a person can act on."""

    request: bool
    lines: list[Text]

    @classmethod
    def of(cls, error: LossvizError) -> "Problem":
        """Its refusals, as they are rendered."""
        return cls(request=isinstance(error, RequestError), lines=[str(each)[:4000] for each in error.refusals])

    @property
    def error(self) -> LossvizError:
        """The same as an error of this process."""
        return (RequestError if self.request else WorkError)(*map(plain, self.lines))


class Begun(_Message):
    """A worker has a job, or says why not.

    Attributes:
        facts: versions, and what the scan's identity is made of, as the worker finds it.
        problem: why it cannot compute.
    """

    facts: Facts
    problem: Problem | None = None


class Computed(_Message):
    """What a worker found at some points.

    Attributes:
        has_job: whether it still knows the job; a worker that was started again does not.
        points: of the grid.
        values: of each quantity, a number (or a number a group) for every point.
        said: doubts, in words.
        attributes: how it computed.
        problem: why it could not.
    """

    has_job: bool = True
    points: list[list[int]] = []
    values: dict[Text, list[float] | list[list[float]]] = {}
    said: list[Text] = []
    attributes: Facts = {}
    problem: Problem | None = None

    @classmethod
    def of(cls, found: Found, said: Sequence[str], attributes: Attributes) -> "Computed":
        """From what was found."""
        names = dict.fromkeys(name for values in found.values() for name in values)
        values = {name: [np.asarray(each[name], float).tolist() for each in found.values()] for name in names}
        return cls(points=[list(index) for index in found], values=values, said=list(said), attributes=attributes)

    def found(self, asked: Sequence[Index], names: Sequence[str]) -> Found:
        """The numbers, if they are those that were asked for.

        Raises:
            ValueError: they are not; says in what they differ.
        """
        points = [tuple(point) for point in self.points]
        if sorted(points) != sorted(asked):
            raise ValueError("it answers for other points than those that it was asked for")
        if set(self.values) != {*names, "seconds"}:
            raise ValueError("it answers with other quantities than those that it was asked for")
        table = {name: _numbers(name, values, len(points)) for name, values in self.values.items()}
        return {
            point: {name: column[i] if name in GROUPED else float(column[i]) for name, column in table.items()}
            for i, point in enumerate(points)
        }

    def kept(self) -> Attributes:
        """The attributes that a worker may set."""
        return {name: plain(v) if isinstance(v, str) else v for name, v in self.attributes.items() if name in COMPUTED}


def plain(text: str) -> str:
    """A text without anything that a terminal would obey."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _numbers(name: str, values: Sequence[float] | Sequence[list[float]], count: int) -> NDArray[np.float64]:
    shape = (count, GROUPS) if name in GROUPED else (count,)
    try:
        found = np.array(values, float)
    except ValueError:
        found = np.empty(0)
    if found.shape != shape:
        raise ValueError(f"its {plain(name)} are not {' x '.join(map(str, shape))} numbers")
    return found
