"""A program as data: frozen nodes that hold fields, do nothing and print well.

The verbs (`workbench.lang.verbs`) check their arguments and build nodes; running, tracing and drawing are functions over
them. `+` puts nodes and strings into a `Seq`, in either order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.errors import InvalidRequest

Role = str
"""`system`, `user`, `assistant`, or whatever else a model's chat template takes (`tool`)."""
Score = float | tuple[float, ...]
ChoicesMethod = Callable[[Sequence["OptionTokens"]], list[Score]]
"""A choices method (`workbench.lang.choices`): the score of each option; the largest is chosen, the first of equals."""
JoinMode = Literal["gather_variable", "concate_and_append"]
Value = str | list[str]
"""The text of a generation or selection; with several samples a list with one each."""
Meta = Mapping[str, Any]
"""Meta information by the native API's names, as far as the backend reports it, and `computed_tokens`."""
Metas = Meta | list[Meta]
"""The meta information of a `Value`, in the same form."""


@dataclass(frozen=True)
class Node:
    """Base of all nodes."""

    def __add__(self, other: Expr) -> Seq:
        return Seq((*flatten(self), *flatten(other)))

    def __radd__(self, other: Expr) -> Seq:
        return Seq((*flatten(other), *flatten(self)))


Expr = Node | str


@dataclass(frozen=True)
class Seq(Node):
    """Nodes one after the other; never holds another `Seq`."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Text(Node):
    """Literal text."""

    value: str


@dataclass(frozen=True)
class Gen(Node):
    """The model writes here. `params` and `logprobs` hold only what the program gave."""

    name: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Sampling parameters by their native names (`workbench.types.SamplingParams`), a constraint among them."""
    logprobs: Mapping[str, Any] = field(default_factory=dict)
    """`return_logprob`, `logprob_start_len`, `top_logprobs_num`, `return_text_in_logprobs`."""
    dtype: type | None = None
    """int, float, str or bool: the text is a Python literal of this type."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function descriptions as the program gave them, with or without the OpenAI wrapper."""


@dataclass(frozen=True)
class Select(Node):
    """One of `choices` stands here, the one the model finds likeliest by `method`."""

    name: str | None
    choices: tuple[str, ...]
    method: ChoicesMethod
    temperature: float = 0.0


@dataclass(frozen=True)
class Image(Node):
    """A picture: a path, an http(s) or data URL, base64 text, bytes, or a PIL image (`workbench.lang.media` reads them)."""

    source: Any


@dataclass(frozen=True)
class Video(Node):
    """`num_frames` frames of a film, evenly spaced."""

    source: Any
    num_frames: int = 8


@dataclass(frozen=True)
class RoleBegin(Node):
    role: Role


@dataclass(frozen=True)
class RoleEnd(Node):
    role: Role


@dataclass(frozen=True)
class VarBegin(Node):
    """From here to the matching `VarEnd`, the text belongs to the variable."""

    name: str


@dataclass(frozen=True)
class VarEnd(Node):
    name: str


@dataclass(frozen=True)
class Fork(Node):
    """The state goes on as `num` children that share all that came before."""

    num: int


@dataclass(frozen=True)
class Join(Node):
    """The children of a fork have ended. `gather_variable`: each name they made becomes a list, one value per child;
    `concate_and_append`: their texts since the fork follow here, in order."""

    mode: JoinMode = "gather_variable"


@dataclass(frozen=True, slots=True)
class OptionTokens:
    """One option of a select as the model reads it after the prompt, token by token."""

    logprobs: tuple[float, ...]
    unconditional: tuple[float, ...] = ()
    """The same tokens without the prompt; filled for a method that has `needs_unconditional`."""
    token_ids: tuple[int, ...] = ()


def flatten(expr: Any) -> Iterator[Node]:
    """Yields the nodes of an expression in order; empty text has none. Raises InvalidRequest for what is neither."""
    if isinstance(expr, Seq):
        yield from expr.nodes
    elif isinstance(expr, Node):
        yield expr
    elif isinstance(expr, str):
        if expr:
            yield Text(expr)
    else:
        raise InvalidRequest(
            "what is appended", expr, "text or a part of the language", hint="text of another type: str(value), or an f-string"
        )
