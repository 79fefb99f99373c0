"""The quick starts of the vendors' backends run unchanged against stand-ins of the vendors' APIs."""

from __future__ import annotations

import importlib.metadata
import runpy
from contextlib import suppress
from pathlib import Path

import pytest
from anthropic_server import AnthropicServer
from gemini_server import GeminiServer
from openai_server import OpenAIServer
from vendor_server import serving

import workbench as sgl
from workbench.errors import InvalidRequest
from workbench.lang.default import default_backend

SCRIPTS = Path(__file__).parents[3] / "docs/examples/quick_start"


class AzureServer(OpenAIServer):
    def refuses(self, headers):
        return headers.get("api-key") != self.key

    def events(self, path, body):
        assert "api-version=" in path
        return super().events(path.partition("?")[0], body)


def openai(url, key):
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key}


def service(url, key):
    return {"SERVICE_URL": f"{url}/v1", "SERVICE_API_KEY": key, "SERVICE_MODEL": "first-model"}


def azure(url, key):
    return {"AZURE_OPENAI_ENDPOINT": url, "AZURE_OPENAI_API_KEY": key, "AZURE_OPENAI_DEPLOYMENT": "mine"}


def anthropic(url, key):
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}


def gemini(url, key):
    return {"GOOGLE_GEMINI_BASE_URL": url, "GOOGLE_API_KEY": key}


VENDORS = {
    "openai_example_chat": (OpenAIServer, openai, "openai"),
    "openai_example_complete": (OpenAIServer, openai, "openai"),
    "openai_example_n": (OpenAIServer, openai, "openai"),
    "openai_example_ahead": (OpenAIServer, openai, "openai"),
    "compatible_example_chat": (OpenAIServer, service, "openai"),
    "azure_openai_example_chat": (AzureServer, azure, "openai"),
    "anthropic_example_chat": (AnthropicServer, anthropic, "anthropic"),
    "anthropic_example_complete": (AnthropicServer, anthropic, "anthropic"),
    "gemini_example_chat": (GeminiServer, gemini, "google-genai"),
    "gemini_example_complete": (GeminiServer, gemini, "google-genai"),
    "litellm_example_chat": (OpenAIServer, openai, "litellm"),
}
NUM_REQUESTS = {"n": 1, "ahead": 1, "chat": 8, "complete": 4}


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendors_quick_start_runs(name, monkeypatch, capsys):
    new_server, environment, package = VENDORS[name]
    if not any(True for _ in importlib.metadata.distributions(name=package)):
        pytest.skip(f"the package {package} is not installed")
    server = new_server()
    server.answer = lambda prompt: " Ada.\nFrom: Rome.\nSaw: the sea.\n"
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with serving(server) as url:
        for variable, value in environment(url, server.key).items():
            monkeypatch.setenv(variable, value)
        try:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        finally:
            with suppress(AttributeError):  # LiteLLM has no client of its own
                default_backend()._client.close()
            sgl.set_default_backend(None)
    assert "Ada." in capsys.readouterr().out
    assert len(server.requests) == NUM_REQUESTS[name.rsplit("_", 1)[1]]


def test_every_quick_start_is_tested():
    local = {"programs", "local_example_chat", "local_example_complete"}
    assert {path.stem for path in SCRIPTS.glob("*.py")} == VENDORS.keys() | local


def test_a_model_has_one_name_by_either_argument():
    with pytest.raises(InvalidRequest, match="model is 'a' and model_name is 'b'"):
        sgl.OpenAI("a", model_name="b", api_key="k")
    with pytest.raises(InvalidRequest, match="model is None, it must be the name of a model"):
        sgl.Anthropic(api_key="k")
