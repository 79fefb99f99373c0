"""Fixtures with every vendor's backend, which uses the vendor's own package against a stand-in of its API."""

from __future__ import annotations

import asyncio
import importlib.metadata
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
from anthropic_server import AnthropicServer
from gemini_server import GeminiServer
from openai_server import OpenAIServer
from vendor_server import Vendor, serving

import workbench as sgl

KEY = Vendor().key


def openai(url, **more):
    return sgl.OpenAI("gpt-4o", **{"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0} | more)


def anthropic(url, **more):
    return sgl.Anthropic("claude-sonnet-5", **{"base_url": url, "api_key": KEY, "max_retries": 0} | more)


def vertexai(url, **more):
    return sgl.VertexAI("gemini-2.5-flash", **{"base_url": url, "api_key": KEY} | more)


def litellm(url, **more):
    return sgl.LiteLLM("openai/gpt-4o", **{"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0} | more)


def litellm_anthropic(url, **more):
    return sgl.LiteLLM("anthropic/claude-3-haiku-20240307", **{"base_url": url, "api_key": KEY, "max_retries": 0} | more)


MAKERS = {
    "openai": (OpenAIServer, openai, "openai"),
    "anthropic": (AnthropicServer, anthropic, "anthropic"),
    "vertexai": (GeminiServer, vertexai, "google-genai"),
    "litellm": (OpenAIServer, litellm, "litellm"),
    "litellm on anthropic": (AnthropicServer, litellm_anthropic, "litellm"),
}
"""The vendors' stand-ins, backends and packages by name."""


@dataclass
class Place:
    """A backend and its server."""

    make: Any
    url: str
    server: Any
    backend: Any

    @property
    def body(self) -> dict[str, Any]:
        """Body of the last request."""
        return self.server.requests[-1][1]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Messages of the last request as (role, text), in one form for all vendors."""
        system = self.body.get("system") or self.body.get("systemInstruction")
        messages = [("system", _text(system))] if system else []
        for message in self.body.get("messages") or self.body["contents"]:
            role = {"model": "assistant"}.get(message["role"], message["role"])
            messages.append((role, _text(message.get("content", message.get("parts")))))
        return messages


def _text(content):
    content = content["parts"] if isinstance(content, dict) else content
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def need_package(name):
    """Looks for the package without importing it, because the tests cover the backend's own import."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the package {name} is not installed")


@pytest.fixture(scope="session")
def open_places():
    """One server and one backend of each kind for all tests, because a vendor's client takes 0.1 s to make."""
    with ExitStack() as stack:
        places = {}

        def open_place(kind):
            if kind not in places:
                new_server, make, _ = MAKERS[kind]
                server = new_server()
                url = stack.enter_context(serving(server))
                places[kind] = Place(make, url, server, make(url))
            return places[kind]

        yield open_place


@pytest.fixture(params=MAKERS)
def place(request, open_places):
    """Backend and server of each kind in turn, the server reset."""
    need_package(MAKERS[request.param][2])
    asyncio.set_event_loop(None)  # LiteLLM makes an event loop in a thread that may have one, and leaves it open
    found = open_places(request.param)
    found.server.__init__()
    return replace(found)
