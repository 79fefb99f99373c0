"""Programs on OpenAI's models, and on every server with OpenAI's HTTP API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from workbench.errors import InvalidRequest
from workbench.lang.backends.base import Feature, GenerateCall, Piece, SelectCall, Selection
from workbench.lang.backends.chat_api import chat_body, read_chunks, sampling
from workbench.lang.backends.vendor import Line, VendorBackend, one_model, vendor_package

TEXT_MODELS = frozenset({"gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct-0914", "davinci-002", "babbage-002"})
MAX_STOPS = 4


class OpenAI(VendorBackend):
    """Runs programs on OpenAI's models: `OpenAI("gpt-4o")`, with the key in OPENAI_API_KEY or `api_key`.

    `OpenAI("http://localhost:30000/v1")` uses a server with the same API, and its first model unless `model` names one.
    `is_chat_model=False` continues plain text (`/completions`); by default only OpenAI's own text models do. Further keywords
    go to `openai.OpenAI` (`organization`, `project`, `timeout`, `max_retries`, `default_headers`, ...), with `is_azure=True` to
    `openai.AzureOpenAI` (`azure_endpoint`, `api_version`, ...), where the model is the name of a deployment.
    Without `max_tokens` a chat has the vendor's length limit, and a text ends after 128 tokens.
    """

    name = "OpenAI"
    features = VendorBackend.features | {"logprobs", "n"}
    text_features: frozenset[Feature] = frozenset({"completion", "select", "logprobs", "n"})
    """Features of a text model; select needs a model whose tokens `tiktoken` has."""
    params = frozenset(
        {"max_new_tokens", "temperature", "top_p", "stop", "frequency_penalty", "presence_penalty", "seed", "logit_bias"}
    )
    roles = VendorBackend.roles | {"developer"}
    key_hint = "set OPENAI_API_KEY, or OpenAI(model, api_key=...)"

    def __init__(
        self, model: str | None = None, *, model_name: str | None = None, api_key: str | None = None,
        base_url: str | None = None, is_chat_model: bool | None = None, is_azure: bool = False, **client: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        openai = vendor_package("openai", "OpenAI", "openai")
        model = one_model(model, model_name)
        if model is not None and model.startswith(("http://", "https://")):
            model, base_url = None, model
        base_url = base_url or (None if is_azure else os.environ.get("OPENAI_BASE_URL"))
        if model is None and (base_url is None or is_azure):
            raise InvalidRequest("model", model, "the name of a model, or the address of a server")
        if base_url is not None and api_key is None and "OPENAI_API_KEY" not in os.environ:
            api_key = "none"  # the package needs a key even if the server needs none
        with self.translated():
            kind = openai.AzureOpenAI if is_azure else openai.OpenAI
            self._client = kind(api_key=api_key, **({} if base_url is None else {"base_url": base_url}), **client)
            self.model = model or next(iter(self._client.models.list())).id
        self.is_chat_model = self.model not in TEXT_MODELS if is_chat_model is None else is_chat_model
        # Every server with this API takes `max_tokens`; OpenAI's newer models take only the new name.
        self._length_name = "max_completion_tokens" if base_url is None and self.is_chat_model else "max_tokens"
        if not self.is_chat_model:
            self.features = self.text_features - (set() if _is_known(self.model) else {"select"})

    def takes_stop(self, stop: str, index: int) -> bool:
        """Returns whether the stop string is one of the first `MAX_STOPS`."""
        return index < MAX_STOPS

    def stream(self, call: GenerateCall, stop: tuple[str, ...]) -> Iterator[Piece]:
        """Returns the pieces of the answer. Raises BackendFailed for an error of the API."""
        body = chat_body(self, call, stop) if self.is_chat_model else _text_body(call, stop)
        length = call.params.get("max_new_tokens", None if self.is_chat_model else call.sampling.max_new_tokens)
        if length is not None:
            body[self._length_name] = length
        return read_chunks(self, call, self.events(call.rid, lambda line: self._open(line, call.rid, body)))

    def _open(self, line: Line, rid: str, body: dict[str, Any]) -> Iterator[Any]:
        kind = self._client.chat.completions if self.is_chat_model else self._client.completions
        options = {"stream": True, "stream_options": {"include_usage": True}, "extra_headers": {"X-Client-Request-Id": rid}}
        with kind.create(model=self.model, **body, **options) as stream:
            line.attach(stream.response)
            yield from stream

    def select(self, call: SelectCall) -> Selection:
        """Returns the option that a chat model answers with, or that a text model writes token by token, with only the
        options' tokens allowed. Raises BackendFailed for an answer that is no option."""
        return super().select(call) if self.is_chat_model else self._write_option(call)

    @cached_property
    def _encoding(self) -> Any:
        with self.translated():  # the first use on a machine downloads it
            return vendor_package("tiktoken", "OpenAI", "openai").encoding_for_model(self.model)

    def _write_option(self, call: SelectCall) -> Selection:
        tokens = [self._encoding.encode(choice, disallowed_special=()) for choice in call.choices]
        left, written = list(range(len(tokens))), list[int]()
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "num_requests": 0}
        while len(left) > 1:
            at = len(written)
            # An option that ends here, while longer ones go on, is chosen by the end of the text.
            nexts = {tokens[i][at] if at < len(tokens[i]) else self._encoding.eot_token: None for i in left}
            token = next(iter(nexts)) if len(nexts) == 1 else self._draw_token(call, written, list(nexts), usage)
            written.append(token)
            left = [i for i in left if (tokens[i] + [self._encoding.eot_token])[at] == token]
        return Selection(left[0], meta_info={"id": call.rid, **usage})

    def _draw_token(self, call: SelectCall, written: list[int], allowed: list[int], usage: dict[str, int]) -> int:
        body = {
            "prompt": call.prompt.plain_text + self._encoding.decode(written), "max_tokens": 1,
            "temperature": call.temperature, "logit_bias": {str(token): 100 for token in allowed},
        }  # fmt: skip
        drawn = GenerateCall(rid=call.rid, prompt=call.prompt)
        pieces = list(read_chunks(self, drawn, self.events(call.rid, lambda line: self._open(line, call.rid, body))))
        usage["num_requests"] += 1
        for name in ("prompt_tokens", "completion_tokens"):
            usage[name] += (pieces[-1].meta_info or {}).get(name, 0)
        text = "".join(piece.text for piece in pieces)
        texts = {"" if token == self._encoding.eot_token else self._encoding.decode([token]): token for token in allowed}
        if text not in texts:
            raise self.failed(f"was asked for one of {sorted(texts)} and wrote {text!r}")
        return texts[text]


def _text_body(call: GenerateCall, stop: tuple[str, ...]) -> dict[str, Any]:
    body = {"prompt": call.prompt.plain_text, **sampling(call, stop)}
    if call.logprobs.get("return_logprob"):
        body["logprobs"] = call.logprobs.get("top_logprobs_num", 0)
    return body


def _is_known(model: str) -> bool:
    """Returns whether `tiktoken` has the model's tokens. Uses no network."""
    try:
        vendor_package("tiktoken.model", "OpenAI", "openai").encoding_name_for_model(model)
    except KeyError:
        return False
    return True
