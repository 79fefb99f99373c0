"""Features of LiteLLM alone: its features and parameters depend on the provider."""

from __future__ import annotations

import pytest

import workbench as sgl
from workbench.errors import BackendFailed, BackendLacks


def run(backend, body):
    return sgl.function(body).run(backend=backend)


@pytest.mark.parametrize("place", ["litellm"], indirect=True)
def test_what_a_provider_takes_is_sent(place):
    params = {"seed": 5, "frequency_penalty": 0.5, "max_tokens": 3}
    assert run(place.backend, lambda s: s.__iadd__("a b" + sgl.gen("x", **params)))["x"] == "You said 2"
    assert {name: place.body[name] for name in params} == params


@pytest.mark.parametrize("place", ["litellm"], indirect=True)
def test_log_probabilities_come_with_the_texts_of_the_tokens(place):
    meta = run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", top_logprobs_num=1))).get_meta_info("x")
    assert meta["output_token_logprobs"][1] == [-0.5, None, " said"]
    assert meta["output_top_logprobs"][1] == [[-1.0, None, " said0"]]


@pytest.mark.parametrize("place", ["litellm on anthropic"], indirect=True)
@pytest.mark.parametrize("params, feature", [({"seed": 5}, "seed"), ({"n": 2}, "n"), ({"return_logprob": True}, "logprobs")])
def test_what_a_provider_does_not_take_is_refused(place, params, feature):
    with pytest.raises(BackendLacks, match=f"LiteLLM cannot do: {feature}"):
        run(place.backend, lambda s: s.__iadd__("a" + sgl.gen("x", **params)))
    assert place.server.requests == []


@pytest.mark.parametrize("place", ["litellm"], indirect=True)
def test_an_unknown_provider_is_an_error_when_the_backend_is_made(place):
    with pytest.raises(BackendFailed, match="LLM Provider NOT provided"):
        sgl.LiteLLM("no-such-model-anywhere")
