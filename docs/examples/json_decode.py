"""JSON whose form is given by a Pydantic model, a dict or a pattern: python docs/examples/json_decode.py"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

import workbench as sgl


class Sky(StrEnum):
    clear = "clear"
    cloudy = "cloudy"
    storm = "storm"


class Day(BaseModel):
    town: str = Field(max_length=16)
    sky: Sky
    degrees: int = Field(ge=-40, le=50)


class Forecast(BaseModel):
    today: Day
    tomorrow: Day


COORDINATES = r'\{"latitude": -?[0-9]{1,2}\.[0-9]{2}, "longitude": -?[0-9]{1,3}\.[0-9]{2}\}'


@sgl.function
def weather(s, town):
    s += f"The weather of {town} as JSON:\n"
    s += sgl.gen("day", json_schema=Day, max_tokens=64)


@sgl.function
def place(s, town):
    s += f"Where {town} lies:\n" + sgl.gen("place", regex=COORDINATES, max_tokens=48)


def from_a_model():
    state = weather.run(town="Bergen", temperature=0)
    day = Day.model_validate_json(state["day"])
    print(f"{day.town}: {day.sky}, {day.degrees} degrees")


def from_a_pattern():
    print(place.run(town="Lima", temperature=0)["place"])


def without_a_program(engine):
    forecast = engine.generate_json("The weather of Oslo as JSON:\n", Forecast, temperature=0)
    print("tomorrow in", forecast.tomorrow.town, "it is", forecast.tomorrow.degrees)
    schema = {"type": "array", "items": {"enum": ["sun", "rain", "snow"]}, "minItems": 2, "maxItems": 3}
    print(engine.generate_json("A week in words: ", schema, temperature=0))


def main(engine):
    from_a_model()
    from_a_pattern()
    without_a_program(engine)


if __name__ == "__main__":
    with sgl.Engine("smollm2-135m", log_level="error") as engine:
        main(engine)
