"""What the in-process engine and a server's native HTTP API share: the same questions, asked in the same words.

A subclass says how a body of `/generate` is answered; prompts, constraints, scoring and counting are here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.errors import BackendLacks, NotSupported
from workbench.lang.backends.base import ALL_PARAMS, FEATURES, Backend, GenerateCall, Piece, SelectCall, Selection
from workbench.lang.backends.scoring import Scorer
from workbench.lang.chat import ChatTemplate, render_prompt
from workbench.lang.choices import best
from workbench.lang.prompt import Prompt

DTYPE_REGEX: dict[type, str] = {
    int: r"[-+]?[0-9]{1,18}",
    float: r"[-+]?[0-9]{1,16}(\.[0-9]{1,16})?",
    bool: r"(True|False)",
    str: r'"[^"\\\r\n]*"',
}
"""Python literals, so that `ast.literal_eval` reads what was written."""
Body = Mapping[str, Any]
"""Of `/generate`: `text` or `input_ids` (one or a list), `sampling_params`, `rid`, log-probability options."""
Result = dict[str, Any]


class NativeBackend(Backend):
    features = FEATURES - {"image", "video"}
    params = ALL_PARAMS
    always_streams = False
    """Also where nobody reads along: only a stream tells a server at once that its reader has gone."""

    # -- what a subclass answers --------------------------------------------------------------------------------

    def template(self) -> ChatTemplate:
        """The model's chat template. Raises NotSupported, naming chat_template=, for a model without one."""
        raise NotImplementedError

    def prompt_body(self, text: str, *, is_rendered: bool) -> dict[str, Any]:
        """`{"text": ...}` or `{"input_ids": ...}`. A rendered conversation has its begin token already: there is only one."""
        raise NotImplementedError

    def send(self, body: Body, rids: Sequence[str]) -> list[Result]:
        """Answers a batch; `rids` are its requests, `rids[0]` the call that `abort` ends."""
        raise NotImplementedError

    def stream(self, body: Body, rid: str) -> Iterator[Result]:
        """Answers one prompt, piece by piece; the text of each result repeats what came before."""
        raise NotImplementedError

    @property
    def start_ids(self) -> tuple[int, ...]:
        """The token before any text, for log-probabilities without a prompt; empty where it is not known."""
        return ()

    # -- what programs ask --------------------------------------------------------------------------------------

    def text_of(self, prompt: Prompt) -> str:
        if not prompt.has_roles:
            if prompt.tools:
                raise NotSupported("tools are told to the model by its chat template", hint="write the program with roles")
            return prompt.plain_text
        return render_prompt(prompt, self.template())

    def generate(self, call: GenerateCall) -> Iterator[Piece]:
        params = dict(call.params)
        if call.dtype is not None:
            params["regex"] = DTYPE_REGEX[call.dtype]
        body = {**self._prompt(call.prompt), "sampling_params": params, "rid": call.rid, **call.logprobs}
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
        if call.temperature > 1e-5:
            raise BackendLacks(self.name, f"select with temperature {call.temperature:g}", hint="options are scored, not drawn")
        scorer = Scorer(self, call.rid, self.text_of(call.prompt), is_rendered=call.prompt.has_roles)
        options = scorer.options(call.choices)
        if getattr(call.method, "needs_unconditional", False):
            options = scorer.with_unconditional(options)
        scores = call.method(options)
        return Selection(best(scores), tuple(scores), tuple(options), {"id": call.rid, **scorer.usage})

    def warm(self, prompt: Prompt) -> Mapping[str, Any] | None:
        body = self._prompt(prompt)
        if not (body.get("text") or body.get("input_ids")):
            return None
        (result,) = self.send({**body, "sampling_params": {"max_new_tokens": 0}}, [])
        return result["meta_info"]

    def _prompt(self, prompt: Prompt) -> dict[str, Any]:
        return self.prompt_body(self.text_of(prompt), is_rendered=prompt.has_roles)
