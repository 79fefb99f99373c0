"""Programs on a server that speaks the reference's native HTTP API (`/generate` and its neighbours)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from workbench.errors import InvalidRequest, NotSupported
from workbench.lang.backends.http import Server
from workbench.lang.backends.native import Body, NativeBackend, Result
from workbench.lang.chat import ChatTemplate, JinjaTemplate
from workbench.text.chat import read_template


class RuntimeEndpoint(NativeBackend):
    """`RuntimeEndpoint("http://localhost:30000")`: the address of a running server, without `/v1`.

    Roles are written with the chat template that the server names in `/get_server_info`; for a server that names none,
    give it as `chat_template` (a .jinja file or its text). Raises BackendFailed where no server answers.
    """

    name = "RuntimeEndpoint"
    always_streams = True

    def __init__(self, base_url: str, *, api_key: str | None = None, chat_template: str | None = None) -> None:
        super().__init__()
        if base_url.rstrip("/").endswith("/v1"):
            raise InvalidRequest("base_url", base_url, "the server's address without /v1")
        self._server = Server(base_url, {} if api_key is None else {"Authorization": f"Bearer {api_key}"})
        self.base_url = self._server.url
        self._given_template = None if chat_template is None else read_template(chat_template)
        self.model = str(json.loads(self._server.call("GET", "/get_model_info")).get("model_path", ""))

    @cached_property
    def _tokenizer(self) -> dict[str, Any]:
        """What the server says of its tokenizer (`workbench.text.chat.facts`); empty where it says nothing."""
        found = self.get_server_info().get("tokenizer")
        return found if isinstance(found, dict) else {}

    @cached_property
    def _template(self) -> ChatTemplate:
        source = self._given_template or self._tokenizer.get("chat_template")
        if not source:
            raise NotSupported(
                f"the server at {self.base_url} names no chat template",
                hint="give one: RuntimeEndpoint(url, chat_template=PATH.jinja), or write the program without roles",
            )
        return JinjaTemplate(source, {name: text for name, text in self._tokenizer.items() if name.endswith("_token")})

    def template(self) -> ChatTemplate:
        return self._template

    def prompt_body(self, text: str, *, is_rendered: bool) -> dict[str, Any]:
        """The server adds its begin token to every text, so the one that the template wrote goes."""
        bos = self._template.bos_token if is_rendered else ""
        doubled = bos and text.startswith(bos) and self._tokenizer.get("adds_bos", True)
        return {"text": text[len(bos) :] if doubled else text}

    @property
    def start_ids(self) -> tuple[int, ...]:
        start = self._tokenizer.get("start_id")
        return (start,) if isinstance(start, int) else ()

    def send(self, body: Body, rids: Sequence[str]) -> list[Result]:
        watch = (lambda cut: self.abortable(rids[0], cut)) if rids else None
        results = json.loads(self._server.call("POST", "/generate", body, watch))
        return results if isinstance(results, list) else [results]

    def stream(self, body: Body, rid: str) -> Iterator[Result]:
        return self._server.events("/generate", {**body, "stream": True}, lambda cut: self.abortable(rid, cut))

    def flush_cache(self) -> None:
        self._server.call("POST", "/flush_cache")

    def get_server_info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads(self._server.call("GET", "/get_server_info"))
        return info
