"""Constraints of tools: in every format the arguments of strict tools follow their schemas, and the parser reads them."""

from __future__ import annotations

import json
import re

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import workbench
from workbench.errors import InvalidRequest
from workbench.server.chat.call import ChatCall
from workbench.server.chat.constraint import constrained, response_fields
from workbench.server.chat.tools import FORMS, choose
from workbench.tool_calls import parse
from workbench.tool_calls.reasoning import REASONING_FORMATS

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
STRICT = [{"type": "function", "function": {"name": f"f{i}", "parameters": SCHEMA, "strict": True}} for i in range(2)]
LOOSE = [{"type": "function", "function": {"name": "f0", "parameters": SCHEMA}}]


@pytest.fixture(scope="module")
def hf():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate([*letters, "<end>"])}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def accepts(hf, fields, text: str) -> bool:
    matcher = workbench.Grammar(tokenizer=hf, **fields).compiled.start()
    return matcher.accept_bytes(text.encode()) == len(text.encode()) and matcher.is_complete


def written(name: str, arguments: list[str]) -> str:
    """Returns calls of f0, f1, ... as a format writes them."""
    form = FORMS[name]
    begins = [form.begin.replace("NAME", f'"f{i}"').replace("PLAIN", f"f{i}") for i in range(len(arguments))]
    calls = [begin + text + form.end for begin, text in zip(begins, arguments, strict=True)]
    return form.open + form.separator.join(calls) + form.close


def fields_of(parser: str, **call):
    choice = choose(ChatCall(messages=[], **call), parser, "")
    return constrained({}, choice, None, False)


@pytest.mark.parametrize("name", FORMS)
def test_a_forced_call_is_one_that_the_parser_reads_and_nothing_else(hf, name: str) -> None:
    fields = fields_of(name, tools=STRICT, tool_choice="required")
    two = written(name, ['{"n": 1}', '{"n": -22}'])
    assert accepts(hf, fields, two)
    content, calls = parse(name, two, {"f0", "f1"})
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("f0", {"n": 1}), ("f1", {"n": -22})]
    assert content == ""
    for text in ("", "prose", "prose " + two, two + " prose", written(name, ['{"n": "1"}']), written(name, ["{}"])):
        assert not accepts(hf, fields, text), text
    only = fields_of(name, tools=STRICT, tool_choice="required", parallel_tool_calls=False)
    assert (accepts(hf, only, written(name, ['{"n": 1}'])), accepts(hf, only, two)) == (True, False)


@pytest.mark.parametrize("name", FORMS)
def test_a_strict_tool_leaves_text_free_and_no_argument(hf, name: str) -> None:
    fields = fields_of(name, tools=STRICT)
    assert accepts(hf, fields, "Prose, <b>not</b> a call.")
    assert accepts(hf, fields, written(name, ['{"n": 1}']))
    for arguments in ("{}", '{"n": "1"}', '{"m": 1}'):
        assert not accepts(hf, fields, written(name, [arguments]))
    assert fields_of(name, tools=LOOSE) == {}, "without strict tools the text is free"


def test_a_named_choice_has_one_tool_and_a_set_of_allowed_ones_some(hf) -> None:
    named = {"type": "function", "function": {"name": "f1"}}
    assert choose(ChatCall(messages=[], tools=STRICT, tool_choice=named), None, "").names == {"f1"}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": STRICT[:1]}}
    choice = choose(ChatCall(messages=[], tools=STRICT, tool_choice=allowed), None, "")
    assert (choice.names, choice.is_forced) == ({"f0"}, False)
    assert choose(ChatCall(messages=[], tools=STRICT, tool_choice="none"), None, "") is None


@pytest.mark.parametrize("mark, name", [("<tool_call>", "hermes"), ("[TOOL_CALLS]", "mistral"), ("", "llama3")])
def test_without_a_setting_the_template_names_the_format(mark: str, name: str) -> None:
    assert choose(ChatCall(messages=[], tools=LOOSE), None, f"a {mark} b").parser == name


@pytest.mark.parametrize(
    "tools, choice, named",
    [
        ([], "required", "tools"),
        (LOOSE, "sometimes", "tool_choice"),
        (LOOSE, {"type": "function", "function": {"name": "g"}}, "f0"),
        (LOOSE, {"type": "function"}, "tool_choice"),
        ([{"type": "function", "function": {"name": ""}}], "auto", r"tools\[0\].function.name"),
        ([{"type": "function", "function": {"name": "f", "parameters": []}}], "auto", "parameters"),
        ([{"type": "code"}], "auto", r"tools\[0\]"),
        (LOOSE, {"type": "allowed_tools"}, "tool_choice"),
    ],
)
def test_an_impossible_choice_is_refused(tools, choice, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        choose(ChatCall(messages=[], tools=tools, tool_choice=choice), "hermes", "")


def test_json_begins_behind_the_reasoning(hf) -> None:
    fields = response_fields({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}})
    optional = constrained(fields, None, REASONING_FORMATS["qwen3"], False)
    assert accepts(hf, optional, '<think>Hm {"n": "x"}</think>{"n": 1}')
    assert accepts(hf, optional, '{"n": 1}')
    inside = constrained(fields, None, REASONING_FORMATS["deepseek-r1"], True)
    assert accepts(hf, inside, 'Hm</think>{"n": 1}')
    assert not accepts(hf, inside, '{"n": 1}')
    assert constrained({"regex": "a"}, None, REASONING_FORMATS["qwen3"], False) == {"regex": "a"}


def test_a_response_format_is_one_constraint() -> None:
    assert response_fields(None) == response_fields({"type": "text"}) == {}
    assert response_fields({"type": "json_object"}) == {"json_object": True}
    tag = {"type": "structural_tag", "structures": [], "triggers": []}
    assert response_fields(tag) == {"structural_tag": {"structures": [], "triggers": []}}
    for wrong in ({"type": "json_schema"}, {"type": "yaml"}, {}):
        with pytest.raises(InvalidRequest, match=re.escape("response_format")):
            response_fields(wrong)
