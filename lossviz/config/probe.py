"""The `probe` section: what is measured along the gradient, and how often."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lossviz.config.section import Count, Positive, Section

Measure = Literal["landscape"]


class Probe(Section):
    """Measurements on the minibatch of a training step (Santurkar et al. 2018, section 3.2)."""

    every: Count = Field(100, description="Measure before the first step, every so many steps, and after the last.")
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = Field(
        ("landscape",), description="landscape: loss and gradient at theta - eta * g for every length eta."
    )
    lengths: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (0.05, 0.1, 0.2, 0.4), description="Step lengths eta along the negative gradient g."
    )

    @model_validator(mode="after")
    def _ascending(self) -> "Probe":
        if list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError(f"lengths = {list(self.lengths)} must grow from one to the next")
        return self
