"""What all sections of a configuration share: strictness, and a few types with their ranges."""

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue


class Section(BaseModel):
    """A mapping of known keys: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

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
# Of somebody else's function: whatever YAML can say.
Arguments = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
# Names become folders and files.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME)]
