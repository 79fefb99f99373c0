"""`Inspected`: the questions that can be put to an engine, in this process or behind a server, and its views."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

from workbench.api.handle import Handle
from workbench.api.options import GENERATE_DEFAULTS, VIEW_DEFAULTS, ViewName, ViewOptions
from workbench.native.options import ConstraintOptions
from workbench.signature import takes

if TYPE_CHECKING:  # the first token needs none of them
    from workbench.api.questions import Cache, Memory, Questions
    from workbench.client.detail import DetailSwitch
    from workbench.events import EventLog
    from workbench.views.advice import Advice
    from workbench.views.live import Source
    from workbench.views.recorded.recording import Recording
    from workbench.why.constraint import Grammar
    from workbench.why.request.explanation import Explanation
    from workbench.why.token.answers import Why
    from workbench.why.token.mask import MaskAt


class Inspected:
    """An engine whose requests, cache and memory can be looked into. Nothing here changes what it computes."""

    _handle: Handle

    @cached_property
    def _questions(self) -> Questions:
        from workbench.api.questions import Questions

        return Questions(self._handle)

    @property
    def log(self) -> EventLog:
        """The event log."""
        return self._handle.log

    @property
    def detail(self) -> DetailSwitch:
        """The switch of token detail."""
        return self._questions.detail

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer; None with `skip_tokenizer_init`. The first use may import transformers."""
        return self._questions.tokenizer

    @property
    def cache(self) -> Cache:
        """Questions about the prefix cache."""
        from workbench.api.questions import Cache

        return Cache(self._questions)

    def explain(self, rid: str) -> Explanation:
        """Returns the parts of a request's time (`spans`, in seconds); they print as a sentence.

        Raises InvalidRequest for an id that is not in the event log.
        """
        return self._questions.explain(rid)

    @takes(ConstraintOptions, GENERATE_DEFAULTS)
    def grammar(self, **constraint: Unpack[ConstraintOptions]) -> Grammar:
        """Returns a constraint compiled for this model, to inspect it: `engine.grammar(regex=...)`.

        Raises InvalidRequest for a malformed constraint, NotSupported for one that cannot be enforced.
        """
        return self._questions.grammar(constraint)

    def why(self, rid: str, token: int | str, step: int | None = None) -> Why:
        """Returns whether a request's constraint allowed a token (an id or a text), and the reason if it did not.

        `step` is the number of the output token, from 0; None is the position after the whole output.
        Raises InvalidRequest for an unknown request or step, and for a request without a constraint.
        """
        return self._questions.why(rid, token, step)

    def mask(self, rid: str, step: int | None = None) -> MaskAt:
        """Returns the tokens that a request's constraint allowed at a step, by class, by text and in words.

        `step` and the errors are those of `why`.
        """
        return self._questions.mask(rid, step)

    def token_detail(self, on: bool = True) -> ExitStack:
        """Switches the recording of token details on or off; returns a context whose end restores the earlier state.

        Returns a context: `with engine.token_detail():` switches it off at the end of the block; else it stays on. Views that
        show it switch it on themselves. It reads the logits once more, under a constraint twice: about 1 ms each for 32
        requests, recorded as `cost_s`. Raises EngineDead once the engine has ended.
        """
        return self._questions.token_detail(on)

    @takes(ViewOptions, VIEW_DEFAULTS)
    def view(self, name: ViewName, *, live: bool | None = None, **options: Unpack[ViewOptions]) -> Any:
        """Returns a view of the engine: in a kernel with anywidget a live widget, else a still picture.

        `live=False` returns the still picture of this moment, `live=True` the widget. Each view takes its own options, which
        docs/views lists. Raises InvalidRequest for an unknown view, UnknownParameter for an option it does not have.
        """
        from workbench.views.live import open_view

        return open_view(self._source, name, live=live, **options)

    @takes(ViewOptions, VIEW_DEFAULTS)
    def recording(self, name: ViewName, *, moments: int = 120, **options: Unpack[ViewOptions]) -> Recording:
        """Returns what a view, or the dashboard, has shown since the event log began, to be played without Python.

        `recording("tree").save("run.html")` writes a page that opens from disk, loads nothing and has a slider over up to
        `moments` ends of steps; it answers clicks with what the engine's log said at that moment. A recording above 96 KiB has
        fewer moments. Raises InvalidRequest for an unknown view, UnknownParameter for an option it does not have.
        """
        from workbench.views.recorded.opening import open_recording

        return open_recording(self._source, name, moments=moments, **options)

    def get_server_info(self) -> dict[str, Any]:
        """Returns the settings, the values that None and "auto" became, and the present load, by name.

        Raises EngineDead once the engine has ended.
        """
        return self._questions.server_info()

    def memory(self) -> Memory:
        """Returns the memory use in bytes and tokens, and the number of requests of several lengths that fit at once.

        Raises EngineDead once the engine has ended.
        """
        return self._questions.memory()

    def measure_bandwidth(self) -> float:
        """Returns how many bytes of memory a second the engine's threads can read, which bounds the speed of one stream.

        Takes 0.2 s, in which the engine computes nothing. `get_server_info()["memory_bandwidth"]` has the result from then on,
        and `%wb status` and the throughput view the share of it that decoding uses. Raises EngineDead once the engine has
        ended, NotSupported for one that is only watched.
        """
        return self._questions.measure_bandwidth()

    @property
    def advice(self) -> Advice:
        """Words of its views for what their reader may do next."""
        return self._questions.advice

    @advice.setter
    def advice(self, value: Advice) -> None:
        self._questions.advice = value

    @cached_property
    def _source(self) -> Source:
        return self._questions.source
