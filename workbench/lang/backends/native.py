"""`NativeBackend`: programs in the words of the native API, for the in-process engine and for a server.

A subclass answers a body of `/generate`; prompts, constraints, scoring and counting are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from workbench.errors import BackendLacks
from workbench.lang.backends.base import ALL_PARAMS, FEATURES, Backend, Feature, GenerateCall, Piece, SelectCall, Selection
from workbench.lang.backends.scoring import Scorer
from workbench.lang.chat import Template, render_prompt
from workbench.lang.chat_template import ChatTemplate
from workbench.lang.choices import best
from workbench.lang.nodes import Video
from workbench.lang.prompt import Prompt
from workbench.native.options import GenerateBody, PromptBody
from workbench.native.results import Completion
from workbench.pictures.media import read_media

DTYPE_REGEX: dict[type, str] = {
    int: r"[-+]?(0|[1-9][0-9]{0,17})[ .,;\n]{0,2}",
    float: r"[-+]?(0|[1-9][0-9]{0,15})\.[0-9]{1,16}[ ,;\n]{0,2}",
    bool: r"(True|False)",
    str: r'"[^"\\\r\n\x00]*"',
}
"""Patterns of Python literals by type: `ast.literal_eval` reads the text without the stop string of `DTYPE_STOP`."""
DTYPE_STOP: dict[type, tuple[str, ...]] = {int: (" ", ".", ",", ";", "\n"), float: (" ", ",", ";", "\n")}
"""Texts with which a model ends a number. If it could write digits alone, it would write them to the limit."""


class NativeBackend(Backend):
    """A backend that continues texts and scores options with `/generate`."""

    features = FEATURES - {"image", "video"}
    params = ALL_PARAMS
    always_streams = False
    """Streams are used also without a reader: only a stream shows a server at once that its client has gone."""
    chat_template: ChatTemplate | None = None
    """Template of `workbench.lang.chat_template` in the place of the model's own."""

    marks: Mapping[str, str] = {}
    """Placeholders of pictures in prompts by their kind; empty for a model that sees none."""

    def see(self, marks: Mapping[str, str]) -> None:
        """Changes: prompts may have pictures of these kinds."""
        self.marks = marks
        kinds: frozenset[Feature] = frozenset(kind for kind in ("image", "video") if kind in marks)
        self.features = self.features | kinds

    # -- written by a subclass ----------------------------------------------------------------------------------

    def template(self) -> Template:
        """Returns the model's chat template. Raises NotSupported, naming chat_template=, for a model without one."""
        raise NotImplementedError

    def prompt_body(self, text: str, *, is_rendered: bool) -> PromptBody:
        """Returns a prompt as `{"text": ...}` or `{"input_ids": ...}`. A rendered conversation has its begin token already."""
        raise NotImplementedError

    def send(self, body: GenerateBody, rids: Sequence[str]) -> list[Completion]:
        """Returns the results of a batch; `rids` are its requests, `rids[0]` the call that `abort` ends."""
        raise NotImplementedError

    def stream(self, body: GenerateBody, rid: str) -> Iterator[Completion]:
        """Yields the results of one prompt as they grow; each text repeats the text before it."""
        raise NotImplementedError

    @property
    def start_ids(self) -> tuple[int, ...]:
        """The token before any text, for log-probabilities without a prompt; empty if it is not known."""
        return ()

    # -- called by programs -------------------------------------------------------------------------------------

    def text_of(self, prompt: Prompt) -> str:
        """Returns the prompt as the model reads it, a conversation in the chat template. Raises what `template` raises."""
        if not prompt.has_roles:
            return prompt.marked_text(self.marks) if prompt.media else prompt.plain_text
        return render_prompt(prompt, self.get_chat_template(), self.marks)

    def get_chat_template(self) -> Template:
        """Returns the chat template that was set, else the model's own. Raises what `template` raises."""
        return self.chat_template or self.template()

    def generate(self, call: GenerateCall) -> Iterator[Piece]:
        """Returns the pieces of a generation. With 0 tokens and `top_logprobs_num` it returns the alternatives of the next
        token."""
        if call.params.get("max_new_tokens") != 0 or not call.logprobs.get("top_logprobs_num"):
            return self._generate(call)
        return self._alternatives(call)

    def _alternatives(self, call: GenerateCall) -> Iterator[Piece]:
        """Yields the alternatives of the next token, without writing it: one token is drawn for them."""
        for piece in self._generate(replace(call, params={**call.params, "max_new_tokens": 1})):
            if piece.meta_info is not None:
                yield Piece("", piece.index, {**piece.meta_info, "finish_reason": {"type": "length", "length": 0}})

    def _generate(self, call: GenerateCall) -> Iterator[Piece]:
        params = dict(call.params)
        if call.prompt.has_roles and (ends := getattr(self.get_chat_template(), "stop_str", ())):
            params["stop"] = (*params.get("stop", ()), *ends)
        if call.dtype is not None:
            params["regex"] = DTYPE_REGEX[call.dtype]
            params["stop"] = (*params.get("stop", ()), *DTYPE_STOP.get(call.dtype, ()))
        prompt = self._prompt(call.prompt)
        body = cast(
            "GenerateBody", {**prompt, **_media(call.prompt), "sampling_params": params, "rid": call.rid, **call.logprobs}
        )
        if not call.is_streamed and (not self.always_streams or call.logprobs):  # each chunk repeats all log-probabilities
            for i, result in enumerate(self.send(body, [call.rid])):
                yield Piece(result["text"], i, result["meta_info"])
            return
        shown: dict[int, str] = {}
        for result in self.stream(body, call.rid):
            i, text = result.get("index", 0), result["text"]
            is_last = result["meta_info"].get("finish_reason") is not None
            yield Piece(text[len(shown.get(i, "")) :], i, result["meta_info"] if is_last else None)
            shown[i] = text

    def select(self, call: SelectCall) -> Selection:
        """Scores the options and returns the best. Raises BackendLacks for a temperature above 0."""
        if call.temperature > 1e-5:
            raise BackendLacks(self.name, f"select with temperature {call.temperature:g}", hint="options are scored, not drawn")
        media = _media(call.prompt)
        scorer = Scorer(self, call.rid, self.text_of(call.prompt), is_rendered=call.prompt.has_roles, media=media)
        options = scorer.options(call.choices)
        if getattr(call.method, "needs_unconditional", False):
            options = scorer.with_unconditional(options)
        scores = call.method(options)
        return Selection(best(scores), tuple(scores), tuple(options), {"id": call.rid, **scorer.usage})

    def warm(self, prompt: Prompt) -> Mapping[str, Any] | None:
        """Computes a prompt and returns its `meta_info`; None for an empty prompt."""
        body = self._prompt(prompt)
        if not (body.get("text") or body.get("input_ids")):
            return None
        (result,) = self.send(cast("GenerateBody", {**body, **_media(prompt), "sampling_params": {"max_new_tokens": 0}}), [])
        return result["meta_info"]

    def _prompt(self, prompt: Prompt) -> PromptBody:
        return self.prompt_body(self.text_of(prompt), is_rendered=prompt.has_roles)


def _media(prompt: Prompt) -> dict[str, Any]:
    """Returns the pictures of a prompt as options of `generate`, each as a URL, and videos with the number of their frames."""
    if not prompt.media:
        return {}
    sources: list[Any] = []
    for part in prompt.media:
        if isinstance(part, Video):
            sources.append({"url": read_media(part.source, "video").as_url, "num_frames": part.num_frames})
        else:
            sources.append(read_media(part.source).as_url)
    return {"image_data": sources, "modalities": ["video" if isinstance(part, Video) else "image" for part in prompt.media]}
