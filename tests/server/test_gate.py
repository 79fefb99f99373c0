"""Keys, ids and limits: what every request passes first, on a server of a tiny model."""

from __future__ import annotations

import httpx
import pytest

from workbench.model.tiny import write_config

BODY = {"input_ids": [1, 2, 3], "sampling_params": {"max_new_tokens": 2, "ignore_eos": True}}
KEY, ADMIN = {"authorization": "Bearer secret-1"}, {"authorization": "Bearer secret-2"}
pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def http(tmp_path_factory, server_process):
    folder = str(write_config(tmp_path_factory.mktemp("model")))
    server = server_process(
        "--model-path", folder, "--load-format", "dummy", "--skip-tokenizer-init", "--max-total-tokens", "2000", "--api-key",
        "secret-1", "--admin-api-key", "secret-2", "--max-body-mb", "0.5", "--cors-origins", "http://good.example",
    )  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    server.close()


def test_every_route_but_health_needs_the_key(http):
    assert http.get("/health").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret-1"}):
        for method, path in (("POST", "/generate"), ("GET", "/v1/models"), ("GET", "/get_server_info"), ("GET", "/nothing")):
            answer = http.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert "secret" not in answer.text
    assert http.post("/generate", json=BODY, headers=KEY).status_code == 200
    assert http.post("/generate", json=BODY, headers={"x-api-key": "secret-1"}).status_code == 200


def test_management_has_a_key_of_its_own_and_no_answer_shows_one(http):
    assert http.post("/flush_cache", headers=KEY).status_code == 401
    assert http.post("/flush_cache", headers=ADMIN).status_code == 200
    info = http.get("/get_server_info", headers=KEY)
    assert (info.json()["api_key"], "secret" in info.text) == ("***", False)


def test_a_request_id_is_returned_unless_it_is_odd(http):
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert http.post("/generate", headers={"x-request-id": "mine-2"}).headers["x-request-id"] == "mine-2"
    for odd in ("a b", "", "x" * 3000):
        made = http.get("/health", headers={"x-request-id": odd}).headers["x-request-id"]
        assert made == odd[:128] or made.startswith("req_")


def test_a_large_body_is_refused_with_and_without_its_length(http):
    large = b" " * 600_000
    assert http.post("/generate", content=large, headers=KEY).status_code == 413
    pieces = (large[i : i + 1000] for i in range(0, len(large), 1000))
    assert http.post("/generate", content=pieces, headers=KEY).status_code == 413


def test_only_pages_of_named_origins_may_call(http):
    asked = {"origin": "http://good.example", "access-control-request-method": "POST"}
    assert http.options("/generate", headers=asked).headers["access-control-allow-origin"] == "http://good.example"
    assert (
        "access-control-allow-origin" not in http.options("/generate", headers=asked | {"origin": "http://evil.example"}).headers
    )


def test_wrong_methods_and_types_have_error_objects(http):
    assert http.get("/generate", headers=KEY).json()["error"]["type"] == "invalid_request_error"
    assert http.post("/generate", content=b"x", headers=KEY | {"content-type": "text/plain"}).status_code == 415
