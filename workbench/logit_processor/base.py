"""The class that a user writes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from workbench.errors import InvalidRequest
from workbench.logit_processor.portable import FIELD, is_importable, portable_source


class CustomLogitProcessor(ABC):
    """Subclass this, then send `YourProcessor().to_str()` with the request as `custom_logit_processor`.

    One instance serves all requests with the same text, so it must keep nothing of a request in its attributes.
    """

    @abstractmethod
    def __call__(self, logits: Tensor, custom_param_list: list[dict[str, Any]]) -> Tensor:
        """Returns the edited logits. `logits` [n, V] may be changed in place; `custom_param_list[i]` belongs to row i."""

    def to_str(self) -> str:
        """Returns the text of the field `custom_logit_processor`: JSON with the class, or its source, and the attributes.

        A class that only this process has, such as one defined in a notebook cell, goes as source with the imports
        and plain constants it uses. Raises InvalidRequest when something cannot travel, and names it.
        """
        cls = type(self)
        data: dict[str, Any] = {"class": cls.__qualname__}
        if is_importable(cls):
            data["module"] = cls.__module__
        else:
            data["source"] = portable_source(cls)
        if state := vars(self):
            data["state"] = _as_json(state)
        return json.dumps(data)


def _as_json(state: dict[str, Any]) -> dict[str, Any]:
    """Returns the attributes. Raises InvalidRequest for one that JSON does not give back."""
    for name, value in state.items():
        try:
            same = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            hint = "pass it in custom_params, or build it in __call__"
            raise InvalidRequest(f"{FIELD}.{name}", value, "a value that JSON can carry", hint=hint)
    return state
