"""Names and keywords of the views for type checkers and completion, and the defaults of all keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeAlias, TypedDict

from workbench.config import ServerArgs
from workbench.native.requests import PromptOptions
from workbench.types import SamplingParams

ViewName: TypeAlias = Literal["tree", "batch", "tokens", "throughput", "mask", "kv", "template", "program", "dashboard"]
Message: TypeAlias = Mapping[str, Any]
"""One message of a conversation: `role`, `content`, and other keys of the model's template."""


class ViewOptions(TypedDict, total=False):
    """The options of all views. The words before the colon name the views that take an option."""

    rid: str | None
    """tokens, mask: the request's id. None: always the newest request."""
    by: Literal["probability", "entropy", "rank", "removed", "latency", "allowed"]
    """tokens: the measure that colours them."""
    step: int | None
    """mask: the number of the output token, from 0, whose mask is shown."""
    steps: int
    """batch: the number of steps shown, the newest last."""
    skip: int
    """batch: the number of newest requests left out."""
    window: float
    """throughput: the seconds shown."""
    messages: Sequence[Message] | None
    """template: the conversation. Required."""
    against: Sequence[Message] | None
    """template: the conversation to compare with. None: the same one without its last turn."""
    tools: Sequence[Any] | None
    """template: descriptions of functions for the model."""
    program: str | None
    """program: the run's id. None: the newest."""


VIEW_DEFAULTS: dict[str, object] = {"by": "probability", "steps": 160, "skip": 0, "window": 60.0}
"""The defaults of the views' options by name, where they are not None. The views are not imported for them."""
SERVER_DEFAULTS = ServerArgs().to_dict()
"""The defaults of the settings by name."""
GENERATE_DEFAULTS: dict[str, object] = {
    **{name: getattr(SamplingParams(), name) for name in SamplingParams.__struct_fields__},
    **{field.name: field.default for field in fields(PromptOptions)},
    "image_data": None,
    "modalities": None,
}
"""The defaults of sampling parameters and request options by name."""
