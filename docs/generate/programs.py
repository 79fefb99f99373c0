"""Pages of the frontend language: its words, and what each backend can do."""

from __future__ import annotations

import inspect
from typing import get_args

from generate.markdown import code, page, summary, table, words
from workbench.lang.backends.anthropic import Anthropic
from workbench.lang.backends.base import Backend, Feature
from workbench.lang.backends.endpoint import RuntimeEndpoint
from workbench.lang.backends.engine import EngineBackend
from workbench.lang.backends.litellm import LiteLLM
from workbench.lang.backends.native import NativeBackend
from workbench.lang.backends.openai import OpenAI
from workbench.lang.backends.vertexai import VertexAI
from workbench.lang.choices import METHODS
from workbench.lang.default import flush_cache, get_server_info, set_default_backend
from workbench.lang.program import Program, function, run_batch
from workbench.lang.state import ForkGroup, ProgramState
from workbench.lang.verbs import VERBS
from workbench.native.requests import PromptOptions
from workbench.types import ALIASES, GRAMMAR_FIELDS, SamplingParams

MEANINGS: dict[Feature, str] = {
    "completion": "continues plain text: a prompt without roles",
    "chat": "answers a conversation",
    "prefill": "continues an answer that the program has begun",
    "any role": "writes in another role than assistant, or outside roles in a conversation",
    "image": "reads pictures",
    "video": "reads videos",
    "regex": "keeps to a regular expression",
    "json_schema": "keeps to a JSON schema",
    "ebnf": "keeps to a grammar in GGML BNF",
    "grammar": "keeps to a grammar in the style of Lark",
    "json_object": "writes any JSON object",
    "structural_tag": "keeps to a schema in parts of a free text",
    "choices": "writes one of a few texts (`gen(choices=[...])`)",
    "dtype": "writes a number, a bool or a string of Python (`gen(dtype=...)`, `gen_int`, `gen_string`)",
    "select": "picks one of a few texts",
    "choices_method": "takes a method of picking other than the default",
    "logprobs": "returns log-probabilities (`return_logprob` and its companions)",
    "n": "writes several samples of one prompt",
    "tools": "shows tools to the model",
    "flush_cache": "forgets what it has read",
    "get_server_info": "has facts about itself",
}
LISTED = {*GRAMMAR_FIELDS, "n", "stop", "temperature", "max_tokens"}
SHARED = {*SamplingParams.__struct_fields__, *ALIASES, *PromptOptions.__dataclass_fields__} - LISTED
"""Parameters that every word takes which generates, beside those that its row lists."""
MOST_SHARED = 3
BY_MODEL = ("image", "video")
"""Features that an engine has with some models."""
NOTES = """
*by model*: where the model of the engine or server reads pictures, or videos.

Without roles (`completion`), OpenAI's text models continue the text; the other APIs get it as one message of the user.
`select` scores the options on Engine, Runtime and RuntimeEndpoint; an OpenAI text model writes the option token by token, only
the options' tokens allowed; the other APIs are asked for one of the options. Stop strings that an API does not take are found
in its stream. A model may take less than its API, and with LiteLLM a provider: what it refuses is an error with its words.
"""


def backends_page() -> str:
    """Writes a table of backends and their features, from the declarations of the classes."""
    columns = [
        ("Engine, Runtime", EngineBackend, EngineBackend.features),
        ("RuntimeEndpoint", RuntimeEndpoint, RuntimeEndpoint.features),
        ("OpenAI, chat", OpenAI, OpenAI.features),
        ("OpenAI, text", OpenAI, OpenAI.text_features),
        *((cls.name, cls, cls.features) for cls in (Anthropic, VertexAI, LiteLLM)),
    ]
    names = [name for name, _, _ in columns]
    features = [
        [code(feature), *(mark(feature, cls, feature in has) for _, cls, has in columns)] for feature in get_args(Feature)
    ]
    features.append(marks("num_api_spec_tokens", [cls.writes_ahead for _, cls, _ in columns]))
    params = sorted(set().union(*(cls.params for _, cls, _ in columns)))
    return page(
        "Backends",
        "All of them generate and stream. What a backend has no mark for is refused with an error before\n"
        "anything is sent; `num_api_spec_tokens` changes nothing there, as a shared prefix is computed once anyway.\n"
        "What each feature means is on [the page of the language](language.md#what-a-backend-may-lack).",
        table(("feature", *names), features),
        table(("parameter", *names), (marks(param, [param in cls.params for _, cls, _ in columns]) for param in params)),
        NOTES,
    )


def language_page() -> str:
    """Writes one row per word of the language, choices method and method of a state, from signatures and docstrings."""
    first = [*VERBS, function, run_batch, set_default_backend, flush_cache, get_server_info]
    parts = [
        ("Words", "workbench.", first),
        ("Choices methods", "workbench.", METHODS),
        ("A program", "program.", methods(Program)),
        ("A state", "s.", methods(ProgramState)),
        ("The states of a fork", "forks.", methods(ForkGroup)),
    ]
    lines: list[str | list[str]] = ["`import workbench as sgl` has every word below; a program runs on any backend."]
    for title, prefix, functions in parts:
        rows = ((code(prefix + name_of(f)), parameters(f), words(summary(f))) for f in functions)
        lines += [f"## {title}", table(("word", "parameters", "meaning"), rows)]
    lacks = ((code(feature), MEANINGS[feature]) for feature in get_args(Feature))
    ending = "A program that asks for a feature that its [backend](backends.md) lacks gets an error that names both."
    return page(
        "The frontend language", *lines, "## What a backend may lack", ending, table(("feature", "a backend with it"), lacks)
    )


def methods(cls: type) -> list[object]:
    """Returns the public methods and properties that a class defines itself."""
    return [
        member
        for name, member in vars(cls).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    ]


def name_of(member: object) -> str:
    """Returns the name of a function, method or property."""
    return (member.fget if isinstance(member, property) else member).__name__


def parameters(member: object) -> str:
    """Returns the parameters with their defaults; those that every generation takes are one link."""
    if isinstance(member, property):
        return "a property"
    found = {name: p.replace(annotation=p.empty) for name, p in inspect.signature(member).parameters.items() if name != "self"}
    shared = set(found) & SHARED
    shown = [code(str(p)) for name, p in found.items() if len(shared) < MOST_SHARED or name not in shared]
    if len(shared) >= MOST_SHARED:
        shown.append("[sampling parameters and options](sampling.md)")
    return ", ".join(shown) or "none"


def mark(feature: Feature, cls: type[Backend], has: bool) -> str:
    """Returns the cell of a feature: a tick, nothing, or that it depends on the model."""
    if feature in BY_MODEL and issubclass(cls, NativeBackend):
        return "by model"
    return "✓" if has else ""


def marks(name: str, has: list[bool]) -> list[str]:
    return [code(name), *("✓" if each else "" for each in has)]
