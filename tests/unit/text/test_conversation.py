"""Conversation forms: the text that each built-in name and each JSON file writes."""

from __future__ import annotations

import json

import pytest
import transformers
from tokenizers import Tokenizer, models

from workbench.errors import InvalidRequest, NotSupported
from workbench.text import chat
from workbench.text.conversation import BUILT_IN, Conversation, find_conversation

TURNS = [{"role": role, "content": f"<{role}>"} for role in ("system", "user", "assistant", "user")]
FILE = {
    "name": "mine", "system": "<|im_start|>system", "user": "<|im_start|>user", "assistant": "<|im_start|>assistant",
    "sep_style": "CHATML", "sep": "<|im_end|>", "stop_str": ["<|im_end|>", "<|im_start|>"],
}  # fmt: skip


def written(form: Conversation, messages, bos: str = "", **more) -> str:
    hf = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    hf.chat_template = form.jinja(bos)
    return chat.render(hf, messages, **more)


EXPECTED = {
    "llama-2": "<s>[INST] <<SYS>>\n<system>\n<</SYS>>\n\n<user> [/INST] <assistant> </s><s>[INST] <user> [/INST]",
    "chatml": (
        "<s><|im_start|>system\n<system><|im_end|>\n<|im_start|>user\n<user><|im_end|>\n"
        "<|im_start|>assistant\n<assistant><|im_end|>\n<|im_start|>user\n<user><|im_end|>\n<|im_start|>assistant\n"
    ),
    "vicuna_v1.1": "<s><system> USER: <user> ASSISTANT: <assistant></s>USER: <user> ASSISTANT:",
    "llama-3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\n<system><|eot_id|><|start_header_id|>user<|end_header_id|>\n\n<user>"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<assistant><|eot_id|><|start_header_id|>user<|end_header_id|>"
        "\n\n<user><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\n<system>\n\n<user><end_of_turn>\n<start_of_turn>model\n<assistant><end_of_turn>\n"
        "<start_of_turn>user\n<user><end_of_turn>\n<start_of_turn>model\n"
    ),
    "mistral": "<s>[INST] <system>\n\n<user> [/INST] <assistant></s>[INST] <user> [/INST]",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_built_in_form_writes_the_text_of_its_models(name: str) -> None:
    assert written(BUILT_IN[name], TURNS, bos="<s>") == EXPECTED[name]


@pytest.mark.parametrize("name", BUILT_IN)
def test_content_is_never_read_as_a_template(name: str) -> None:
    text = 'a "{{ messages }}" {% if %} \\n \U0001f600 BOS OPEN'
    assert text in written(BUILT_IN[name], [{"role": "user", "content": text}])


def test_a_default_system_message_stands_where_there_is_none() -> None:
    text = written(BUILT_IN["chatml"], TURNS[1:2], add_generation_prompt=False)
    assert text == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<user><|im_end|>\n"


def test_a_json_file_is_a_form(tmp_path) -> None:
    path = tmp_path / "form.json"
    path.write_text(json.dumps(FILE))
    form = find_conversation(str(path))
    assert written(form, TURNS) == EXPECTED["chatml"].removeprefix("<s>")
    assert form.stops == ("<|im_end|>", "<|im_start|>")


@pytest.mark.parametrize(
    "change, error, named",
    [
        ({"sep_style": "RWKV"}, NotSupported, "sep_style 'RWKV'"),
        ({"user": None}, InvalidRequest, "user"),
        ({"stop_str": [1]}, InvalidRequest, "stop_str"),
    ],
)
def test_a_wrong_file_is_refused_by_its_key(tmp_path, change, error, named) -> None:
    path = tmp_path / "form.json"
    path.write_text(json.dumps({**FILE, **change}))
    with pytest.raises(error, match=named):
        find_conversation(str(path))
    path.write_text(json.dumps({**FILE, "system": "SYSTEM BOS OPEN"}))
    assert written(find_conversation(str(path)), TURNS).startswith("SYSTEM BOS OPEN\n<system>")
    path.write_text("{")
    with pytest.raises(InvalidRequest, match="JSON file"):
        find_conversation(str(path))
    with pytest.raises(InvalidRequest, match="llama-2"):
        chat.read_template("llama-9")
