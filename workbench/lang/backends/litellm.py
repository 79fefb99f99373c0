"""Programs on the models of any provider that LiteLLM supports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from workbench.lang.backends.base import GenerateCall, Piece
from workbench.lang.backends.chat_api import chat_body, read_chunks
from workbench.lang.backends.vendor import Line, VendorBackend, the_model, vendor_package

PARAMS = {
    "temperature": "temperature", "top_p": "top_p", "frequency_penalty": "frequency_penalty", "stop": "stop", "seed": "seed",
    "presence_penalty": "presence_penalty", "logit_bias": "logit_bias", "max_tokens": "max_new_tokens",
}  # fmt: skip
MAX_STOPS = 4
FEATURES = {"response_format": "json_schema", "logprobs": "logprobs", "tools": "tools"}
"""LiteLLM's names of optional features, and ours."""


class LiteLLM(VendorBackend):
    """Runs programs through LiteLLM: `LiteLLM("anthropic/claude-sonnet-5")`, with provider and model in its form, and the keys
    in its variables or in `api_key`.

    Features and parameters are those that LiteLLM reports for the provider; others are refused. Further keywords go to every
    `litellm.completion` (`base_url`, `timeout`, `num_retries`, `api_version`, ...). LiteLLM estimates token counts that a
    provider does not report. `abort` ends a call at its next piece; at once only if LiteLLM uses OpenAI's package.
    """

    name = "LiteLLM"
    features = VendorBackend.features | {"logprobs"}  # no "n": its streams lose the ends of several samples
    params = frozenset(PARAMS.values())
    key_hint = "set the provider's variable (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...), or LiteLLM(model, api_key=...)"

    def __init__(self, model: str | None = None, *, model_name: str | None = None, **options: Any) -> None:
        super().__init__()
        self.model = model = the_model(model, model_name)
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import downloads a list of prices
        self._package = vendor_package("litellm", "LiteLLM", "litellm")
        self._package.suppress_debug_info = True  # it prints advice for every error, which is raised anyway
        self._options = options
        with self.translated():
            _, provider, *_ = self._package.get_llm_provider(model, api_base=options.get("base_url"))
            known = set(self._package.get_supported_openai_params(model=model, custom_llm_provider=provider) or ())
        self.params = frozenset(ours for theirs, ours in PARAMS.items() if theirs in known)
        self.features = self.features - {ours for theirs, ours in FEATURES.items() if theirs not in known}

    def takes_stop(self, stop: str, index: int) -> bool:
        """Returns whether all providers take the stop string: at most `MAX_STOPS`, and not only white space."""
        return bool(stop.strip()) and index < MAX_STOPS

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """Returns the pieces of the answer. Raises BackendFailed for an error of the API."""
        body = chat_body(self, call, stop)
        if "max_new_tokens" in call.params:
            body["max_tokens"] = call.params["max_new_tokens"]
        return read_chunks(self, call, self.events(call.rid, lambda line: self._open(line, body)))

    def _open(self, line: Line, body: dict[str, Any]) -> Iterator[Any]:
        options = {"stream": True, "stream_options": {"include_usage": True}, **self._options}
        options["_skip_mcp_handler"] = True  # else it needs the package of its extra `mcp` for tools
        stream = self._package.completion(model=self.model, **body, **options)
        inner = getattr(stream, "completion_stream", None)
        line.attach(getattr(inner, "response", None))
        try:
            yield from stream
        finally:  # LiteLLM keeps its streams, so they would stay open
            for source in (inner, getattr(inner, "response_iterator", None)):
                getattr(source, "close", lambda: None)()
