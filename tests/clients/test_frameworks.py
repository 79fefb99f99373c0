"""Frameworks that people put in front of a model: litellm, LangChain, instructor, PydanticAI, outlines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import transformers
from weather import Weather

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ASK = "Name a colour."
HELLO = [{"role": "user", "content": ASK}]


@pytest.fixture(scope="module")
def expected(client):
    """The answer of OpenAI's own client."""
    answer = client.chat.completions.create(model="any", messages=HELLO, temperature=0, max_tokens=16)
    return answer.choices[0].message.content


def test_litellm_answers_streams_and_counts(require, v1, expected):
    litellm = require("litellm")
    call = {"model": "openai/any", "api_base": v1, "api_key": "any", "messages": HELLO, "temperature": 0, "max_tokens": 16}
    answer = litellm.completion(**call)
    assert answer.choices[0].message.content == expected
    assert answer.usage.completion_tokens <= 16
    assert "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(**call, stream=True)) == expected
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(**call | {"temperature": -1})
    tools = [{"type": "function", "function": {"name": "weather", "parameters": Weather.model_json_schema()}}]
    called = litellm.completion(**call | {"max_tokens": 80}, tools=tools, tool_choice="required")
    Weather.model_validate_json(called.choices[0].message.tool_calls[0].function.arguments)


def test_langchain_answers_streams_and_parses(require, v1, expected):
    langchain = require("langchain_openai")
    model = langchain.ChatOpenAI(base_url=v1, api_key="any", model="any", temperature=0, max_tokens=16)
    answer = model.invoke(ASK)
    assert answer.content == expected
    assert answer.usage_metadata["output_tokens"] <= 16
    assert "".join(chunk.content for chunk in model.stream(ASK)) == expected
    longer = langchain.ChatOpenAI(base_url=v1, api_key="any", model="any", temperature=0, max_tokens=80)
    for method in ("json_schema", "function_calling"):
        assert isinstance(longer.with_structured_output(Weather, method=method).invoke(ASK), Weather)
    called = longer.bind_tools([Weather], tool_choice="any").invoke(ASK)
    assert Weather.model_validate(called.tool_calls[0]["args"])


def test_instructor_returns_the_model_in_each_mode(require, v1, client):
    instructor = require("instructor")
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        patched = instructor.from_openai(client, mode=mode)
        call = {"model": "any", "messages": HELLO, "temperature": 0, "max_tokens": 80, "max_retries": 0}
        assert isinstance(patched.chat.completions.create(response_model=Weather, **call), Weather)


def test_pydantic_ai_answers_and_returns_the_model(require, v1, expected):
    require("pydantic_ai")
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("any", provider=OpenAIProvider(base_url=v1, api_key="any"))
    settings = {"temperature": 0, "max_tokens": 16}
    answer = Agent(model, model_settings=settings).run_sync(ASK)
    assert answer.output == expected
    agent = Agent(model, output_type=Weather, model_settings=settings | {"max_tokens": 80})
    assert isinstance(agent.run_sync(ASK).output, Weather)


def test_outlines_constrains_through_its_sglang_model(require, client):
    outlines = require("outlines")
    from outlines import regex

    model = outlines.from_sglang(client, "any")
    made = model(ASK, Weather, max_tokens=60, temperature=0)
    assert Weather.model_validate(json.loads(made))
    assert model(ASK, regex(r"[A-Z][a-z]{2,5}!"), max_tokens=20, temperature=0).endswith("!")
    assert model(ASK, Literal["red", "blue"], max_tokens=20, temperature=0) in ("red", "blue")


def test_guidellm_measures_the_server(require, url, smollm2, tmp_path):
    require("guidellm")
    path = Path(smollm2)
    transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "out.json"
    command = [
        str(Path(sys.executable).with_name("guidellm")), "run", "--backend", f"kind=openai_http,target={url}", "--profile",
        "kind=concurrent,streams=2", "--constraint", "kind=max_requests,count=4", "--tokenizer",
        f"kind=hf_auto,model={tmp_path}/tokenizer", "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=8", "--output",
        f"kind=json,path={out}", "--disable-console",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert run.returncode == 0, run.stderr[-2000:]
    totals = json.loads(out.read_text())["benchmarks"][0]["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (4, 0)
