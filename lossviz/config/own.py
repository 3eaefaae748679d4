"""Keys of networks, data and losses of the user: the function or class that makes them, and its arguments."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lossviz.config.merging import LIBRARIES
from lossviz.config.section import Arguments, Section
from lossviz.user_code.permissions import FORMS, parse_target


def _is_target(text: str) -> str:
    if text.partition("/")[0] in LIBRARIES:
        raise ValueError(f"is a network of a library, which needs no target: {{name: {text}}}")
    parse_target(text)
    return text


class Own(Section):
    """Code of the user; it runs only if the command line allows it."""

    name: Literal["own"]
    target: Annotated[str, AfterValidator(_is_target)] = Field(
        description=f"{FORMS}, whose code runs only with --allow FILE.py or --allow package.module."
    )
    args: Arguments = Field({}, description="Arguments of the target by name: plain YAML values.")
