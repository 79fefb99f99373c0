"""Features that only Google's API has: project or key, thoughts, blocked prompts, token ids."""

from __future__ import annotations

import pytest

import workbench as sgl
from workbench.errors import BackendFailed, BackendLacks

pytestmark = pytest.mark.parametrize("place", ["vertexai"], indirect=True)


def run(place, body, backend=None):
    return sgl.function(body).run(backend=backend or place.backend)


def test_a_project_is_asked_through_vertex_ai(place, monkeypatch):
    from google.oauth2.credentials import Credentials

    monkeypatch.setenv("GOOGLE_API_KEY", "of another door")
    monkeypatch.setenv("GCP_PROJECT_ID", "ours")
    monkeypatch.setenv("GCP_LOCATION", "europe-west4")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    monkeypatch.delenv("GOOGLE_CLOUD_LOCATION", raising=False)
    backend = sgl.VertexAI("gemini-2.5-flash", base_url=place.url, credentials=Credentials(token=place.server.key))
    assert run(place, lambda s: s.__iadd__("a b" + sgl.gen("x")), backend)["x"] == "You said 2 words."
    path, _ = place.server.requests[-1]
    assert "/projects/ours/locations/europe-west4/publishers/google/models/gemini-2.5-flash:" in path


def test_a_missing_key_is_an_error_that_says_where_it_comes_from(place, monkeypatch):
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GCP_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendFailed) as caught:
        sgl.VertexAI("gemini-2.5-flash")
    assert "GOOGLE_API_KEY" in caught.value.hint


def test_options_of_the_packages_http_client_are_kept(place):
    backend = place.make(place.url, http_options={"timeout": 9000, "headers": {"X-Mine": "1"}})
    run(place, lambda s: s.__iadd__("a" + sgl.gen("x")), backend)
    assert place.server.headers[-1]["x-mine"] == "1"
    assert place.server.headers[-1]["x-server-timeout"] == "9"


def test_thoughts_are_counted_and_not_part_of_the_text(place):
    place.server.thought = "Hm."
    state = run(place, lambda s: s.__iadd__("a b" + sgl.gen("x")))
    assert state["x"] == "You said 2 words."
    assert state.get_meta_info("x")["completion_tokens"] == 4 + 7


def test_a_blocked_prompt_is_an_error(place):
    place.server.block_reason = "SAFETY"
    with pytest.raises(BackendFailed, match="refused the prompt: SAFETY"):
        run(place, lambda s: s.__iadd__("a" + sgl.gen("x")))


def test_log_probabilities_come_with_token_ids(place):
    meta = run(place, lambda s: s.__iadd__("a" + sgl.gen("x", top_logprobs_num=2))).get_meta_info("x")
    assert meta["output_token_logprobs"][:2] == [[-0.5, 3, "You"], [-0.5, 5, " said"]]
    assert meta["output_top_logprobs"][0] == [[-1.0, 0, "You0"], [-2.0, 1, "You1"]]


def test_the_configuration_is_in_googles_words(place):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    params = {"top_k": 7, "seed": 3, "presence_penalty": 0.5, "frequency_penalty": 0.25, "max_tokens": 9, "json_schema": schema}
    place.server.answer = lambda prompt: "{}"
    run(place, lambda s: s.__iadd__("a" + sgl.gen("x", **params)))
    config = place.body["generationConfig"]
    assert config["responseJsonSchema"] == schema
    assert config["responseMimeType"] == "application/json"
    names = ("topK", "seed", "presencePenalty", "frequencyPenalty", "maxOutputTokens")
    assert [config[name] for name in names] == [7, 3, 0.5, 0.25, 9]


def test_five_stop_strings_are_googles_and_the_sixth_is_found_here(place):
    place.server.answer = lambda prompt: "one f two"
    assert run(place, lambda s: s.__iadd__("p" + sgl.gen("x", stop=["1", "2", "3", "4", "5", "f"])))["x"] == "one "
    assert place.body["generationConfig"]["stopSequences"] == ["1", "2", "3", "4", "5"]


def test_pictures_keep_their_address(place):
    url = "https://example.org/a.webp?size=1"
    run(place, lambda s: s.__iadd__(sgl.user(sgl.image(url) + "?") + sgl.assistant(sgl.gen("x"))))
    data = place.body["contents"][0]["parts"][0]["fileData"]
    assert {name.replace("_", "").lower(): value for name, value in data.items()} == {"fileuri": url, "mimetype": "image/webp"}


def test_a_later_system_message_and_several_samples_are_refused(place):
    with pytest.raises(BackendLacks, match="a system message after others"):
        run(place, lambda s: s.__iadd__(sgl.user("b") + sgl.system("C") + sgl.assistant(sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="cannot do: n"):
        run(place, lambda s: s.__iadd__("a" + sgl.gen("x", n=2)))
    assert place.server.requests == []
