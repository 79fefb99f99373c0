"""A program as data: frozen program nodes.

The verbs (`workbench.lang.verbs`) check their arguments and build nodes; other modules run, trace and draw them. `+` joins
nodes and strings to a `Seq`, in either order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.errors import InvalidRequest

Role = str
"""Name of a role: `system`, `user`, `assistant`, or another that a model's chat template takes (`tool`)."""
Score = float | tuple[float, ...]
ChoicesMethod = Callable[[Sequence["OptionTokens"]], list[Score]]
"""A choices method (`workbench.lang.choices`): the score of each option; the largest is chosen, the first of equals."""
JoinMode = Literal["gather_variable", "concate_and_append"]
Value = str | list[str]
"""The text of a generation or selection; a list with one text per sample if there are several."""
Meta = Mapping[str, Any]
"""Meta information by the native API's names, as far as the backend reports it, and `computed_tokens`."""
Metas = Meta | list[Meta]
"""The meta information of a `Value`, in the same form."""


@dataclass(frozen=True)
class ProgramNode:
    """Base of all nodes."""

    def __add__(self, other: Expr) -> Seq:
        return Seq((*flatten(self), *flatten(other)))

    def __radd__(self, other: Expr) -> Seq:
        return Seq((*flatten(other), *flatten(self)))


Expr = ProgramNode | str


@dataclass(frozen=True)
class Seq(ProgramNode):
    """Nodes in order; none of them is a `Seq`."""

    nodes: tuple[ProgramNode, ...]


@dataclass(frozen=True)
class Text(ProgramNode):
    """Literal text."""

    value: str


@dataclass(frozen=True)
class Gen(ProgramNode):
    """A generation: the model writes text. `params` and `logprobs` hold only arguments that the program gave."""

    name: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters by their native names (`workbench.types.SamplingParams`), a constraint among them."""
    logprobs: Mapping[str, Any] = field(default_factory=dict)
    """Options `return_logprob`, `logprob_start_len`, `top_logprobs_num`, `return_text_in_logprobs`."""
    dtype: type | None = None
    """Type (int, float, str or bool) of the Python literal that the text must be."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function descriptions as the program gave them, with or without the OpenAI wrapper."""


@dataclass(frozen=True)
class Select(ProgramNode):
    """A selection: the one of `choices` with the largest score by `method`."""

    name: str | None
    choices: tuple[str, ...]
    method: ChoicesMethod
    temperature: float = 0.0


@dataclass(frozen=True)
class Image(ProgramNode):
    """An image: a path, an http(s) or data URL, base64 text, bytes, or a PIL image (`workbench.pictures` reads them)."""

    source: Any


@dataclass(frozen=True)
class Video(ProgramNode):
    """A video, as `num_frames` evenly spaced frames."""

    source: Any
    num_frames: int = 8


@dataclass(frozen=True)
class RoleBegin(ProgramNode):
    """The begin of a message."""

    role: Role


@dataclass(frozen=True)
class RoleEnd(ProgramNode):
    """The end of a message."""

    role: Role


@dataclass(frozen=True)
class VarBegin(ProgramNode):
    """The begin of a scope: text up to the matching `VarEnd` is the variable's value."""

    name: str


@dataclass(frozen=True)
class VarEnd(ProgramNode):
    """The end of a variable's scope."""

    name: str


@dataclass(frozen=True)
class Fork(ProgramNode):
    """A fork: `num` child states that share the text before it."""

    num: int


@dataclass(frozen=True)
class Join(ProgramNode):
    """The end of a fork. `gather_variable`: each variable of the children becomes a list with one value per child;
    `concate_and_append`: the children's texts since the fork are appended in order."""

    mode: JoinMode = "gather_variable"


@dataclass(frozen=True, slots=True)
class OptionTokens:
    """The tokens of one option of a selection after the prompt, with their log-probabilities."""

    logprobs: tuple[float, ...]
    unconditional: tuple[float, ...] = ()
    """Log-probabilities of the same tokens without the prompt; only for a method with `needs_unconditional`."""
    token_ids: tuple[int, ...] = ()


def flatten(expr: Any) -> Iterator[ProgramNode]:
    """Yields the nodes of an expression in order; empty text has none. Raises InvalidRequest for what is neither."""
    if isinstance(expr, Seq):
        yield from expr.nodes
    elif isinstance(expr, ProgramNode):
        yield expr
    elif isinstance(expr, str):
        if expr:
            yield Text(expr)
    else:
        raise InvalidRequest(
            "what is appended", expr, "text or a part of the language", hint="text of another type: str(value), or an f-string"
        )
