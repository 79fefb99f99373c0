"""Renders conversations with the model's own chat template.

Closed messages are exactly the output of the template. An open assistant message is the template with its generation prompt,
followed by the text so far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from workbench.errors import InvalidRequest, NotSupported
from workbench.lang.prompt import Prompt
from workbench.lang.tools import with_tools, wrapped
from workbench.text import chat
from workbench.text.parts import fitted, take_media

CUT = "\ue000wb\ue000"
"""Mark at the end of an open message while the template renders it. Its characters are for private use: no text has them."""


CUT_PART = {"type": "text", "text": CUT}


class Template(Protocol):
    """A chat template."""

    @property
    def bos_token(self) -> str:
        """Text that the template writes first; empty if the tokenizer adds it."""

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tools: Sequence[Any] | None) -> str:
        """Returns the conversation as one text. Raises a `WorkbenchError` for messages that the template refuses."""


class TokenizerTemplate:
    """The template of a transformers tokenizer."""

    def __init__(self, hf: Any) -> None:
        self._hf = hf
        self.bos_token: str = hf.bos_token or ""

    @property
    def source(self) -> str:
        """Text of the template."""
        return chat.source_of(self._hf)

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tools: Sequence[Any] | None) -> str:
        if tools and "tools" not in chat.source_of(self._hf, tools):
            messages, tools = with_tools(messages, tools), None
        return chat.render(self._hf, messages, add_generation_prompt=add_generation_prompt, tools=tools)


class JinjaTemplate:
    """A template given as text, for a model whose tokenizer is on a server."""

    def __init__(self, source: str, special_tokens: Mapping[str, str | None]) -> None:
        self.source = source
        self._special = {name: token or "" for name, token in special_tokens.items()}
        self.bos_token = self._special.get("bos_token", "")

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tools: Sequence[Any] | None) -> str:
        import jinja2

        if tools and "tools" not in self.source:
            messages, tools = with_tools(messages, tools), None
        chat.check_roles(messages, self.source)
        try:
            text: str = self._template.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, tools=tools, documents=None, **self._special
            )
        except jinja2.TemplateError as error:
            raise InvalidRequest("messages", messages, f"a conversation that the chat template takes ({error})") from error
        return text

    @cached_property
    def _template(self) -> Any:
        """The compiled template, in the environment that chat templates expect: a sandbox, trimmed blocks, three functions."""
        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
            return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise InvalidRequest("chat_template", self.source, f"a Jinja template ({error})") from None


class SeeingTemplate:
    """A template that gets pictures in the form that it reads: as parts of its own, or as marks in the text."""

    def __init__(self, template: Template, marks: Mapping[str, str]) -> None:
        self._template, self._marks = template, marks
        self.bos_token = template.bos_token

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tools: Sequence[Any] | None) -> str:
        read, _ = take_media(messages)
        source = getattr(self._template, "source", None)
        shown = read if source is None else fitted(read, source, self._marks)
        return self._template.render(shown, add_generation_prompt=add_generation_prompt, tools=tools)


def render_prompt(prompt: Prompt, template: Template, marks: Mapping[str, str] | None = None) -> str:
    """Returns the whole prompt as text. Text outside roles is put between the messages unchanged. `marks` stand in the place of
    pictures, by their kind, where the template has no parts for these.

    Raises InvalidRequest for a conversation that the template refuses, NotSupported if it has no place for text outside roles.
    """
    turns, marks = prompt.turns, marks or {}
    if prompt.media:
        template = SeeingTemplate(template, marks)
    closed = [{"role": turn.role, "content": turn.content} for turn in turns if turn.role is not None and not turn.is_open]
    tools = [wrapped(tool) for tool in prompt.tools] or None
    text = _rendered(closed, prompt, template, tools)
    pieces, done, num_messages = [], 0, 0
    for turn in turns:
        if turn.role is not None:
            num_messages += 1
            continue
        end = _end_of(closed[:num_messages], text, template, tools)
        pieces += [text[done:end], turn.marked(marks)]
        done = end
    return "".join([*pieces, text[done:]])


def _rendered(closed: list[dict[str, Any]], prompt: Prompt, template: Template, tools: list[Any] | None) -> str:
    open_turn = prompt.turns[-1] if prompt.turns and prompt.turns[-1].is_open else None
    if open_turn is None:
        return template.render(closed, add_generation_prompt=False, tools=tools)
    if open_turn.role == "assistant" and closed:
        return template.render(closed, add_generation_prompt=True, tools=tools) + open_turn.text
    content = open_turn.content
    last = {"role": open_turn.role, "content": content + CUT if isinstance(content, str) else [*content, CUT_PART]}
    text, cut, _ = template.render([*closed, last], add_generation_prompt=False, tools=tools).partition(CUT)
    if not cut:
        raise InvalidRequest("messages", open_turn.role, "a role that the model's chat template writes")
    return text


def _end_of(messages: list[dict[str, Any]], text: str, template: Template, tools: list[Any] | None) -> int:
    """Returns the position in the rendered conversation where these first messages end; without any, after the begin token."""
    if not messages:
        return len(template.bos_token) if text.startswith(template.bos_token) else 0
    head = template.render(messages, add_generation_prompt=False, tools=tools)
    if not text.startswith(head):
        raise NotSupported("this model's chat template has no place for text between these messages", hint="put it into a role")
    return len(head)
