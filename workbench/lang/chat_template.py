"""Chat templates of the language by name: the text before and after a message of each role.

They are separate from the server's. A backend uses its model's own template unless one of these replaces it:

    backend = RuntimeEndpoint(url, chat_template_name="chatml")
    backend.chat_template = get_chat_template("llama-2-chat")

`get_chat_template_by_model_path` returns the one that a model was trained on. Two long default system messages
(`dbrx-instruct`, `yi-vl`) are left to the program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from workbench.errors import InvalidRequest
from workbench.lang.tools import with_tools

HELPFUL = "You are a helpful assistant."
POLITE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
Roles = Mapping[str, tuple[str, str]]


class ChatTemplateStyle(Enum):
    """The place of the system message."""

    PLAIN = auto()
    LLAMA2 = auto()
    """Style in which the system message is inside the first message of the user."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template made of a prefix and a suffix for each role."""

    name: str
    default_system_prompt: str | None
    """System message of a conversation that begins with another role."""
    role_prefix_and_suffix: Roles
    stop_str: tuple[str, ...] = ()
    """Strings with which the model ends a message; generations in a conversation stop there."""
    image_token: str = "<image>"
    style: ChatTemplateStyle = ChatTemplateStyle.PLAIN

    @property
    def bos_token(self) -> str:
        """Empty text: the tokenizer adds the begin token."""
        return ""

    def get_prefix_and_suffix(self, role: str, hist_messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        """Returns the text before and after a message of this role that follows `hist_messages`.

        Raises InvalidRequest for a role that the template does not have.
        """
        if role not in self.role_prefix_and_suffix:
            known = ", ".join(self.role_prefix_and_suffix)
            raise InvalidRequest("role", role, f"one that chat template {self.name} writes: {known}")
        prefix, suffix = self.role_prefix_and_suffix[role]
        if self.style is ChatTemplateStyle.LLAMA2:
            if role == "system" and not hist_messages:
                return self.role_prefix_and_suffix["user"][0] + prefix, suffix
            if role == "user" and [message["role"] for message in hist_messages] == ["system"]:
                return "", suffix
        return prefix, suffix

    def get_prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Returns the conversation as text. A system message whose content is None becomes the default one, if there is one.

        Raises InvalidRequest for a role that the template does not have.
        """
        pieces = []
        for i, message in enumerate(messages):
            content = message["content"]
            if content is None and message["role"] == "system":
                content = self.default_system_prompt
            if content is not None:
                prefix, suffix = self.get_prefix_and_suffix(message["role"], messages[:i])
                pieces += [prefix, self._text(content), suffix]
        return "".join(pieces)

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, tools: Sequence[Any] | None) -> str:
        """Renders the conversation as a `Template` of `workbench.lang.chat` does, and returns its text."""
        full = with_tools(messages, tools) if tools else list(messages)
        if self.default_system_prompt and full and full[0]["role"] != "system":
            full = [{"role": "system", "content": None}, *full]
        return self.get_prompt(full) + (self.get_prefix_and_suffix("assistant", full)[0] if add_generation_prompt else "")

    def _text(self, content: Any) -> str:
        if isinstance(content, str):
            return content
        return "".join(part["text"] if part["type"] == "text" else self.image_token for part in content)


def _marks(system: tuple[str, str], user: tuple[str, str], assistant: tuple[str, str]) -> Roles:
    return {"system": system, "user": user, "assistant": assistant}


def _same(before: str, after: str, assistant: str = "assistant") -> dict[str, tuple[str, str]]:
    """Returns prefixes and suffixes that differ only in the role's name."""
    names = {"system": "system", "user": "user", "assistant": assistant}
    return {role: (before.format(name), after) for role, name in names.items()}


CHATML = _same("<|im_start|>{}\n", "<|im_end|>\n")
LLAMA3 = _same("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>")
MINICPM = _marks(("", " "), ("user:", " "), ("assistant:", "</s>"))
DEEPSEEK = _marks(("", ""), ("<｜User｜>", ""), ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"))
IM_END, EOT, END_OF_SENTENCE = ("<|im_end|>",), ("<|eot_id|>",), ("<｜end▁of▁sentence｜>",)
COMMAND = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>"

chat_template_registry: dict[str, ChatTemplate] = {}
matching_function_registry: list[Callable[[str], ChatTemplate | None]] = []


def register_chat_template(template: ChatTemplate) -> None:
    """Adds a template, or replaces the one of the same name."""
    chat_template_registry[template.name] = template


def register_chat_template_matching_function(func: Callable[[str], ChatTemplate | None]) -> Callable[[str], ChatTemplate | None]:
    """Adds and returns a function from a model's path to its template, or None; it is called before `MODELS` is searched."""
    matching_function_registry.append(func)
    return func


def get_chat_template(name: str) -> ChatTemplate:
    """Returns the template of this name. Raises InvalidRequest if there is none."""
    if name not in chat_template_registry:
        raise InvalidRequest("chat_template_name", name, f"one of {', '.join(sorted(chat_template_registry))}")
    return chat_template_registry[name]


def matching_template(model_path: str) -> ChatTemplate | None:
    """Returns the template of the model that a path names; None for an unknown model."""
    for func in matching_function_registry:
        if (template := func(model_path)) is not None:
            return template
    found = next((name for name, pattern in MODELS if re.search(pattern, model_path.lower())), None)
    return None if found is None else get_chat_template(found)


def get_chat_template_by_model_path(model_path: str) -> ChatTemplate:
    """Returns the template of the model that a path names; `default` for an unknown model."""
    return matching_template(model_path) or get_chat_template("default")


for _template in (
    ChatTemplate("default", None, _marks(("SYSTEM:", "\n"), ("USER:", "\n"), ("ASSISTANT:", "\n"))),
    ChatTemplate("claude", None, _marks(("", ""), ("\n\nHuman: ", ""), ("\n\nAssistant:", ""))),
    ChatTemplate("chatml", None, CHATML, IM_END),
    ChatTemplate("chatml-llava", HELPFUL, CHATML, IM_END, "<image>\n"),
    ChatTemplate("qwen", HELPFUL, CHATML, IM_END),
    ChatTemplate("qwen2-vl", HELPFUL, CHATML, IM_END, "<|vision_start|><|image_pad|><|vision_end|>"),
    ChatTemplate("vicuna_v1.1", POLITE, _marks(("", " "), ("USER:", " "), ("ASSISTANT:", "</s>")), (), " <image>\n"),
    ChatTemplate(
        "llama-2-chat", None, _marks(("<<SYS>>\n", "\n<</SYS>>\n\n"), ("[INST] ", " [/INST]"), ("", " </s><s>")),
        style=ChatTemplateStyle.LLAMA2,
    ),
    ChatTemplate("llama-3-instruct", None, LLAMA3, EOT, "<|image|>"),
    ChatTemplate("llama-3-instruct-llava", None, LLAMA3, EOT, "<image>\n"),
    ChatTemplate("minicpmv", None, MINICPM, ("<|im_end|>", "<|endoftext|>"), "(<image>./</image>)"),
    ChatTemplate("minicpmo", None, MINICPM, ("<|im_end|>", "<|endoftext|>"), "(<image>./</image>)"),
    ChatTemplate("janus-pro", None, DEEPSEEK, END_OF_SENTENCE, "<image_placeholder>\n"),
    ChatTemplate("deepseek-v3", None, DEEPSEEK, END_OF_SENTENCE),
    ChatTemplate(
        "yi-1.5", None, _marks(("", ""), ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"), ("", "<|im_end|>\n")),
        IM_END,
    ),
    ChatTemplate(
        "yi-vl", None, _marks(("", "\n\n"), ("### Human:", "\n"), ("### Assistant:", "\n")), (), " <image_placeholder>\n"
    ),
    ChatTemplate("gemma-it", None, _same("<start_of_turn>{}\n", "<end_of_turn>\n", "model") | {"system": ("", "")}),
    ChatTemplate(
        "dbrx-instruct", None, _same("\n<|im_start|>{}\n", "<|im_end|>") | {"system": ("<|im_start|>system\n", "<|im_end|>")},
        IM_END,
    ),
    ChatTemplate(
        "c4ai-command-r", None,
        {role: (COMMAND.format(name), "<|END_OF_TURN_TOKEN|>")
         for role, name in (("system", "SYSTEM"), ("user", "USER"), ("assistant", "CHATBOT"))},
    ),
    ChatTemplate(
        "granite-3-instruct", None, _same("<|start_of_role|>{}<|end_of_role|>", "<|end_of_text|>"), ("<|end_of_text|>",)
    ),
):  # fmt: skip
    register_chat_template(_template)

MODELS = (
    ("deepseek-v3", r"^(?!.*base).*deepseek-(v3|r1)"),
    ("janus-pro", r"janus"),
    ("dbrx-instruct", r"dbrx.*instruct"),
    ("vicuna_v1.1", r"vicuna|llava-v1\.5|llava-next-video-7b"),
    ("llama-2-chat", r"llama-2.*chat|(mistral|mixtral|codellama).*instruct"),
    ("llama-3-instruct", r"llama-3.*instruct"),
    ("chatml", r"tinyllama|smollm2"),
    ("qwen2-vl", r"qwen.*vl"),
    ("chatml-llava", r"llava-v1\.6-(yi-)?34b|llava-next-video-34b|llava-onevision-qwen2"),
    ("qwen", r"^(?!.*llava).*qwen.*(chat|instruct)"),
    ("yi-vl", r"^(?!.*llava).*yi-vl"),
    ("yi-1.5", r"yi-1\.5.*chat"),
    ("gemma-it", r"gemma.*-it"),
    ("minicpmv", r"minicpm-v"),
    ("minicpmo", r"minicpm-o"),
    ("c4ai-command-r", r"c4ai-command-r"),
    ("granite-3-instruct", r"granite.*instruct"),
)
"""Templates with the pattern of their models' paths in lower case; the first match counts."""
