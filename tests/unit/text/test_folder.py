"""Chat templates are found in every place that a folder may keep them, and the one for tools is used with tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.text import chat
from workbench.text.folder import read_templates
from workbench.text.tokenizer import Tokenizer, load_tokenizer

HELLO = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def test_the_places_of_a_template_in_their_order(folder: Path):
    def config(template: object) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))

    config(None)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert read_templates(folder) is None
    config("in the config {{ messages }}")
    assert read_templates(folder) == "in the config {{ messages }}"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "in json {{ messages }}"}))
    assert load_tokenizer(folder).chat_text(HELLO).startswith("in json")
    (folder / "chat_template.jinja").write_text("in jinja {{ messages }}")
    assert load_tokenizer(folder).chat_text(HELLO).startswith("in jinja")


@pytest.mark.parametrize("place", ["config", "files"])
def test_the_template_for_tools_is_used_with_tools(folder: Path, place: str):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    named = {"default": "plain {{ messages[0].content }}", "tool_use": "tools {{ tools | length }} {{ messages[0].content }}"}
    if place == "config":
        path = folder / "tokenizer_config.json"
        listed = [{"name": name, "template": template} for name, template in named.items()]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": listed}))
    else:
        (folder / "chat_template.jinja").write_text(named["default"])
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates/tool_use.jinja").write_text(named["tool_use"])
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_text(HELLO) == "plain hi"
    assert tokenizer.chat_text(HELLO, tools=TOOLS) == "tools 1 hi"
    assert chat.facts(tokenizer.hf)["chat_template"] == named["default"]
    assert tokenizer.chat_text(HELLO, chat_template="own") == "own"


BOS, EOS = "<s>", "</s>"


@pytest.mark.parametrize(
    "kind, stated, wanted",
    [
        ("LlamaTokenizerFast", {"add_bos_token": True, "add_eos_token": False}, (BOS,)),
        ("LlamaTokenizer", {"add_bos_token": True, "add_eos_token": True}, (BOS, EOS)),
        ("CohereTokenizerFast", {"add_eos_token": True}, (EOS,)),
        ("GemmaTokenizerFast", {}, ()),
        ("PreTrainedTokenizerFast", {"add_bos_token": True}, ()),
    ],
)
def test_tokens_around_a_text_are_those_that_the_files_state(
    folder: Path, kind: str, stated: dict[str, bool], wanted: tuple[str]
):
    """The file tokenizer.json has none, as that of DeepSeek, whose class adds what is stated beside it."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": kind} | stated))
    tokenizer = load_tokenizer(folder)
    plain = tokenizer.encode("ab", add_special_tokens=False)
    before, after = ([tokenizer.backend.token_to_id(one)] if one in wanted else [] for one in (BOS, EOS))
    assert tokenizer.encode("ab") == (*before, *plain, *after)


def test_tokens_that_the_files_leave_out_do_not_stand_around_a_text(folder: Path):
    def stated(flag: bool) -> Tokenizer:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": flag}))
        return load_tokenizer(folder)

    first = stated(True)
    plain = first.encode("ab", add_special_tokens=False)
    first.hf.save_pretrained(folder)  # with the token in tokenizer.json
    assert stated(True).encode("ab") == first.encode("ab") == (first.hf.bos_token_id, *plain)
    assert stated(False).encode("ab") == plain
