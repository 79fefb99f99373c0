"""Makes the fold of the template view: conversations are rendered and cut into tokens here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from workbench.errors import NotSupported
from workbench.text import chat
from workbench.text.tokenizer import Tokenizer
from workbench.text.written import texts, written
from workbench.views.fold import Facts
from workbench.views.template.fold import TemplateFold
from workbench.views.template.picture import Turn

Messages = Sequence[Mapping[str, Any]]


def template_fold(
    facts: Facts, messages: Messages | None = None, against: Messages | None = None, tools: Sequence[Any] | None = None
) -> TemplateFold:
    """For a conversation; `against` is another to compare it with, by default the same one turn before.

    Raises what the model's template raises for these messages.
    """
    if facts.tokenizer is None:
        raise NotSupported("this engine has no tokenizer (skip_tokenizer_init)", hint="load without skip_tokenizer_init")
    now = chat.checked(messages)
    before = against or turn_before(now)
    turn = _turn(facts.tokenizer, now, tools)
    return TemplateFold(facts, turn, _turn(facts.tokenizer, chat.checked(before), tools) if before else None)


def turn_before(messages: Messages) -> Messages | None:
    """The conversation up to the question before the last one; None where there was none."""
    asked = [i for i, message in enumerate(messages) if message.get("role") == "user"]
    return messages[: asked[-2] + 1] if len(asked) > 1 else None


def _turn(hf: Any, messages: Messages, tools: Sequence[Any] | None) -> Turn:
    """As it would be sent: a conversation that ends with an answer is not asked to go on."""
    render = partial(chat.render, hf, tools=tools, add_generation_prompt=messages[-1].get("role") != "assistant")
    found = written(render, messages)
    ids, ends = Tokenizer(hf).places(found.text)
    missing = [i for i, message in enumerate(messages) if texts(message) and i not in found.found]
    stretches = [(stretch.start, stretch.end, stretch.message) for stretch in found.stretches]
    return Turn.of([str(message.get("role")) for message in messages], found.text, stretches, ids, ends, missing)
