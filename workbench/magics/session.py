"""The magics as Python: engines by name, completions, conversations, and questions about them.

    from workbench.magics import session
    session.load("smollm2-135m")
    print(session.chat("Name a river."))

Needs no IPython. Torch is imported by the first `load`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any, Unpack, cast

from workbench.errors import InvalidRequest
from workbench.events import RequestFinished
from workbench.lang.cell import cell_program
from workbench.lang.state import ProgramState
from workbench.magics.engines import Engines, NoEngine, NothingYet, find_model, open_engine
from workbench.magics.facts import completion, prompt_ids, unfinished
from workbench.native import results as native
from workbench.native.options import ConstraintOptions, SamplingOptions
from workbench.signature import takes
from workbench.views import Completion
from workbench.views.recorded.recording import Recording

if TYPE_CHECKING:  # these bring torch
    from workbench.api.engine import Engine
    from workbench.why.request.explanation import Explanation
    from workbench.why.token.answers import Why

__all__ = ["NoEngine", "NothingYet", "Session", "session"]
MAX_NAMED = 8
OnText = Callable[[str], None]


class Sampling(SamplingOptions, ConstraintOptions, total=False):
    """Sampling parameters as keywords."""


class Session(Engines):
    """The engines, conversations and results of one kernel. Not for use from several threads at once."""

    def __init__(self, open_engine: Callable[..., Engine] = open_engine, find_model: Callable[..., None] = find_model) -> None:
        super().__init__(open_engine, find_model)
        self.conversations: dict[str, list[dict[str, str]]] = {}
        self.last: Completion | None = None
        """The newest result."""

    # Text

    @takes(Sampling)
    def complete(
        self,
        prompt: str,
        *,
        engine: str | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Continues a text and returns the result. `on_text` is called with the whole text so far, on the caller's thread.

        With `detail` the result has the model's probabilities of each token, and marks the tokens where its constraint changed
        the choice.
        An interrupt aborts the request and is raised again; the engine stays alive. Raises NoEngine, and what
        `Engine.generate` raises.
        """
        target = self.text_engine(engine)
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.generate(prompt, sampling, stream=True), on_text)
        ids = prompt_ids(target.tokenizer, prompt)
        self.last = completion(target, last, prompt, ids, kind="completion", since=since)
        return self.last

    @takes(Sampling)
    def chat(
        self,
        message: str,
        *,
        name: str = "default",
        new: bool = False,
        system: str | None = None,
        engine: str | None = None,
        on_text: OnText | None = None,
        detail: bool = False,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Adds a message to the conversation called `name`, then the answer, and returns the answer.

        A turn that fails or is interrupted leaves the conversation as it was. Raises InvalidRequest for a `system` message
        that comes after the first, NoEngine, and what `Engine.chat` raises.
        """
        target = self.text_engine(engine)
        said = [] if new else self.conversations.get(name, [])
        first = [] if system is None else [{"role": "system", "content": system}]
        if said and said[: len(first)] != first:
            limit = f"given with the first message, and conversation {name!r} has begun"
            raise InvalidRequest("system", system, limit, hint="start over with --new (in Python: new=True)")
        messages = [*(said or first), {"role": "user", "content": message}]
        since = target.log.num_added
        with target.token_detail() if detail else nullcontext():
            last = _drain(target.chat(messages, sampling, stream=True), on_text)
        ids = prompt_ids(target.tokenizer, messages)
        result = self.last = completion(target, last, message, ids, kind="chat", since=since)
        if result.finish_reason.get("type") != "abort":
            self.conversations[name] = [*messages, {"role": "assistant", "content": result.text}]
        return result

    @takes(Sampling)
    def program(
        self, code: str, names: dict[str, Any], *, engine: str | None = None, **sampling: Unpack[Sampling]
    ) -> ProgramState:
        """Runs `code` as the body of a program whose state is `s`, and returns the state.

        `names` are the globals of the code; its assignments stay there. The sampling parameters are defaults of its
        generations. Raises the error of any part of the program, with the line of the code.
        """
        return cell_program(code, names).run(backend=self.text_engine(engine), **sampling)

    # Requests

    def abort(self, rid: str, *, engine: str | None = None) -> None:
        """Ends a request, or all its samples if `n` is above 1. Raises InvalidRequest for one that neither runs nor waits."""
        target = self.engine(engine)
        first, events = target.log.read()
        found = unfinished(events)
        if first == 0 and not any(one == rid or one.startswith(f"{rid}-") for one in found):
            names = f"{', '.join(found[:MAX_NAMED])}{', ...' * (len(found) > MAX_NAMED)}" or "none"
            raise InvalidRequest("rid", rid, "a request that runs or waits", hint=f"these do now: {names}")
        target.abort(rid)

    def flush(self, *, engine: str | None = None) -> int:
        """Drops every cached prefix that no request uses; returns the number of tokens dropped."""
        return self.engine(engine).flush_cache()

    def explain(self, rid: str | None = None, *, engine: str | None = None) -> Explanation:
        """Returns the parts of a request's time; without `rid` those of the last cell, or of the named engine's last request.

        Raises NothingYet if there was none, and what `Engine.explain` raises.
        """
        return self.engine(engine).explain(self._rid(rid, engine))

    def why(self, token: int | str, rid: str | None = None, *, step: int | None = None, engine: str | None = None) -> Why:
        """Returns whether a request's constraint allowed `token` at `step`, and why not; without `rid` for the last request.

        Raises NothingYet if there was none, and what `Engine.why` raises.
        """
        return self.engine(engine).why(self._rid(rid, engine), token, step)

    def _rid(self, rid: str | None, engine: str | None) -> str:
        """Returns the id of the request that is meant: of a watched server no cell has made one, so its own last one is."""
        if rid is not None:
            return rid
        if self.last is not None and engine is None:
            return self.last.rid
        ended = [event.rid for event in self.engine(engine).log.read()[1] if isinstance(event, RequestFinished)]
        if not ended:
            hint = "run %%wb_gen or %%wb_chat first, or give a request id"
            raise NothingYet("no cell has generated text, and the engine has ended no request yet", hint=hint)
        return ended[-1]

    # Pictures

    def view(self, name: str, *, engine: str | None = None, live: bool | None = None, **options: Any) -> Any:
        """Returns a view of an engine, as `Engine.view` does.

        "template" shows the conversation called `conversation` if no `messages` are given.
        """
        if name == "template":
            options = self._said(**options)
        opened: Any = self.engine(engine)
        return opened.view(name, live=live, **options)

    def recording(self, name: str, *, engine: str | None = None, **options: Any) -> Recording:
        """Returns what a view has shown since the engine's log began, as `Engine.recording` does; options as for `view`."""
        if name == "template":
            options = self._said(**options)
        opened: Any = self.engine(engine)
        recorded: Recording = opened.recording(name, **options)
        return recorded

    def _said(self, messages: Any = None, conversation: str | None = None, **options: Any) -> dict[str, Any]:
        if messages is None:
            messages = self.conversations.get(conversation or "default")
            if messages is None:
                raise NothingYet(f"no conversation is called {conversation or 'default'!r}", hint="%%wb_chat begins one")
        return {"messages": messages, **options}


def _drain(chunks: Iterator[native.Completion], on_text: OnText | None) -> Mapping[str, Any]:
    """Reads all chunks and returns the last one. Any error or interrupt closes the stream, which aborts the request."""
    last: Mapping[str, Any] = {}
    with closing(cast("Generator[native.Completion]", chunks)):
        for last in chunks:
            if on_text is not None:
                on_text(last["text"])
    return last


session = Session()
