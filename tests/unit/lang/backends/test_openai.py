"""Features that only OpenAI's API has: text models, log-probabilities, several samples, other servers."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

import workbench as sgl
from workbench.errors import BackendFailed, BackendLacks, InvalidRequest

pytestmark = pytest.mark.parametrize("place", ["openai"], indirect=True)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def run(backend, body):
    return sgl.function(body).run(backend=backend)


def text_model(place, model="gpt-3.5-turbo-instruct", **more):
    return sgl.OpenAI(model, base_url=f"{place.url}/v1", api_key=place.server.key, max_retries=0, **more)


@pytest.fixture
def tokens(monkeypatch):
    """Words as tokens in OpenAI's tokenizer package, which would otherwise download the tokens of a model."""
    import tiktoken

    words = ["Anti", "dote", "disestablishmentarianism", " New", " York", " City", " London", "London", "Paris", "calculator"]
    pieces = [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words)]
    encoding = tiktoken.Encoding(
        "words", pat_str=r"Anti|\s?\w+|\W", mergeable_ranks={piece: i for i, piece in enumerate(pieces)},
        special_tokens={"<|endoftext|>": len(pieces)},
    )  # fmt: skip
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda model: encoding)
    return encoding


def test_a_text_model_continues_plain_text_and_has_no_roles(place):
    backend = text_model(place)
    state = run(backend, lambda s: s.__iadd__("one two" + sgl.gen("x")))
    path, body = place.server.requests[-1]
    assert (path, body["prompt"], body["max_tokens"]) == ("/v1/completions", "one two", 128)
    assert state["x"] == "You said 2 words."
    assert state.get_meta_info("x")["completion_tokens"] == 4
    with pytest.raises(BackendLacks, match="OpenAI cannot do: chat"):
        run(backend, lambda s: s.__iadd__(sgl.user("a") + sgl.assistant(sgl.gen("x"))))
    with pytest.raises(BackendLacks, match="OpenAI cannot do: image"):
        run(backend, lambda s: s.__iadd__(sgl.image(b"x") + "a" + sgl.gen("x")))


def test_which_endpoint_is_used_can_be_said(place):
    run(text_model(place, "mine", is_chat_model=False), lambda s: s.__iadd__("a" + sgl.gen("x")))
    run(text_model(place, "davinci-002", is_chat_model=True), lambda s: s.__iadd__("a" + sgl.gen("x")))
    assert [path for path, _ in place.server.requests] == ["/v1/completions", "/v1/chat/completions"]


def test_an_address_alone_takes_the_servers_first_model_and_needs_no_key(place, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    place.server.key = "none"
    backend = sgl.OpenAI(f"{place.url}/v1")
    assert backend.model == "first-model"
    assert run(backend, lambda s: s.__iadd__("a b c" + sgl.gen("x")))["x"] == "You said 3 words."


def test_the_length_limit_has_its_new_name_with_openai_itself(place, monkeypatch):
    run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", max_tokens=5)))
    assert "max_completion_tokens" not in place.body
    assert place.body["max_tokens"] == 5
    assert sgl.OpenAI("gpt-4o", api_key="k")._length_name == "max_completion_tokens"


def test_a_missing_key_or_model_is_an_error_when_the_backend_is_made(place, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BackendFailed, match="OpenAI") as caught:
        sgl.OpenAI("gpt-4o")
    assert "OPENAI_API_KEY" in caught.value.hint
    with pytest.raises(InvalidRequest, match="the name of a model, or the address"):
        sgl.OpenAI()


def test_the_request_id_goes_along(place):
    state = run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x")))
    assert place.server.headers[-1]["x-client-request-id"] == state.get_meta_info("x")["id"]


@pytest.mark.parametrize("is_chat_model", [True, False])
def test_several_samples_are_told_apart(place, is_chat_model):
    backend = text_model(place, is_chat_model=is_chat_model)
    state = run(backend, lambda s: s.__iadd__("a b" + sgl.gen("x", n=3, stop=["a", "b", "c", "d", "words"])))
    assert state["x"] == ["You s"] * 3 or state["x"] == ["You said 2 "] * 3
    metas = state.get_meta_info("x")
    assert [meta["prompt_tokens"] for meta in metas if "prompt_tokens" in meta] in ([], [2] * 3)
    assert not any("completion_tokens" in meta for meta in metas)


@pytest.mark.parametrize("is_chat_model", [True, False])
def test_log_probabilities_come_with_the_texts_of_the_tokens(place, is_chat_model):
    backend = text_model(place, is_chat_model=is_chat_model)
    meta = run(backend, lambda s: s.__iadd__("a" + sgl.gen("x", top_logprobs_num=2))).get_meta_info("x")
    assert meta["output_token_logprobs"] == [[-0.5, None, word] for word in ("You", " said", " 1", " words.")]
    assert meta["output_top_logprobs"][1] == [[-1.0, None, " said0"], [-2.0, None, " said1"]]
    assert meta["finish_reason"] == {"type": "stop", "matched": None}


def test_log_probabilities_and_a_stop_string_that_must_be_found_here_exclude_each_other(place):
    with pytest.raises(BackendLacks, match="logprobs together with stop='e'"):
        run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", return_logprob=True, stop=list("abcde"))))


def test_a_schema_is_sent_as_one_that_binds(place):
    place.server.answer = lambda prompt: '{"a": 1}'
    assert run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", json_schema=SCHEMA)))["x"] == '{"a": 1}'
    assert place.body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert place.body["response_format"]["json_schema"]["strict"] is True


def test_a_pydantic_model_is_sent_in_the_strict_form_that_openai_asks_for(place):
    class City(BaseModel):
        name: str
        size: int = 0

    class Answer(BaseModel):
        city: City
        note: str | None = None

    place.server.answer = lambda prompt: '{"city": {"name": "Oslo", "size": 1}, "note": null}'
    state = run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", json_schema=Answer)))
    assert Answer.model_validate_json(state["x"]).city.name == "Oslo"
    sent = place.body["response_format"]["json_schema"]["schema"]
    assert (sent["required"], sent["additionalProperties"]) == (["city", "note"], False)
    assert (sent["$defs"]["City"]["required"], sent["$defs"]["City"]["additionalProperties"]) == (["name", "size"], False)
    assert "default" not in str(sent)


def test_a_refusal_is_an_error(place):
    place.server.answer, place.server.refusal = (lambda prompt: ""), "I would rather not."
    with pytest.raises(BackendFailed, match="refused: I would rather not"):
        run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", json_schema=SCHEMA)))


def test_penalties_seed_and_bias_are_sent(place):
    params = {"frequency_penalty": 0.5, "presence_penalty": -0.5, "seed": 7, "logit_bias": {15: -1.0}}
    run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", **params)))
    assert {name: place.body[name] for name in params} == params | {"logit_bias": {"15": -1.0}}


def test_pictures_keep_their_address(place):
    url = "https://example.org/a.png"
    run(place.backend, lambda s: s.__iadd__(sgl.user(sgl.image(url) + "?") + sgl.assistant(sgl.gen("x"))))
    assert place.body["messages"][0]["content"][0] == {"type": "image_url", "image_url": {"url": url}}


def test_a_choice_of_a_model_that_refuses_temperature_0_is_asked_for_without(place):
    place.server.answer = lambda prompt: "b"
    backend = text_model(place, "thinker-1")
    assert run(backend, lambda s: s.__iadd__("Q" + sgl.select("x", ["a", "b"])))["x"] == "b"
    assert [body.get("temperature") for _, body in place.server.requests] == [0, None]


# -- choices of a text model --------------------------------------------------------------------------------------


def favourite(text, tokens):
    """Returns a model that writes `text`: of the allowed tokens it takes the longest that continues the text."""

    def pick(body):
        assert body["max_tokens"] == 1
        written = body["prompt"].removeprefix("Q: ")
        allowed = {tokens.decode([int(token)]) for token, bias in body["logit_bias"].items() if bias == 100}
        rest = text.removeprefix(written)
        begins = [word for word in allowed if word != "<|endoftext|>" and rest.startswith(word)]
        return max(begins, key=len, default="")

    return pick


@pytest.mark.parametrize(
    "wanted, choices, num_requests",
    [
        ("Paris", ["London", "Paris"], 1),
        (" New York City", [" New York", " New York City", " London"], 2),
        (" New York", [" New York", " New York City", " London"], 2),
        ("calculator", ["calculator"], 0),
        ("Antidisestablishmentarianism", ["Antidote", "Antidisestablishmentarianism"], 1),
    ],
)
def test_a_text_model_writes_the_option_with_only_the_options_tokens_allowed(place, tokens, wanted, choices, num_requests):
    place.server.pick_token = favourite(wanted, tokens)
    state = run(text_model(place), lambda s: s.__iadd__("Q: " + sgl.select("x", choices)))
    assert state["x"] == wanted
    assert state.get_meta_info("x")["num_requests"] == num_requests == len(place.server.requests)


def test_a_token_that_no_option_has_is_an_error(place, tokens):
    place.server.pick_token = lambda body: "other"
    with pytest.raises(BackendFailed, match=r"was asked for one of .* and wrote 'other'"):
        run(text_model(place), lambda s: s.__iadd__("Q: " + sgl.select("x", ["London", "Paris"])))


def test_a_text_model_whose_tokens_are_not_known_cannot_choose(place):
    with pytest.raises(BackendLacks, match="OpenAI cannot do: select"):
        run(text_model(place, "mine", is_chat_model=False), lambda s: s.__iadd__("Q: " + sgl.select("x", ["a", "b"])))
    assert place.server.requests == []


def test_further_keywords_reach_the_vendors_client(place):
    backend = text_model(place, organization="our-org", default_headers={"X-Mine": "1"})
    run(backend, lambda s: s.__iadd__("a" + sgl.gen("x")))
    assert (place.server.headers[-1]["openai-organization"], place.server.headers[-1]["x-mine"]) == ("our-org", "1")


# -- several generations in one call ------------------------------------------------------------------------------


def facts(s):
    s += "Name:" + sgl.gen("name", stop="\n") + "\nBirthday:" + sgl.gen("birthday", stop="\n")
    s += "\nJob:" + sgl.gen("job", stop="\n") + "\nWelcome.\n"


def facts_of_a_chat(s):
    s += sgl.system("You are helpful.") + sgl.user("A person, please.")
    with s.assistant():
        facts(s)


@pytest.mark.parametrize("body, is_chat_model", [(facts, False), (facts_of_a_chat, True)])
def test_several_generations_are_one_request(place, body, is_chat_model):
    story = "Name: Ann\nBirthday: May 1\nJob: cook\nWelcome.\n"
    place.server.answer = lambda prompt: story.removeprefix(prompt)
    state = sgl.function(body, num_api_spec_tokens=64).run(backend=text_model(place, is_chat_model=is_chat_model))
    assert [state[name] for name in ("name", "birthday", "job")] == [" Ann", " May 1", " cook"]
    ((_, sent),) = place.server.requests
    assert sent["max_tokens"] == 64
    assert "stop" not in sent
    if is_chat_model:
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert state.get_meta_info("name")["completion_tokens"] == (9 if is_chat_model else 8)
