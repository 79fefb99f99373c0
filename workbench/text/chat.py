"""Renders conversations with the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.text.conversation import BUILT_IN

ROLES = ("system", "user", "assistant", "tool", "developer", "function")
"""The roles that any template accepts."""


def read_template(source: str) -> str:
    """Returns the template in the file `source`, or `source` itself if it is one. Raises InvalidRequest."""
    if "{%" in source or "{{" in source:
        return source
    path = Path(source).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(BUILT_IN)
        raise InvalidRequest(
            "chat_template", source, f"the path of a .jinja or .json file, or one of {names} ({error})"
        ) from None


def source_of(hf: Any, tools: Sequence[Any] | None = None) -> str:
    """Returns the template of a tokenizer, of several by name the one for tools where there are any; empty if it has none."""
    found = hf.chat_template
    if not isinstance(found, Mapping):
        return found or ""
    name = "tool_use" if tools and "tool_use" in found else "default"
    return str(found.get(name) or next(iter(found.values()), ""))


def render(
    hf: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Any] | None = None,
    **template_args: Any,
) -> str:
    """Returns the conversation as the text that the model was trained on, with its special tokens written out.

    `hf` is the transformers tokenizer that owns the template. Raises NotSupported for a model without a template and
    InvalidRequest for messages that are malformed or that the template refuses.
    """
    import jinja2

    source = source_of(hf, tools)
    if not source:
        raise NotSupported(
            "this model has no chat template", hint="give one with chat_template=PATH.jinja, or use generate() with plain text"
        )
    conversation = checked(messages)
    check_roles(conversation, source)
    try:
        text: str = hf.apply_chat_template(
            conversation, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False,
            **{"chat_template": source} | template_args,
        )  # fmt: skip
    except jinja2.TemplateError as error:
        raise InvalidRequest("messages", messages, f"a conversation that the model's chat template takes ({error})") from error
    return text


def checked(messages: Any) -> list[dict[str, Any]]:
    """Returns the conversation as plain dicts. Raises InvalidRequest with the first malformed message."""
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise InvalidRequest("messages", messages, 'a list of dicts like {"role": "user", "content": "Hello"}')
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"messages[{i}]", message, 'a dict with "role" and "content"')
    return [dict(message) for message in messages]


def check_roles(messages: Sequence[Mapping[str, Any]], template: str) -> None:
    """Raises InvalidRequest for a role that is neither in `ROLES` nor in the template: most templates write any word."""
    for i, message in enumerate(messages):
        if (role := message["role"]) not in ROLES and role not in template:
            raise InvalidRequest(f"messages[{i}] role", role, f"one of {', '.join(ROLES)}")


def facts(hf: Any) -> dict[str, Any]:
    """Returns the facts with which a client renders conversations without the tokenizer: `get_server_info()["tokenizer"]`.

    `adds_bos` is true if plain text gets a BOS token; `start_id` is the token before any text, for scores without a prompt.
    """
    start = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
    first = hf.backend_tokenizer.encode("a", add_special_tokens=True).ids[:1]
    return {
        "chat_template": source_of(hf) or None,
        **{name: token for name, token in hf.special_tokens_map.items() if isinstance(token, str)},
        "adds_bos": hf.bos_token_id is not None and first == [hf.bos_token_id],
        "start_id": start,
    }
