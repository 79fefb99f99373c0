"""Events of programs in the frontend language. Their `time` is that of `time.monotonic`."""

from __future__ import annotations

from workbench.events.base import TEXT, Event


class ProgramEvent(Event, frozen=True, kw_only=True):
    """An event of a program's run."""

    program: str
    """Id of the run."""


class ProgramStarted(ProgramEvent, frozen=True, kw_only=True, tag=True):
    """A program began to run; all its events carry its id."""

    name: str
    """Name of the program's function."""
    backend: str
    """Name of the backend that it runs on."""
    model: str = ""
    """Name of the backend's model; empty if it names none."""


class PartReached(ProgramEvent, frozen=True, kw_only=True, tag=True):
    """A state of the program came to this part of its prompt. Parts are numbered from 1 in this order."""

    part: int
    """Number of the part."""
    branch: tuple[int, ...]
    """The state: () is the root, (part of the fork, index of the child, ...) a child."""
    kind: str
    """The class of the node in lower case: text, gen, select, rolebegin, fork, ..."""
    name: str = ""
    """The name of the variable, or of the role."""
    text: str = ""
    """Literal text."""
    detail: str = ""
    """The constraint, the choices or the number of children, in words."""
    place: str = ""
    """The line of the program."""

    @property
    def num_listed(self) -> int:
        return len(self.text) // TEXT


class RequestLinked(ProgramEvent, frozen=True, kw_only=True, tag=True):
    """The part sent a request to its backend; an engine's log has it under the same id."""

    part: int
    """Number of the part."""
    rid: str
    """Id of the request."""


class PartFinished(ProgramEvent, frozen=True, kw_only=True, tag=True):
    """A generation or selection has its text. Counts are None if the backend does not report them."""

    part: int
    """Number of the part."""
    text: str
    """The text that was generated or selected."""
    num_prompt: int | None = None
    """Number of prompt tokens."""
    num_cached: int | None = None
    """Number of prompt tokens that were not computed again."""
    num_output: int | None = None
    """Number of output tokens."""
    num_requests: int = 1
    """The number of requests that the counts sum up: samples of a generation, options of a selection."""
    finish: str = ""
    """The end in words: at a stop, by the model, at its limit, or edited."""
    samples: tuple[str, ...] = ()
    """The texts of the further samples."""
    scores: tuple[tuple[str, str], ...] = ()
    """(option, score) of a selection."""
    logprobs: tuple[tuple[str, float], ...] = ()
    """(token text, log-probability), if the program asked for them."""
    replayed: bool = False
    """True if the text is from an earlier run (`rerun`), without a request."""

    @property
    def num_listed(self) -> int:
        return sum(map(len, (self.text, *self.samples))) // TEXT + len(self.scores) + len(self.logprobs)


class ProgramFinished(ProgramEvent, frozen=True, kw_only=True, tag=True):
    """A program ended."""

    error: str = ""
    """The error that ended it, in words; empty if it ran to its end."""
