"""Programs on a server with the reference's native HTTP API (`/generate` and related paths)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from workbench.errors import InvalidRequest, NotSupported
from workbench.lang.backends.http import Server
from workbench.lang.backends.native import NativeBackend
from workbench.lang.chat import JinjaTemplate, Template
from workbench.lang.chat_template import get_chat_template, matching_template
from workbench.native.options import GenerateBody, PromptBody
from workbench.native.results import Completion
from workbench.text.chat import read_template


class RuntimeEndpoint(NativeBackend):
    """Runs programs on a server: `RuntimeEndpoint("http://localhost:30000")` with its address, without `/v1`.

    Conversations are rendered with the chat template that the server reports in `/get_server_info`, else with that of its
    model in `workbench.lang.chat_template`. `chat_template` (a .jinja file or its text) or `chat_template_name` replaces it.
    `verify` is a file of certificates to check an https address against.
    Raises BackendFailed if no server answers, InvalidRequest for a wrong address or two templates.
    """

    name = "RuntimeEndpoint"
    always_streams = True

    def __init__(
        self, base_url: str, api_key: str | None = None, verify: str | None = None, chat_template_name: str | None = None, *,
        chat_template: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if base_url.rstrip("/").endswith("/v1"):
            raise InvalidRequest("base_url", base_url, "the server's address without /v1")
        if chat_template is not None and chat_template_name is not None:
            raise InvalidRequest.because(
                "chat_template", "chat_template and chat_template_name are both given", hint="keep one of them"
            )
        self._server = Server(base_url, {} if api_key is None else {"Authorization": f"Bearer {api_key}"}, verify)
        self.base_url = self._server.url
        self._given_template = None if chat_template is None else read_template(chat_template)
        self.model_info: dict[str, Any] = json.loads(self._server.call("GET", "/get_model_info"))
        self.model = str(self.model_info.get("model_path", ""))
        self.see(self.model_info.get("picture_marks") or {})
        self.chat_template = None if chat_template_name is None else get_chat_template(chat_template_name)

    @cached_property
    def _tokenizer(self) -> dict[str, Any]:
        """Facts about the server's tokenizer (`workbench.text.chat.facts`); empty if it reports none."""
        found = self.get_server_info().get("tokenizer")
        return found if isinstance(found, dict) else {}

    @cached_property
    def _template(self) -> Template:
        source = self._given_template or self._tokenizer.get("chat_template")
        if not source:
            if (known := matching_template(self.model)) is not None:
                return known
            raise NotSupported(
                f"the server at {self.base_url} names no chat template, and its model {self.model} is not known to have one",
                hint='give one: RuntimeEndpoint(url, chat_template_name="default"), or chat_template=PATH.jinja',
            )
        return JinjaTemplate(source, {name: text for name, text in self._tokenizer.items() if name.endswith("_token")})

    def template(self) -> Template:
        """Returns the server's chat template, or the one known for its model. Raises NotSupported if there is none."""
        return self._template

    def prompt_body(self, text: str, *, is_rendered: bool) -> PromptBody:
        """Returns the text without the begin token of the template: the server adds its own to every text."""
        bos = self.get_chat_template().bos_token if is_rendered else ""
        doubled = bos and text.startswith(bos) and self._tokenizer.get("adds_bos", True)
        return {"text": text[len(bos) :] if doubled else text}

    @property
    def start_ids(self) -> tuple[int, ...]:
        """Token before any text, as the server reports it; empty if it does not."""
        start = self._tokenizer.get("start_id")
        return (start,) if isinstance(start, int) else ()

    def send(self, body: GenerateBody, rids: Sequence[str]) -> list[Completion]:
        """Sends a batch and returns its results. Raises BackendFailed for an error of the server."""
        watch = (lambda cut: self.abortable(rids[0], cut)) if rids else None
        results = json.loads(self._server.call("POST", "/generate", body, watch))
        return results if isinstance(results, list) else [results]

    def stream(self, body: GenerateBody, rid: str) -> Iterator[Completion]:
        """Returns the results of one prompt as they grow. Raises BackendFailed for an error of the server."""
        chunks = self._server.events("/generate", {**body, "stream": True}, lambda cut: self.abortable(rid, cut))
        return cast("Iterator[Completion]", chunks)

    def flush_cache(self) -> None:
        """Drops the server's cached prefixes. Raises BackendFailed for an error of the server."""
        self._server.call("POST", "/flush_cache")

    def get_server_info(self) -> dict[str, Any]:
        """Returns the settings and state that the server reports. Raises BackendFailed for an error of the server."""
        info: dict[str, Any] = json.loads(self._server.call("GET", "/get_server_info"))
        return info

    def get_model_name(self) -> str:
        """Returns the model that the server named when this backend was made."""
        return self.model

    def cache_prefix(self, prefix: str) -> None:
        """Computes a text that later prompts begin with, so that the server's cache has it. Raises what `send` raises."""
        self.send({"text": prefix, "sampling_params": {"max_new_tokens": 0}}, [])
