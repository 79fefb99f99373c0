"""The tokenizer gives the results of transformers, and reports an error where it cannot."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import InvalidRequest, ModelCorrupt, ModelNotFound, NotSupported
from workbench.model.tiny import write_config
from workbench.text.tokenizer import Tokenizer, load_tokenizer

CONVERSATION = [
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": "sat"},
    {"role": "user", "content": "é?"},
]


def test_ids_are_those_of_transformers(tokenizer: Tokenizer) -> None:
    for text in ("", "the cat sat", "<|im_start|>user\n漢字 😀", " leading", "\ufffd"):
        assert tokenizer.encode(text) == tuple(tokenizer.hf.encode(text))
        assert tokenizer.decode(tokenizer.encode(text)) == tokenizer.hf.decode(tokenizer.encode(text), skip_special_tokens=True)


def test_a_bos_token_is_added_where_the_tokenizer_adds_one(gemma_tokenizer: Tokenizer, byte_level_tokenizer: Tokenizer) -> None:
    assert gemma_tokenizer.encode("the")[0] == gemma_tokenizer.bos_token_id == 0
    assert byte_level_tokenizer.encode("the")[0] != byte_level_tokenizer.bos_token_id


@pytest.mark.parametrize("add_generation_prompt", [True, False])
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "f", "parameters": {}}}]])
def test_chat_ids_are_those_of_transformers(tokenizer: Tokenizer, add_generation_prompt: bool, tools: list[dict] | None) -> None:
    ids = tokenizer.chat_ids(CONVERSATION, add_generation_prompt=add_generation_prompt, tools=tools)
    assert ids == tuple(
        tokenizer.hf.apply_chat_template(
            CONVERSATION, tokenize=True, add_generation_prompt=add_generation_prompt, tools=tools, return_dict=False
        )
    )


def test_a_bos_token_in_the_template_is_not_doubled(gemma_tokenizer: Tokenizer) -> None:
    ids = gemma_tokenizer.chat_ids([{"role": "user", "content": "a"}], chat_template="{{ bos_token }}{{ messages[0].content }}")
    assert ids.count(0) == 1


def test_truncation_and_padding_that_a_user_left_on_have_no_effect(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat sat on the mat")
    tokenizer.hf.pad_token = "</s>"
    tokenizer.hf("the cat sat", truncation=True, max_length=2, padding="max_length")
    assert tokenizer.backend.truncation is not None
    assert tokenizer.encode("the cat sat on the mat") == ids


def test_a_tokens_text_keeps_its_space(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat")
    assert "".join(tokenizer.token_text(i) for i in ids if i not in tokenizer.special_ids).strip() == "the cat"
    assert tokenizer.token_text(ids[-1]).endswith(("cat", "t"))
    assert tokenizer.token_text(2) == "<|im_start|>"
    assert tokenizer.token_text(tokenizer.vocab_size + 9) == ""


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        tokenizer.encode("a\ud800")


def test_a_folder_loads_with_every_end_token_it_names(folder: Path, byte_level_tokenizer: Tokenizer) -> None:
    loaded = load_tokenizer(folder)
    assert loaded.encode("the naïve 漢 <tool>") == byte_level_tokenizer.encode("the naïve 漢 <tool>")
    assert loaded.chat_ids(CONVERSATION) == byte_level_tokenizer.chat_ids(CONVERSATION)
    # </s> of the tokenizer, 7 of the generation config, 9 of the config, <|im_end|> of the chat template.
    assert loaded.eos_token_ids == {1, 7, 9, 3}
    assert load_tokenizer(folder, model_folder=folder.parent).eos_token_ids == {1, 3}


def test_the_chat_template_can_be_replaced_by_a_file(folder: Path) -> None:
    template = folder / "own.jinja"
    template.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    assert load_tokenizer(folder, chat_template=str(template)).chat_text(CONVERSATION) == "[the cat][sat][é?]"
    assert load_tokenizer(folder, chat_template="{{ messages[0].content }}").chat_text(CONVERSATION) == "the cat"
    with pytest.raises(InvalidRequest, match="chat_template"):
        load_tokenizer(folder, chat_template=str(folder / "none.jinja"))
    with pytest.raises(InvalidRequest, match="JSON file"):
        load_tokenizer(folder, chat_template="own.json")


def test_chat_without_a_template_names_the_option(byte_level_tokenizer: Tokenizer, folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(NotSupported, match="chat_template="):
        load_tokenizer(folder).chat_ids(CONVERSATION)


@pytest.mark.parametrize(
    "messages", ["hello", {"role": "user"}, [], ["hello"], [{"content": "x"}], [{"role": 1, "content": "x"}], 3]
)
def test_malformed_messages_are_refused(byte_level_tokenizer: Tokenizer, messages: object) -> None:
    with pytest.raises(InvalidRequest, match="messages"):
        byte_level_tokenizer.chat_ids(messages)  # type: ignore[arg-type]


def test_what_the_template_refuses_is_an_error_with_its_words(byte_level_tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        byte_level_tokenizer.chat_ids(CONVERSATION, chat_template="{{ raise_exception('roles must alternate') }}")


def test_missing_and_broken_folders_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        load_tokenizer(tmp_path / "nowhere")
    (folder / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(ModelCorrupt, match=str(folder)):
        load_tokenizer(folder)


def test_a_folder_without_a_tokenizer_is_told_in_our_words(tmp_path: Path) -> None:
    write_config(tmp_path / "model")
    with pytest.raises(ModelNotFound) as caught:
        load_tokenizer(tmp_path / "model")
    names = "tokenizer.json, tekken.json, tokenizer.model, *.tiktoken, tiktoken.model, vocab.json, vocab.txt"
    assert caught.value.message == f"{tmp_path / 'model'} has no tokenizer: none of {names}"
    assert caught.value.hint == "give another with tokenizer_path=, or load with skip_tokenizer_init and send token ids"


def test_code_of_the_model_runs_only_when_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}, "tokenizer_class": "OwnTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ran = folder / "ran"
    (folder / "own.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n"
        f"open({str(ran)!r}, 'w').close()\n"
        "class OwnTokenizer(PreTrainedTokenizerFast):\n    pass\n"
    )
    with contextlib.suppress(ModelCorrupt):
        load_tokenizer(folder)
    assert not ran.exists()
    assert load_tokenizer(folder, trust_remote_code=True).encode("the cat")
    assert ran.exists()


@pytest.mark.process
def test_loading_needs_neither_torch_nor_the_network(folder: Path) -> None:
    code = f"""
import socket, sys
socket.socket.connect = socket.getaddrinfo = None
sys.modules["torch"] = None
from workbench.text.tokenizer import load_tokenizer
print(load_tokenizer({str(folder)!r}).encode("the cat"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(")


@pytest.mark.model
def test_the_default_models_tokenizer(smollm2: str) -> None:
    tokenizer = load_tokenizer(smollm2)
    assert tokenizer.vocab_size == 49152
    assert tokenizer.eos_token_ids == {2}
    text = "Grüße, 漢字 12345\n\tdef f(x): 😀"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer.chat_ids([{"role": "user", "content": "Hi"}])
    assert ids == tuple(
        tokenizer.hf.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False)
    )
    assert tokenizer.decode(ids, skip_special_tokens=False).endswith("<|im_start|>assistant\n")
