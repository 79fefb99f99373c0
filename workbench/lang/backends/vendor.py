"""`VendorBackend`: the common part of the backends of vendors' APIs. A subclass writes a call and reads its stream (`stream`).

Chat APIs take messages and return text. They cannot score a text that they did not write. So here:

- a prompt without roles is sent as one message of the user;
- a stop string that the API does not take is found in the stream, which is then closed;
- `select` requests one of the options from the model and compares the answer;
- a call of a tool is text, one line of JSON (`{"name": ..., "arguments": {...}}`), and also in `meta_info["tool_calls"]`.
"""

from __future__ import annotations

import importlib
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from workbench.errors import Aborted, BackendFailed, BackendLacks, InvalidRequest, WorkbenchError, install
from workbench.lang.backends.base import Backend, GenerateCall, Piece, SelectCall, Selection
from workbench.lang.nodes import RoleBegin, RoleEnd, Text
from workbench.lang.prompt import Prompt, Turn
from workbench.lang.tools import function_of
from workbench.text.stop import StopFinder

MAX_MESSAGE = 300
_END = object()


def vendor_package(module: str, backend: str, extra: str) -> Any:
    """Returns the vendor's package. Raises ImportError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"workbench.{backend} needs {module}: {install(extra)}", name=error.name) from error


def one_model(model: str | None, model_name: str | None) -> str | None:
    """Returns the model by either name of the argument, or None. Raises InvalidRequest if both are given and differ."""
    if model is not None and model_name is not None and model != model_name:
        raise InvalidRequest.because("model", f"model is {model!r} and model_name is {model_name!r}", hint="keep one of them")
    return model if model is not None else model_name


def the_model(model: str | None, model_name: str | None) -> str:
    """Returns the model as `one_model` does. Raises InvalidRequest if there is none."""
    if (found := one_model(model, model_name)) is None:
        raise InvalidRequest("model", None, "the name of a model")
    return found


class Line:
    """The connection of one call, which `abort` cuts: at once while the answer is read, else when it begins."""

    def __init__(self) -> None:
        self.is_cut = False
        self._response: Any = None

    def attach(self, response: Any) -> None:
        """Takes the httpx response that is read next. Cuts it if `cut` was called before."""
        self._response = response
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """Ends a read that waits in another thread. Shuts the socket, because closing the response would not end the read."""
        self.is_cut = True
        network = getattr(self._response, "extensions", {}).get("network_stream")
        line = network.get_extra_info("socket") if network is not None else None
        if line is not None:
            with suppress(OSError):  # already closed
                line.shutdown(socket.SHUT_RDWR)


class VendorBackend(Backend):
    """Runs programs on a vendor's chat API."""

    features = frozenset({"completion", "chat", "image", "json_schema", "select", "tools"})
    writes_ahead = True
    roles: frozenset[str] = frozenset({"system", "user", "assistant"})
    """Roles that messages may have."""
    key_hint: str = ""
    """Hint of errors about the key: the variable or argument for it."""

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """Returns the pieces of a call, as `generate` does. `stop` are the stop strings that the API takes."""
        raise NotImplementedError

    def takes_stop(self, stop: str, index: int) -> bool:
        """Returns whether the API takes this stop string, the `index`-th of a call."""
        return True

    # -- called by programs -------------------------------------------------------------------------------------

    def check(self, call: GenerateCall | SelectCall) -> None:
        """Raises `BackendLacks` for a part of `call` that the API does not support: features, roles, text outside roles."""
        super().check(call)
        if call.prompt.has_roles:
            for turn in call.prompt.turns:
                self._check_turn(turn)
            if not self.turns(call.prompt):
                raise BackendLacks(self.name, "a conversation without a message before gen", hint="begin with user(...)")
        if isinstance(call, GenerateCall) and call.logprobs.get("logprob_start_len", -1) >= 0:
            raise BackendLacks(self.name, "log-probabilities of the prompt (logprob_start_len)")

    def _check_turn(self, turn: Turn) -> None:
        if turn.role is None and (turn.text.strip() or turn.has_media):
            raise BackendLacks(self.name, "text outside roles in a conversation", hint="put it into user(...) or system(...)")
        if turn.role is not None and turn.role not in self.roles:
            raise BackendLacks(self.name, f"role {turn.role}", hint=f"roles it takes: {', '.join(sorted(self.roles))}")
        if turn.role == "system" and turn.has_media:
            raise BackendLacks(self.name, "an image in a system message", hint="put it into user(...)")

    def generate(self, call: GenerateCall) -> Iterator[Piece]:
        """Returns the pieces of a generation. Finds stop strings that the API does not take itself.

        Raises BackendLacks for log-probabilities with such a stop string, BackendFailed for an error of the API.
        """
        stops = call.params.get("stop", ())
        taken = tuple(stop for i, stop in enumerate(stops) if self.takes_stop(stop, i))
        own = tuple(stop for stop in stops if stop not in taken)
        pieces = self.stream(call, taken)
        if not own:
            return pieces
        if call.logprobs:
            raise BackendLacks(
                self.name, f"logprobs together with stop={own[0]!r}", hint="its API does not take this stop string"
            )
        return _stopped(pieces, own, call.params.get("n", 1), {"id": call.rid, "model": self.model})

    def select(self, call: SelectCall) -> Selection:
        """Requests one of the options and returns it. Calls a model that refuses temperature 0 again without it.

        Raises BackendFailed for an answer that is no option.
        """
        prompt = _with_options(call.prompt, call.choices)
        try:
            answer, meta = self._answer(GenerateCall(rid=call.rid, prompt=prompt, params={"temperature": call.temperature}))
        except BackendFailed as error:
            if call.temperature > 0 or "temperature" not in error.message:
                raise
            answer, meta = self._answer(GenerateCall(rid=call.rid, prompt=prompt))
        index = find_choice(answer, call.choices)
        if index is None:
            raise self.failed(
                f"was asked for one of {len(call.choices)} choices and answered {answer[:80]!r}",
                hint="make the question clearer, or select on a backend that scores: a loaded engine, RuntimeEndpoint(url)",
            )
        return Selection(index, meta_info={**meta, "num_requests": 1})

    def _answer(self, call: GenerateCall) -> tuple[str, Mapping[str, Any]]:
        pieces = list(self.generate(call))
        return "".join(piece.text for piece in pieces), pieces[-1].meta_info or {}

    # -- for subclasses -----------------------------------------------------------------------------------------

    def turns(self, prompt: Prompt) -> list[Turn]:
        """Returns the messages to send. A prefill is the last; an open message without text is left out."""
        if not prompt.has_roles:
            return [Turn("user", sum((turn.parts for turn in prompt.turns), ()))]
        return [turn for turn in prompt.turns if turn.role is not None and not (turn.is_open and not turn.parts)]

    def events(self, rid: str, opened: Callable[[Line], Iterator[Any]]) -> Iterator[Any]:
        """Yields the events of `opened` until `abort(rid)`. Raises Aborted then, and the vendor's errors as BackendFailed."""
        line = Line()
        with self.abortable(rid, line.cut), closing(opened(line)) as events:  # type: ignore[type-var]
            while True:
                try:
                    with self.translated():
                        event = next(events, _END)
                except BackendFailed:
                    if not line.is_cut:
                        raise
                if line.is_cut:
                    raise Aborted(f"{self.name}: the call was aborted")
                if event is _END:
                    return
                yield event

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Returns a context that raises exceptions of the vendor's package as BackendFailed, with a hint."""
        try:
            yield
        except WorkbenchError:
            raise
        except Exception as error:
            status = next((code for key in ("status_code", "code") if isinstance(code := getattr(error, key, None), int)), None)
            answered = "failed" if status is None else f"answered {status}"
            raise self.failed(f"{answered}: {_sentence(error)}", hint=self._hint(status)) from error

    def _hint(self, status: int | None) -> str:
        if status is None:
            return f"check the network, the address (base_url) and the key: {self.key_hint}"
        if status in (401, 403):
            return f"check the key: {self.key_hint}"
        if status == 429:
            return "wait, or run fewer at a time: run_batch(..., num_threads=4)"
        return "the vendor's side has a problem: try again later" if status >= 500 else ""

    def failed(self, what: str, *, hint: str = "") -> BackendFailed:
        """Returns the error of a failure; `what` continues a sentence that begins with the backend."""
        return BackendFailed(f"{self.name} ({self.model}) {what}" if self.model else f"{self.name} {what}", hint=hint)

    def broke_off(self) -> BackendFailed:
        """Returns the error of a stream that ended early."""
        return self.failed("broke off before the end of its answer", hint="run it again")


def functions(prompt: Prompt) -> list[dict[str, Any]]:
    """Returns the tools of a prompt without OpenAI's wrapper: `name`, `description`, `parameters` (a JSON schema)."""
    return [function_of(tool) for tool in prompt.tools]


def tool_call(name: str, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    """Returns a tool call in OpenAI's form; `arguments` is JSON."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}


def calls_text(calls: Sequence[Mapping[str, Any]], *, after_text: bool) -> str:
    """Returns one line of JSON for each call, on new lines if text stands before them."""
    lines = [json.dumps({"name": f["name"], "arguments": _parsed(f["arguments"])}) for f in (call["function"] for call in calls)]
    return "\n".join([""] * (after_text and bool(lines)) + lines)


def find_choice(answer: str, choices: Sequence[str]) -> int | None:
    """Returns the index of the option that an answer names, or None: the same text; the same text except for case, quotes and
    a full stop; or the longest option with which the answer begins."""
    for form in (str.strip, _plain):
        for i, choice in enumerate(choices):
            if form(answer) == form(choice):
                return i
    text = _plain(answer)
    begins = [i for i, choice in enumerate(choices) if re.match(rf"{re.escape(_plain(choice))}(?!\w)", text)]
    return max(begins, key=lambda i: len(_plain(choices[i])), default=None)


def _plain(text: str) -> str:
    return text.strip().strip("\"'`*.").strip().casefold()


def _with_options(prompt: Prompt, choices: Sequence[str]) -> Prompt:
    """Returns the prompt with the question for one of the options, at the end of the user's last message."""
    options = "\n".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    question = "Which of these comes next?" if not prompt.has_roles else "Answer with one of these."
    words = Text(f"\n\n{question} Write exactly one of them and nothing else:\n{options}")
    if not prompt.has_roles:
        return Prompt((*prompt.parts, words))
    begin = max(i for i, part in enumerate(prompt.parts) if isinstance(part, RoleBegin))
    before = prompt.parts[:begin]
    if before and before[-1] == RoleEnd("user"):
        before = (*before[:-1], words, before[-1])
    else:
        before = (*before, RoleBegin("user"), Text(words.value.strip()), RoleEnd("user"))
    return Prompt(before + prompt.parts[begin:])


def _stopped(pieces: Iterator[Piece], stops: tuple[str, ...], n: int, meta: Mapping[str, Any]) -> Iterator[Piece]:
    """Yields the pieces up to the first of `stops`; closes the stream once every sample has reached one."""
    finders = [StopFinder(stops) for _ in range(n)]
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            finder = finders[piece.index]
            if finder.matched is not None:
                continue
            text = finder.push(piece.text)
            if finder.matched is not None:
                yield Piece(text, piece.index, {**meta, "finish_reason": {"type": "stop", "matched": finder.matched}})
                if all(finder.matched is not None for finder in finders):
                    return
            elif piece.meta_info is not None:
                yield Piece(text + finder.finish(), piece.index, piece.meta_info)
            elif text:
                yield Piece(text, piece.index)


def _sentence(error: Exception) -> str:
    """Returns the vendor's message in one line, without the JSON around it, at most `MAX_MESSAGE` characters of it."""
    body = getattr(error, "body", None) or getattr(error, "details", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    text = str(inner["message"]) if isinstance(inner, dict) and inner.get("message") else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."


def _parsed(arguments: str) -> Any:
    with suppress(ValueError):
        return json.loads(arguments)
    return arguments
