"""Names and keywords of the views for type checkers and completion, and the defaults of all keywords."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeAlias, TypedDict

from workbench.config import ServerArgs
from workbench.native.requests import PromptOptions
from workbench.types import SamplingParams
from workbench.views.live import VIEWS

ViewName: TypeAlias = Literal["tree", "batch", "tokens", "throughput", "mask", "kv", "template", "program", "dashboard"]
Message: TypeAlias = Mapping[str, Any]
"""One message of a conversation: `role`, `content`, and other keys of the model's template."""


class ViewOptions(TypedDict, total=False):
    """The options of all views. Each view takes its own: the words before the colon name them."""

    rid: str | None
    """tokens, mask: the request's id. None: the newest is followed."""
    by: Literal["probability", "entropy", "rank", "removed", "latency", "allowed"]
    """tokens: the measure that colours them."""
    step: int | None
    """mask: the output token, from 0, whose mask is taken apart."""
    steps: int
    """batch: the number of steps shown, the newest last."""
    skip: int
    """batch: the number of newest requests left out."""
    window: float
    """throughput: the seconds shown."""
    messages: Sequence[Message] | None
    """template: the conversation. Required."""
    against: Sequence[Message] | None
    """template: the conversation to compare with. None: the same one turn before."""
    tools: Sequence[Any] | None
    """template: descriptions of functions for the model."""
    program: str | None
    """program: the run's id. None: the newest."""


VIEW_DEFAULTS: dict[str, object] = {
    parameter.name: parameter.default for kind in VIEWS.values() for parameter in inspect.signature(kind.fold).parameters.values()
}
"""The default of each option of the views by name."""
SERVER_DEFAULTS = ServerArgs().to_dict()
"""The default of each setting by name."""
GENERATE_DEFAULTS: dict[str, object] = {
    **{name: getattr(SamplingParams(), name) for name in SamplingParams.__struct_fields__},
    **{field.name: field.default for field in fields(PromptOptions)},
}
"""The default of each sampling parameter and request option by name."""
