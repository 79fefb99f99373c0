"""`Weather`: an answer of two fields, for clients that ask for structured output."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Paris", "Rome"]
    degrees: int = Field(ge=-40, le=40)
