"""Pictures that text looks at by cross attention, over HTTP: the answers are those of the engine in this process."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "equal"))

import seeing
import test_mllama as mllama
from seeing import picture, png
from test_mllama_in_engines import TEMPLATE

import workbench

pytestmark = [pytest.mark.process, pytest.mark.heavy]
ONE, OTHER = png(picture(1)), png(picture(2, 90, 20))
GREEDY = {"max_new_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = mllama.processor()
    words.tokenizer.chat_template = TEMPLATE
    return seeing.saved(mllama.made(), words, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(server_process: Any, folder: Path) -> Iterator[Any]:
    server = server_process("--model-path", str(folder), "--dtype", "float32", "--max-total-tokens", "2000", "--enable-metrics",
                            "--picture-memory-mb", "4")  # fmt: skip
    yield server
    server.close()


def asked(*shown: bytes, text: str = "Who?") -> dict[str, Any]:
    urls = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in shown]
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    messages = [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]
    return {"model": "m", "max_tokens": 8, "temperature": 0, "messages": messages}


def test_the_memory_of_pictures_is_a_metric(server: Any):
    assert httpx.post(f"{server.url}/v1/chat/completions", json=asked(ONE), timeout=200).status_code == 200
    lines = [line for line in httpx.get(f"{server.url}/metrics").text.splitlines() if line.startswith("workbench_picture_")]
    found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
    used = found["workbench_picture_bytes"]
    assert used > 0
    assert found["workbench_picture_usage"] == used / (4 << 20)
    assert httpx.get(f"{server.url}/get_server_info").json()["picture_bytes"] == used


def test_conversations_with_different_pictures_at_once(server: Any, folder: Path):
    bodies = [asked(ONE), asked(OTHER), asked(ONE, OTHER), asked()]
    with workbench.Engine(str(folder), dtype="float32", max_total_tokens=2000) as engine:
        wanted = [engine.chat(body["messages"], GREEDY)["text"] for body in bodies]
    assert len(set(wanted)) == 4

    def answer(body: dict[str, Any]) -> Any:
        response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=200)
        assert response.status_code == 200, response.text
        return response.json()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, bodies))
    assert [one["choices"][0]["message"]["content"] for one in answers] == wanted
    assert answers[2]["usage"]["prompt_tokens"] == len("user: Who?assistant: ") + 3


def test_a_text_that_names_no_picture_for_one_is_refused(server: Any):
    body = {"text": "See.", "sampling_params": GREEDY, "image_data": base64.b64encode(ONE).decode()}
    response = httpx.post(f"{server.url}/generate", json=body, timeout=200)
    assert response.status_code == 400
    assert "0 <|image|> for 1 picture" in response.text
