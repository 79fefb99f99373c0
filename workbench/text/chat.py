"""Conversations become one text through the model's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import InvalidRequest, NotSupported

ROLES = ("system", "user", "assistant", "tool", "developer", "function")
"""What conversations are made of anywhere."""


def read_template(source: str) -> str:
    """The template in the file `source`, or `source` itself when it is a template and not a path."""
    if "{%" in source or "{{" in source:
        return source
    path = Path(source).expanduser()
    if path.suffix == ".json":
        raise NotSupported(f"chat_template {source!r} is a JSON conversation template", hint="give a .jinja file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest("chat_template", source, f"the path of a .jinja file ({error})") from None


def render(
    hf: Any,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Any] | None = None,
    **template_args: Any,
) -> str:
    """The conversation as the text the model was trained on, its special tokens written out.

    `hf` is the transformers tokenizer that owns the template. Raises NotSupported for a model without a template and
    InvalidRequest for messages that are malformed or that the template refuses.
    """
    import jinja2

    if not hf.chat_template:
        raise NotSupported(
            "this model has no chat template", hint="give one with chat_template=PATH.jinja, or use generate() with plain text"
        )
    said = checked(messages)
    check_roles(said, str(hf.chat_template))
    try:
        text: str = hf.apply_chat_template(
            said, tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False, **template_args
        )
    except jinja2.TemplateError as error:
        raise InvalidRequest("messages", messages, f"a conversation that the model's chat template takes ({error})") from error
    return text


def checked(messages: Any) -> list[dict[str, Any]]:
    """A conversation as plain dicts. Raises InvalidRequest that names the first message that is none."""
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise InvalidRequest("messages", messages, 'a list of dicts like {"role": "user", "content": "Hello"}')
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"messages[{i}]", message, 'a dict with "role" and "content"')
    return [dict(message) for message in messages]


def check_roles(messages: Sequence[Mapping[str, Any]], template: str) -> None:
    """Raises InvalidRequest for a role that is none of `ROLES` and that the template does not name: most write any word."""
    for i, message in enumerate(messages):
        if (role := message["role"]) not in ROLES and role not in template:
            raise InvalidRequest(f"messages[{i}] role", role, f"one of {', '.join(ROLES)}")


def facts(hf: Any) -> dict[str, Any]:
    """What a client without the tokenizer needs to write conversations for it: `get_server_info()["tokenizer"]`.

    `adds_bos`: plain text gets a begin token; `start_id`: the token before any text, for scores without a prompt.
    """
    start = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
    first = hf.backend_tokenizer.encode("a", add_special_tokens=True).ids[:1]
    return {
        "chat_template": hf.chat_template or None,
        **{name: token for name, token in hf.special_tokens_map.items() if isinstance(token, str)},
        "adds_bos": hf.bos_token_id is not None and first == [hf.bos_token_id],
        "start_id": start,
    }
