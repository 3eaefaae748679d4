"""What all sections of a configuration share: strictness, and a few types with their ranges."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from lossviz.errors import Refusal, RequestError


class ConflictError(RequestError, ValueError):
    """Keys that do not fit together; a ValueError, because those are what pydantic collects."""


class Section(BaseModel):
    """A mapping of known keys: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def conflicts(self) -> Iterator[Refusal]:
        """Which of the values, each right by itself, do not fit together."""
        yield from ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = tuple(self.conflicts())
        if found:
            raise ConflictError(*found)
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # `args` are mappings, which have no hash


def _finite(args: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        json.dumps(args, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that is not finite; write it as text, such as 'inf'") from None
    return args


Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
AllOrCount = Literal["all"] | Count
AutoOrBool = Literal["auto"] | bool
# The arguments of a user's function: whatever YAML can say.
Arguments = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
# Names become folders and files.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME)]
