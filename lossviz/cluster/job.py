"""What a worker needs for a scan, and what it answers, as text that is checked on both sides."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from lossviz.config import Config
from lossviz.errors import LossvizError, RequestError, WorkError, first_line
from lossviz.surface.file import Attributes, Found
from lossviz.surface.forward import ExecutionPlan
from lossviz.surface.grid import GROUPED, Index
from lossviz.surface.sampled.estimator import GROUPS, Values
from lossviz.surface.sampled.files import Seen
from lossviz.surface.waypoints import Waypoint

# In the environment of a worker of `--workers`: the file that it makes when it has begun a job.
BEGUN = "LOSSVIZ_BEGUN"

Text = Annotated[str, StringConstraints(max_length=4000)]
Facts = dict[Text, Text | int | float]

# Facts of a worker, by name: what computes, and of the attributes of a scan those of the place where it is computed.
VERSIONS = ("lossviz", "code", "torch")
PLACE = ("checkpoint_sha256", "data_sha256", "own_code", "precision", "directions_sha256")
# Attributes of a result file that only who computes knows, and which are decided before a scan begins.
COMPUTED: Mapping[str, type] = {
    **{"batch_size": int, "compiled": int, "pace": str},
    **{"frozen_prefix": str, "frozen_prefix_bytes": int, "frozen_prefix_speedup": float},
    **{"hessian_products": str, "hessian_step": float, "hessian_error": float},
}
DECIDED: Mapping[str, type] = {
    **{"batch_size": int, "compiled": int, "pace": str},
    **{"low_precision": int, "loss_range": float},
}


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
        scratch: where temporary files lie; empty for a folder of the worker's own.
    """

    id: str
    config: Config
    folder: str
    device: str
    threads: int
    allow: tuple[str, ...]
    axes: dict[str, list[float]]
    attributes: dict[str, str | int | float]
    scratch: str = ""


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


class Answer(_Message):
    """What a worker answers to a task, at the least.

    Attributes:
        has_job: whether it still knows the job; a worker that was started again does not.
        misfit: why it cannot compute what others can.
        said: doubts, in words.
        damaged: files of data that it skipped, and what is wrong with each.
        attributes: how it computed, or what it decided.
        problem: why it could not compute.
    """

    settable: ClassVar[Mapping[str, type]] = COMPUTED

    has_job: bool = True
    misfit: Text = ""
    said: list[Text] = []
    damaged: dict[Text, Text] = {}
    attributes: Facts = {}
    problem: Problem | None = None

    def kept(self) -> Attributes:
        """The attributes, which must be among those that such an answer may set.

        Raises:
            ValueError: one is none that may be set, or of another type.
        """
        for name, value in self.attributes.items():
            if type(value) is not self.settable.get(name):
                raise ValueError(f"it may not set {plain(name)[:60]} = {plain(str(value))[:60]}")
        return {name: plain(value) if isinstance(value, str) else value for name, value in self.attributes.items()}


class Decided(Answer):
    """What was decided where a scan is computed, before it begins."""

    settable: ClassVar[Mapping[str, type]] = DECIDED

    def decided(self) -> Attributes:
        """The attributes, if they are complete.

        Raises:
            ValueError: they are not.
        """
        found = self.kept()
        try:
            sound = 0 < ExecutionPlan.saved(found).batch_size < 10**9
        except (KeyError, ValueError):
            sound = False
        if not sound:
            raise ValueError("it does not decide how to compute")
        return found


class Measured(Answer):
    """What a worker found at a checkpoint beside the grid."""

    values: dict[Text, float] = {}
    precision: Text = ""

    def waypoint(self, names: Collection[str]) -> Waypoint:
        """The numbers, if they are those that were asked for.

        Raises:
            ValueError: they are not.
        """
        if set(self.values) != set(names):
            raise ValueError("it answers with other quantities than those that it was asked for")
        return Waypoint(self.values, plain(self.precision))


class Computed(Answer):
    """What a worker found at some points.

    Attributes:
        points: of the grid.
        values: of each quantity, a number (or a number a group) for every point.
    """

    points: list[list[int]] = []
    values: dict[Text, list[float] | list[list[float]]] = {}

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


def pack(seen: Mapping[Index, Seen]) -> bytes:
    """Losses of single examples at coarse points as a safetensors file: float32, as they are kept."""
    return safetensors.numpy.save(
        {
            f"{','.join(map(str, index))}/{prefix}": values.astype(np.float32)
            for index, each in seen.items()
            for prefix, values in each.items()
        }
    )


def unpack(content: bytes, points: Sequence[Index], most: Mapping[str, int]) -> Mapping[Index, Seen]:
    """The same back, if it is of these points and has at most so many examples of each split, by its prefix.

    Raises:
        ValueError: it is something else.
    """
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:
        raise ValueError(f"its samples are of another form: {first_line(error)}") from None
    names = {f"{','.join(map(str, index))}/{prefix}": (index, prefix) for index in points for prefix in most}
    if tensors.keys() != names.keys():
        raise ValueError("it answers with samples of other points than those that it was asked for")
    found: dict[Index, dict[str, Values]] = {index: {} for index in points}
    for name, values in tensors.items():
        index, prefix = names[name]
        if values.dtype != np.float32 or values.shape[1:] != (2,) or not 0 < len(values) <= most[prefix]:
            raise ValueError(f"its samples are {values.dtype} {list(values.shape)}")
        found[index][prefix] = values.astype(float)
    return found


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
