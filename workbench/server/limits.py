"""Limits of one request that do not depend on the engine: what no sane client sends, and what would hold up the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from workbench.errors import InvalidRequest

MAX_ANSWERS = 4096
"""Most answers of one request: its prompts times the samples of each."""
MAX_SAMPLES = 128
"""Most answers to one prompt over OpenAI's API."""
LONGEST: dict[str, int] = {"stop": 256, "stop_sequences": 256, "stop_token_ids": 4096, "logit_bias": 65_536, "tools": 1024}
"""Largest number of items that a field may have."""

MAX_NAME = 512
"""Most characters of an id or a name."""
NAMES = frozenset({"rid", "namespace", "user", "model"})
NESTED = ("sampling_params", "options")
"""Fields whose value holds sampling parameters."""


def check_size(name: str, value: Any) -> None:
    """Raises InvalidRequest if the value of this field is larger than it may be."""
    if name in NAMES:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and len(each) > MAX_NAME:
                raise InvalidRequest.because(name, f"{name} has {len(each)} characters, the limit is {MAX_NAME}", hint="cut it")
    limit = LONGEST.get(name)
    if limit is not None and isinstance(value, Collection) and not isinstance(value, str) and len(value) > limit:
        raise InvalidRequest.because(name, f"{name} has {len(value)} items, the limit is {limit}", hint="send fewer")


def check_sizes(body: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for the first field of a body, or of its sampling parameters, with more items than it may have."""
    for name, value in body.items():
        check_size(name, value)
        if name in NESTED:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Mapping):
                    check_sizes(each)


def check_answers(count: int) -> None:
    """Raises InvalidRequest if a request makes more answers than it may."""
    if count > MAX_ANSWERS:
        message = f"the request makes {count} answers, the limit is {MAX_ANSWERS}"
        raise InvalidRequest.because("n", message, hint="send several requests")
