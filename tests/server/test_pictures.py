"""Pictures through every API of a server answer as the engine does in this process."""

from __future__ import annotations

import base64
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "equal"))

import seeing
import test_llava as llava
from seeing import picture, png

import workbench

pytestmark = [pytest.mark.process, pytest.mark.heavy]
ONE, OTHER = png(picture(1)), png(picture(2))
TEXT, OTHER_TEXT = base64.b64encode(ONE).decode(), base64.b64encode(OTHER).decode()
URL = f"data:image/png;base64,{TEXT}"
GREEDY = {"max_new_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("allowed")
    (folder / "one.png").write_bytes(ONE)
    return folder


@pytest.fixture(scope="module")
def site(files: Path) -> Iterator[str]:
    """A web site with the picture, at a host that the server allows."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(files))

        def do_GET(self) -> None:
            if self.path == "/away":
                self.send_response(302)
                self.send_header("location", "http://localhost.example/one.png")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeing.saved(llava.made(), llava.processor(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(server_process: Any, folder: Path, files: Path) -> Iterator[Any]:
    server = server_process(
        "--model-path", str(folder), "--dtype", "float32", "--max-total-tokens", "2000", "--allowed-media", f"127.0.0.1,{files}"
    )
    yield server
    server.close()


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, str]:
    """The outputs of the engine in this process: of a plain prompt, and of a conversation."""
    with workbench.Engine(str(folder), dtype="float32", max_total_tokens=2000) as engine:
        parts = [{"type": "image", "image": ONE}, {"type": "text", "text": "Who?"}]
        chat = engine.chat([{"role": "user", "content": parts}], GREEDY)
        return {"plain": engine.generate("See <image>.", GREEDY, image_data=ONE)["text"], "chat": chat["text"]}


def post(server: Any, path: str, body: dict[str, Any]) -> Any:
    response = httpx.post(server.url + path, json=body, timeout=200)
    assert response.status_code == 200, response.text
    return response.json()


def test_generate(server: Any, answers: dict[str, str], files: Path, site: str):
    for source in (TEXT, [TEXT], URL, str(files / "one.png"), f"{site}/one.png"):
        body = {"text": "See <image>.", "sampling_params": GREEDY, "image_data": source, "modalities": ["image"]}
        result = post(server, "/generate", body)
        assert result["text"] == answers["plain"]
        assert result["meta_info"]["prompt_tokens"] == len("See .") + 16


def test_conversations_of_every_api(server: Any, answers: dict[str, str]):
    asked = {"type": "text", "text": "Who?"}
    image = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    limits = {"model": "m", "max_tokens": 8, "temperature": 0}
    openai = post(server, "/v1/chat/completions", {"messages": [{"role": "user", "content": [image, asked]}], **limits})
    assert openai["choices"][0]["message"]["content"] == answers["chat"]
    assert openai["usage"]["prompt_tokens"] == len("user: Who?assistant: ") + 16
    source = {"type": "base64", "media_type": "image/png", "data": TEXT}
    blocks = [{"type": "image", "source": source}, asked]
    anthropic = post(server, "/v1/messages", {"messages": [{"role": "user", "content": blocks}], **limits})
    assert anthropic["content"][0]["text"] == answers["chat"]
    options = {"model": "m", "stream": False, "options": {"num_predict": 8, "temperature": 0}}
    ollama = post(server, "/api/chat", {"messages": [{"role": "user", "content": "Who?", "images": [TEXT]}], **options})
    assert ollama["message"]["content"] == answers["chat"]
    generated = post(server, "/api/generate", {"prompt": "Who?", "images": [TEXT], **options})
    assert generated["response"] == answers["chat"]
    items = [{"role": "user", "content": [{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": "Who?"}]}]
    response = post(server, "/v1/responses", {"model": "m", "input": items, "max_output_tokens": 8, "temperature": 0})
    assert response["output"][0]["content"][0]["text"] == answers["chat"]
    tokens = post(server, "/tokenize", {"messages": [{"role": "user", "content": [image, asked]}]})
    assert tokens["count"] == openai["usage"]["prompt_tokens"]


def test_the_schema_has_pictures_with_the_meaning_of_each_field(server: Any):
    paths = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]

    def body(path: str) -> Any:
        return paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    chat, native, anthropic = map(body, ("/v1/chat/completions", "/generate", "/v1/messages"))
    image = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    video = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA", "fps": 2}}
    for part in (image, video):
        jsonschema.validate({"messages": [{"role": "user", "content": [part]}]}, chat)
    for wrong in ({**image, "image_url": {"detail": "low"}}, {**image, "image_url": {"url": URL, "detail": "none"}},
                  {**video, "video_url": {"url": URL, "fps": 0}}):  # fmt: skip
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"messages": [{"role": "user", "content": [wrong]}]}, chat)
    source = {"type": "base64", "media_type": "image/png", "data": TEXT}
    messages = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    jsonschema.validate({"messages": messages, "max_tokens": 1}, anthropic)
    for value in (TEXT, [TEXT, None], {"url": [TEXT, TEXT], "fps": 1}, [[{"url": TEXT, "num_frames": 3}], [TEXT]], None):
        jsonschema.validate({"text": "x", "image_data": value}, native)
    parts = chat["properties"]["messages"]["items"]["properties"]["content"]["anyOf"][1]["items"]["anyOf"][1:]
    fields = {
        name: field
        for part in parts
        for each in part["properties"].values()
        for name, field in each.get("properties", {}).items()
    }
    assert set(fields) == {"url", "detail", "fps", "num_frames"}
    assert all(field["description"].endswith(".") for field in fields.values())


def test_two_pictures_differ(server: Any):
    texts = [
        post(server, "/generate", {"text": "See <image>.", "sampling_params": GREEDY, "image_data": one})["text"]
        for one in (TEXT, OTHER_TEXT)
    ]
    assert texts[0] != texts[1]


REFUSED: dict[str, tuple[str, str]] = {
    "text": ("no base64 of anything!", "a URL or file that allowed_media names"),
    "file": (__file__, "a URL or file that allowed_media names"),
    "home": ("~nobody/x.png", "a URL or file that allowed_media names"),
    "host": ("https://example.org/one.png", "not fetched from example.org"),
    "away": ("SITE/away", "not fetched from localhost.example"),
    "missing": ("SITE/none.png", "cannot be fetched"),
    "bytes": (base64.b64encode(b"no picture at all").decode(), "it must be a picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(server: Any, site: str, name: str):
    source, message = REFUSED[name]
    body = {"text": "See <image>.", "sampling_params": GREEDY, "image_data": source.replace("SITE", site)}
    response = httpx.post(server.url + "/generate", json=body, timeout=200)
    assert response.status_code in (400, 501), response.text
    assert message in response.text
    assert post(server, "/generate", {"text": "x", "sampling_params": GREEDY})["meta_info"]["completion_tokens"] == 8
