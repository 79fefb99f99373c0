"""Programs on an engine of this process or of its child process (`workbench.Engine`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from workbench.errors import NotSupported
from workbench.lang.backends.engine_like import EngineLike
from workbench.lang.backends.native import NativeBackend
from workbench.lang.chat import Template, TokenizerTemplate
from workbench.lang.chat_template import get_chat_template
from workbench.native.options import GenerateBody, PromptBody
from workbench.native.results import Completion
from workbench.text.tokenizer import Tokenizer


class EngineBackend(NativeBackend):
    """Runs programs on an engine. Raises NotSupported for an engine without a tokenizer."""

    name = "Engine"

    def __init__(self, engine: EngineLike, chat_template_name: str | None = None) -> None:
        super().__init__(engine.log)
        self.chat_template = None if chat_template_name is None else get_chat_template(chat_template_name)
        self._engine = engine
        self.model = str(engine.server_args.model_path)
        if engine.tokenizer is None:
            raise NotSupported("programs need a tokenizer, and this engine has none", hint="load without skip_tokenizer_init")
        self._tokenizer = Tokenizer(engine.tokenizer)
        self.see(engine.picture_marks)

    @cached_property
    def _template(self) -> TokenizerTemplate:
        return TokenizerTemplate(self._tokenizer.hf)

    def template(self) -> Template:
        return self._template

    def prompt_body(self, text: str, *, is_rendered: bool) -> PromptBody:
        has_begin = is_rendered and self.chat_template is None
        return {"input_ids": list(self._tokenizer.encode(text, add_special_tokens=not has_begin))}

    @property
    def start_ids(self) -> tuple[int, ...]:
        hf = self._tokenizer.hf
        start = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
        return () if start is None else (start,)

    def send(self, body: GenerateBody, rids: Sequence[str]) -> list[Completion]:
        n = body["sampling_params"].get("n", 1)
        with self.abortable(rids[0], lambda: self._abort(rids, n)) if rids else closing(_Nothing()):
            results = self._engine.generate(**body)
        return results if isinstance(results, list) else [results]

    def stream(self, body: GenerateBody, rid: str) -> Iterator[Completion]:
        n = body["sampling_params"].get("n", 1)
        # The engine ignores an abort of what it does not have yet, so the call opens when it has the request.
        with closing(self._engine.generate(**body, stream=True)) as results, self.abortable(rid, lambda: self._abort([rid], n)):
            yield from results

    def flush_cache(self) -> None:
        self._engine.flush_cache()

    def get_server_info(self) -> dict[str, Any]:
        return self._engine.get_server_info()

    def _abort(self, rids: Sequence[str], n: int) -> None:
        for rid in rids:
            for sample in [rid, *(f"{rid}-{j}" for j in range(n))]:
                self._engine.abort(sample)


class _Nothing:
    def close(self) -> None:
        pass
