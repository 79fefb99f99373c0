"""What the backends of vendors' APIs share. A subclass says how a call is written and how its stream is read (`stream`).

Chat APIs take messages and give text, and cannot score a text they did not write. So here:

- a prompt without roles is sent as one message of the user;
- a stop string that the API does not take is found in the stream, which is then left;
- `select` asks the model for one of the options and compares the answer;
- a call of a tool is text, one line of JSON (`{"name": ..., "arguments": {...}}`), and in `meta_info["tool_calls"]`.
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
    """The vendor's package. Raises ImportError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"workbench.{backend} needs {module}: {install(extra)}", name=error.name) from error


def one_model(model: str | None, model_name: str | None) -> str | None:
    """The model by either name of the argument. Raises InvalidRequest where both are given and differ."""
    if model is not None and model_name is not None and model != model_name:
        raise InvalidRequest.because("model", f"model is {model!r} and model_name is {model_name!r}", hint="keep one of them")
    return model if model is not None else model_name


def the_model(model: str | None, model_name: str | None) -> str:
    """As `one_model`, where there must be one."""
    if (found := one_model(model, model_name)) is None:
        raise InvalidRequest("model", None, "the name of a model")
    return found


class Line:
    """One call's way to the vendor, which `abort` cuts: at once while the answer is read, else when it begins."""

    def __init__(self) -> None:
        self.is_cut = False
        self._response: Any = None

    def attach(self, response: Any) -> None:
        """The httpx response that is about to be read."""
        self._response = response
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """Ends a read that waits in another thread: closing the response would leave it waiting, so its socket is shut."""
        self.is_cut = True
        network = getattr(self._response, "extensions", {}).get("network_stream")
        line = network.get_extra_info("socket") if network is not None else None
        if line is not None:
            with suppress(OSError):  # it has ended by itself
                line.shutdown(socket.SHUT_RDWR)


class VendorBackend(Backend):
    features = frozenset({"completion", "chat", "image", "json_schema", "select", "tools"})
    writes_ahead = True
    roles: frozenset[str] = frozenset({"system", "user", "assistant"})
    """Roles its messages may have."""
    key_hint: str = ""
    """How a user gives the key; the hint of an error that refuses it."""

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """The pieces of a call, as `generate` gives them. `stop` are those strings that the API takes."""
        raise NotImplementedError

    def takes_stop(self, stop: str, index: int) -> bool:
        """Whether the API takes this stop string, the `index`-th of a call."""
        return True

    # -- what programs ask --------------------------------------------------------------------------------------

    def check(self, call: GenerateCall | SelectCall) -> None:
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
        """Asks for one of the options. Temperature 0 is left out for a model that refuses it."""
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

    # -- what subclasses use ------------------------------------------------------------------------------------

    def turns(self, prompt: Prompt) -> list[Turn]:
        """The messages to send: a prefill is the last, an open message without text is none."""
        if not prompt.has_roles:
            return [Turn("user", sum((turn.parts for turn in prompt.turns), ()))]
        return [turn for turn in prompt.turns if turn.role is not None and not (turn.is_open and not turn.parts)]

    def events(self, rid: str, opened: Callable[[Line], Iterator[Any]]) -> Iterator[Any]:
        """What `opened` yields, until `abort(rid)`. Only the vendor's own errors become BackendFailed."""
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
        """The vendor's exceptions as BackendFailed, with what to do next."""
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
        return BackendFailed(f"{self.name} ({self.model}) {what}" if self.model else f"{self.name} {what}", hint=hint)

    def broke_off(self) -> BackendFailed:
        return self.failed("broke off before the end of its answer", hint="run it again")


def functions(prompt: Prompt) -> list[dict[str, Any]]:
    """The tools of a prompt without OpenAI's wrapper: `name`, `description`, `parameters` (a JSON schema)."""
    return [function_of(tool) for tool in prompt.tools]


def tool_call(name: str, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    """In OpenAI's form; `arguments` is JSON."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}


def calls_text(calls: Sequence[Mapping[str, Any]], *, after_text: bool) -> str:
    """One line of JSON for each call."""
    lines = [json.dumps({"name": f["name"], "arguments": _parsed(f["arguments"])}) for f in (call["function"] for call in calls)]
    return "\n".join([""] * (after_text and bool(lines)) + lines)


def find_choice(answer: str, choices: Sequence[str]) -> int | None:
    """The option that an answer names: the same text; the same but for case, quotes and a full stop; or its beginning."""
    for form in (str.strip, _plain):
        for i, choice in enumerate(choices):
            if form(answer) == form(choice):
                return i
    said = _plain(answer)
    begins = [i for i, choice in enumerate(choices) if re.match(rf"{re.escape(_plain(choice))}(?!\w)", said)]
    return max(begins, key=lambda i: len(_plain(choices[i])), default=None)


def _plain(text: str) -> str:
    return text.strip().strip("\"'`*.").strip().casefold()


def _with_options(prompt: Prompt, choices: Sequence[str]) -> Prompt:
    """The prompt with the question which option it is, at the end of what the user says."""
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
    """The pieces up to the first of `stops`; the stream is left once every sample has come to one."""
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
    """The vendor's own words in one line, without the JSON around them."""
    body = getattr(error, "body", None) or getattr(error, "details", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    text = str(inner["message"]) if isinstance(inner, dict) and inner.get("message") else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."


def _parsed(arguments: str) -> Any:
    with suppress(ValueError):
        return json.loads(arguments)
    return arguments
