"""Conversation forms: built-in ones by name and those of JSON files. Each is written as a Jinja template, which is rendered
in the same sandbox as a model's own.

They are the server's. Programs have forms of their own (`workbench.lang.chat_template`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InvalidRequest, NotSupported

HELPFUL = "You are a helpful assistant."
POLITE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
Around = tuple[str, str]
"""The text before and after a message."""
TEMPLATE = """
{%- set around = AROUND -%}
{%- set state = namespace(system=SYSTEM, rest=messages) -%}
{%- if messages[0]['role'] == 'system' -%}
{%- set state.system = messages[0]['content'] -%}{%- set state.rest = messages[1:] -%}
{%- endif -%}
{%- set state.system = around['system'][0] + state.system + around['system'][1] if state.system else '' -%}
{{- BOS -}}
{%- if not IN_USER -%}{{- state.system -}}{%- set state.system = '' -%}{%- endif -%}
{%- for message in state.rest -%}
{%- set pair = around.get(message['role'], around['user']) -%}
{%- if message['role'] == 'assistant' -%}
{{- pair[0] + message['content'] + pair[1] -}}
{%- else -%}
{{- pair[0] + state.system + message['content'] + pair[1] -}}{%- set state.system = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- OPEN -}}{%- endif -%}
"""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The text around the messages of each role."""

    system: Around
    user: Around
    assistant: Around
    stops: tuple[str, ...] = ()
    """Strings that end an answer."""
    default_system: str = ""
    """System message of conversations that have none."""
    system_in_user: bool = False
    """True if the system message stands within the first message of the user."""
    open: str | None = None
    """The text that begins an answer. None: the text before messages of the assistant."""

    def jinja(self, bos: str) -> str:
        """Returns the template; `bos` is the text of the token that begins every text, if there is one."""
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        values = {
            "AROUND": around, "SYSTEM": self.default_system, "BOS": bos, "IN_USER": self.system_in_user,
            "OPEN": self.assistant[0] if self.open is None else self.open,
        }  # fmt: skip
        literals = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
        return re.sub("|".join(values), lambda name: literals[name[0]], TEMPLATE).strip()


def _same(form: str, end: str, assistant: str = "assistant", **more: Any) -> Conversation:
    """Returns a form in which the text before a message differs only in the role's name."""
    system, user, model = ((form.format(role), end) for role in ("system", "user", assistant))
    return Conversation(system, user, model, **more)


def _chatml(system: str = "") -> Conversation:
    return _same("<|im_start|>{}\n", "<|im_end|>\n", stops=("<|im_end|>", "<|endoftext|>"), default_system=system)


_LLAMA3 = _same("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", stops=("<|eot_id|>", "<|end_of_text|>"))
BUILT_IN = {
    "chatml": _chatml(HELPFUL),
    "chatml-llava": _chatml(HELPFUL),
    "qwen2-vl": _chatml(HELPFUL),
    "llama-2": Conversation(
        ("<<SYS>>\n", "\n<</SYS>>\n\n"), ("[INST] ", " [/INST]"), (" ", " </s><s>"), ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
        system_in_user=True, open="",
    ),
    "mistral": Conversation(("", "\n\n"), ("[INST] ", " [/INST]"), (" ", "</s>"), ("</s>",), system_in_user=True, open=""),
    "llama-3": _LLAMA3,
    "llama_3_vision": _LLAMA3,
    "llava_llama_3": _LLAMA3,
    "vicuna_v1.1": Conversation(
        ("", " "), ("USER: ", " "), ("ASSISTANT: ", "</s>"), ("</s>",), default_system=POLITE, open="ASSISTANT:"
    ),
    "gemma": Conversation(
        ("", "\n\n"), ("<start_of_turn>user\n", "<end_of_turn>\n"), ("<start_of_turn>model\n", "<end_of_turn>\n"),
        ("<end_of_turn>",), system_in_user=True,
    ),
}  # fmt: skip
"""Forms by the names that `--chat-template` takes."""


def find_conversation(source: str) -> Conversation | None:
    """Returns the form of a built-in name or of a JSON file; None for anything else. Raises InvalidRequest, NotSupported."""
    if source in BUILT_IN:
        return BUILT_IN[source]
    return _read_json(Path(source).expanduser()) if source.endswith(".json") else None


def _read_json(path: Path) -> Conversation:
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest("chat_template", str(path), f"the path of a JSON file ({error})") from None
    if not isinstance(form, Mapping):
        raise InvalidRequest("chat_template", str(path), "a JSON file with an object")
    begins = [_text(path, form, name) for name in ("system", "user", "assistant")]
    sep, style = _text(path, form, "sep", "\n"), _text(path, form, "sep_style", "CHATML").upper()
    styles = {
        "CHATML": ("\n", f"{sep}\n"), "ADD_COLON_SINGLE": (": ", sep), "NO_COLON_SINGLE": ("", sep),
        "ADD_NEW_LINE_SINGLE": ("\n", sep),
    }  # fmt: skip
    if style not in styles:
        hint = f"there are {', '.join(styles)}; a .jinja file can write any form"
        raise NotSupported(f"{path} has the sep_style {style!r}, which is not supported", hint=hint)
    between, end = styles[style]
    system, user, assistant = ((begin + between, end) for begin in begins)
    stops = form.get("stop_str") or []
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequest(f"{path} stop_str", stops, "a string or a list of strings")
    default = _text(path, form, "system_message", "")
    return Conversation(system, user, assistant, tuple(stops), default, open=assistant[0].rstrip(" "))


def _text(path: Path, form: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = form.get(name, default)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path} {name}", value, "a string")
    return value
