"""Conversations in templates of several kinds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, models

from workbench.errors import InvalidRequest
from workbench.server.chat.call import ChatCall
from workbench.server.chat.prompt import render_chat

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
EACH = "{% for m in messages %}[{{ m.role }}:{{ m.content }}BODY]{% endfor %}"
OBJECTS = EACH.replace("BODY", "{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}")
JOINED = EACH.replace("BODY", "{% for c in m.tool_calls %}{{ '>' + c.function.arguments }}{% endfor %}")
PLAIN = EACH.replace("BODY", "")


def rendered(template: str, *messages, tools=(), **call) -> str:
    hf = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    hf.chat_template = template
    handle: Any = SimpleNamespace(tokenizer=SimpleNamespace(hf=hf), sees=False)
    return render_chat(handle, ChatCall(messages=messages, **call), tools)[0]


@pytest.mark.parametrize(
    "template, expected",
    [(OBJECTS, '[assistant:{"a": 1}]'), (JOINED, '[assistant:>{"a": 1}]'),
     (PLAIN, '[assistant:{"name": "f", "arguments": {"a": 1}}]')],
    ids=["objects", "text", "none"],
)  # fmt: skip
def test_arguments_of_calls_have_the_form_that_the_template_takes(template: str, expected: str) -> None:
    assert rendered(template, {"role": "assistant", "content": None, "tool_calls": CALLS}) == expected


def test_tools_and_developers_have_a_place_in_every_template() -> None:
    user = {"role": "user", "content": "Hi"}
    assert '"name": "f"' in rendered(PLAIN, user, tools=TOOLS)
    assert rendered("{{ tools[0].function.name }}", user, tools=TOOLS) == "f"
    assert rendered(PLAIN, {"role": "developer", "content": "Be brief."}) == "[system:Be brief.]"
    assert rendered("{{ thinking }}", user, chat_template_kwargs={"thinking": "on"}) == "on"


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "tools", "conversation"])
def test_a_client_sets_variables_and_nothing_else(name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        rendered(PLAIN, {"role": "user", "content": "Hi"}, chat_template_kwargs={name: 1})


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no') }}", "{{ 1 + 'a' }}", "{{ ().__class__.__base__.__subclasses__() }}"]
)
def test_a_refusal_of_the_template_is_the_request_s_fault(template: str) -> None:
    with pytest.raises(InvalidRequest, match=r"messages|template"):
        rendered(template, {"role": "user", "content": "Hi"})
