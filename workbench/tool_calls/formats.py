"""The formats in which models write calls of tools.

A format reads the text from one of its marks on. Most calls match its `head`, the text up to the arguments; `read` takes all
others. JSON is decoded where it begins, so a mark within a string has no meaning.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

Call = tuple[str, str]
"""The name, and the arguments as the text of a JSON object."""


@dataclass(frozen=True, slots=True)
class Found:
    """The next `length` characters are these calls, or no call at all where the list is empty."""

    calls: list[Call]
    length: int


MORE = None
"""A result of `read`: the text so far may still become a call."""
Read = Callable[[str, Collection[str] | None], Found | None]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write calls."""

    name: str
    models: str
    """The models that write it, in words."""
    marks: tuple[str, ...]
    """The texts with which calls begin."""
    read: Read
    """The reader of calls at the start of a text; its second argument has the names of the tools, None if any counts."""
    bare: str = ""
    """The character with which a call without a mark may begin, at the start of the output."""
    head: re.Pattern[str] | None = None
    """The beginning of a call up to its arguments, with the name in one of its groups."""
    is_object: bool = False
    """True if the head opens an object that ends behind the arguments."""
    closing: tuple[str, ...] = ()
    """The texts that may follow a call and belong to it."""


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> tuple[Any, int] | None:
    """Returns the JSON value at a place and its end; None if it is malformed or not complete."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def _call(value: Any) -> Call | None:
    """Returns a JSON object as a call, None if it is none. Arguments may be JSON within a string."""
    if not isinstance(value, dict) or not isinstance(name := value.get("name"), str) or not name:
        return None
    if not {"arguments", "parameters"} & value.keys():
        return None
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        decoded = _value(arguments.strip() or "{}", 0)
        arguments = decoded[0] if decoded else arguments
    if arguments is None:
        arguments = {}
    return (name, json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None


def _hermes(text: str, names: Collection[str] | None) -> Found | None:
    """Reads one JSON object after its tag, whatever the order of its keys."""
    at = _after_space(text, len("<tool_call>"))
    found = _value(text, at)
    if found is None:
        end = text.find("</tool_call>", at)
        return MORE if end < 0 or text[at] == "{" else Found([], end + len("</tool_call>"))
    call = _call(found[0])
    return Found([call] if call else [], found[1])


def _llama3(text: str, names: Collection[str] | None) -> Found | None:
    """Reads one object with `name` and `parameters`, after the tag or alone, whatever the order of its keys."""
    tag = "<|python_tag|>"
    at = _after_space(text, 0)
    is_tagged = text.startswith(tag, at)
    at = _after_space(text, at + len(tag) if is_tagged else at)
    found = _value(text, at)
    if found is None:
        return MORE if text[at : at + 1] in ("", "{") else Found([], at)
    call = _call(found[0])
    is_known = is_tagged or names is None or (call is not None and call[0] in names)
    return Found([call] if call and is_known else [], found[1])


def _mistral(text: str, names: Collection[str] | None) -> Found | None:
    """Reads a JSON array of calls, or one object."""
    mark = "[TOOL_CALLS]"
    at = _after_space(text, len(mark))
    if text[at : at + 1] in ("[", "{"):
        found = _value(text, at)
        if found is None:
            return MORE
        values = found[0] if isinstance(found[0], list) else [found[0]]
        return Found([call for value in values if (call := _call(value))], found[1])
    may_be_head = re.compile(r"[^\s\[\]{}]*(\[[A-Z_]*\]?[^\[{]*)*\s*").fullmatch(text, at)
    return MORE if may_be_head else Found([], len(mark))


def _deepseekv3(text: str, names: Collection[str] | None) -> Found | None:
    """Reads a section that holds no call."""
    end = text.find("<｜tool▁calls▁end｜>")
    return MORE if end < 0 else Found([], end + len("<｜tool▁calls▁end｜>"))


def _pythonic(text: str, names: Collection[str] | None) -> Found | None:
    """Reads a Python list of calls with literals as arguments."""
    start = "<|python_start|>"
    at = _after_space(text, 0)
    at = _after_space(text, at + len(start) if text.startswith(start, at) else at)
    if not text[at:]:
        return MORE
    if not re.compile(r"\[\s*(?:[A-Za-z_][\w.]*\s*(?:\(|$)|$)").match(text, at):
        return Found([], at or 1)
    for end in (match.end() for match in re.compile(r"\]").finditer(text, at)):
        calls = _python_calls(text[at:end])
        if calls is not None:
            is_known = names is None or all(name in names for name, _ in calls)
            return Found(calls if is_known else [], end)
    return MORE


def _python_calls(text: str) -> list[Call] | None:
    """Returns the calls of a Python list; None if the text is no such list."""
    try:
        tree = ast.parse(text, mode="eval").body
        elements = tree.elts if isinstance(tree, ast.List) else [tree]
        calls = []
        for call in elements:
            if not isinstance(call, ast.Call) or call.args:
                return None
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
            calls.append((ast.unparse(call.func), json.dumps(arguments, ensure_ascii=False)))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return calls


_OBJECT = (
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?P<name>[^"\\]+)"\s*,\s*'
    r'"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_MISTRAL_HEAD = r"\[TOOL_CALLS\]\s*([^\s\[\]{}]+)\s*(?:\[CALL_ID\][^\[{]*)?(?:\[ARGS\])?\s*(?=\{)"
_DEEPSEEK_HEAD = (
    r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>"
    r"(?:function<｜tool▁sep｜>([^\n<]+)\n```json\n|([^\n<]+)<｜tool▁sep｜>)\s*(?=\{)"
)


def _hermes_format(name: str, models: str) -> Format:
    head = re.compile(r"<tool_call>\s*" + _OBJECT)
    return Format(name, models, ("<tool_call>",), _hermes, head=head, is_object=True, closing=("</tool_call>",))


FORMATS = {
    format.name: format
    for format in (
        Format(
            "llama3", "Llama 3.1, 3.2 and 3.3", ("<|python_tag|>",), _llama3, bare="{",
            head=re.compile(r"\s*(?:<\|python_tag\|>)?\s*" + _OBJECT), is_object=True, closing=(";",),
        ),
        Format(
            "mistral", "Mistral 7B 0.3, Nemo, Small, Ministral, Devstral, Magistral", ("[TOOL_CALLS]",), _mistral,
            head=re.compile(_MISTRAL_HEAD),
        ),
        _hermes_format("qwen25", "Qwen 2.5, Qwen 3"),
        _hermes_format("hermes", "Hermes 2 and 3, and others with its tags"),
        Format(
            "deepseekv3", "DeepSeek V3 and V3.1", ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"), _deepseekv3,
            head=re.compile(_DEEPSEEK_HEAD), closing=("```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        ),
        Format(
            "pythonic", "Llama 4, Llama 3.2 1B and 3B, and others that write Python", ("<|python_start|>",), _pythonic, bare="[",
            closing=("<|python_end|>",),
        ),
    )
}  # fmt: skip
"""Format by the name that `--tool-call-parser` takes."""
