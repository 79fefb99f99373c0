"""Opens the tokenizer of a folder, by the files that are there."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from workbench.errors import ModelCorrupt, ModelNotFound, WorkbenchError, in_one_line
from workbench.text.hf import transformers

FILES = ("tokenizer.json", "tekken.json", "tokenizer.model", "*.tiktoken", "tiktoken.model", "vocab.json", "vocab.txt")
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
MOST_RESERVED = 4096
"""Ids behind the tokens of a file that may have none."""
SURROUNDED = frozenset({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"})
"""Classes of tokenizers whose code puts tokens around a text as `add_bos_token` and `add_eos_token` state."""
PREFIXES = {"ChatGLMTokenizer": ("[gMASK]", "sop"), "ChatGLM4Tokenizer": ("[gMASK]", "<sop>")}
"""Special tokens before every text, by the class of the tokenizer, where only its code has them."""
BEHIND = {
    "ChatGLMTokenizer": (
        "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
    )
}  # fmt: skip
"""Special tokens behind the pieces of a file, so too."""
TURNS = {"ChatGLMTokenizer": ("<|user|>", "<|observation|>")}
"""Those that end an answer, since another's turn begins with them."""


def open_folder(folder: Path, trust_remote_code: bool, mode: str) -> Any:
    """Returns the tokenizer in a folder as an object of transformers, without network access.

    Raises ModelNotFound, ModelCorrupt, ModelUnsupported.
    """
    if not folder.is_dir():
        raise ModelNotFound(f"there is no tokenizer folder {folder}", hint="give tokenizer_path= or skip_tokenizer_init=True")
    try:
        hf = _open(folder, trust_remote_code, mode)
    except WorkbenchError:
        raise
    except Exception as error:  # the Rust side raises plain Exception for a file it cannot read
        hint = "give another with tokenizer_path=, or load with skip_tokenizer_init and send token ids"
        if not any(any(folder.glob(name)) for name in FILES):
            raise ModelNotFound(f"{folder} has no tokenizer: none of {', '.join(FILES)}", hint=hint) from error
        raise ModelCorrupt(f"the tokenizer in {folder} cannot be read: {in_one_line(error)}", hint=hint) from error
    templates = read_templates(folder)
    if templates is not None:
        hf.chat_template = templates
    return hf


def read_templates(folder: Path) -> str | dict[str, str] | None:
    """Returns the chat templates of a folder from all places that it may keep them: one, or several by name."""
    found: dict[str, str] = {}
    for source in (read_json(folder / "tokenizer_config.json"), read_json(folder / "chat_template.json")):
        stated = source.get("chat_template")
        if isinstance(stated, list):
            found |= {str(one["name"]): str(one["template"]) for one in stated}
        elif stated:
            found["default"] = str(stated)
    if (folder / "chat_template.jinja").is_file():
        found["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for path in sorted(folder.glob("additional_chat_templates/*.jinja")):
        found[path.stem] = path.read_text(encoding="utf-8")
    return found["default"] if list(found) == ["default"] else found or None


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a file, an empty one where there is none. Raises ModelCorrupt for a file that is not JSON."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelCorrupt(f"{path} is not JSON: {error}") from None
    return value if isinstance(value, dict) else {}


def _open(folder: Path, trust_remote_code: bool, mode: str) -> Any:
    config = read_json(folder / "tokenizer_config.json")
    if mode == "auto" and not (trust_remote_code and "auto_map" in config):
        if (folder / "tokenizer.json").is_file():
            hf = transformers().PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
            _surround_as_stated(hf, config)
            return hf
        if (made := _made(folder, config)) is not None:
            return made
    return transformers().AutoTokenizer.from_pretrained(
        str(folder), use_fast=mode == "auto", trust_remote_code=trust_remote_code, local_files_only=True
    )


def _surround_as_stated(hf: Any, config: dict[str, Any]) -> None:
    """Changes: a text has the tokens around it that tokenizer_config.json states, of the classes whose code read it.

    In tokenizer.json of DeepSeek and others that code's tokens are missing.
    """
    from workbench.text.pieces import surround

    if str(config.get("tokenizer_class")).removesuffix("Fast") not in SURROUNDED:
        return
    now = hf.backend_tokenizer.encode("", add_special_tokens=True).ids
    has = {"bos": now[:1] == [hf.bos_token_id], "eos": now[-1:] == [hf.eos_token_id]}
    stated = {name: config.get(f"add_{name}_token") for name in has}
    wanted = {name: has[name] if flag is None else bool(flag) for name, flag in stated.items()}
    if wanted == has or any(flag and getattr(hf, f"{name}_token_id") is None for name, flag in wanted.items()):
        return
    before, after = ([getattr(hf, f"{name}_token")] if flag else [] for name, flag in wanted.items())
    surround(hf.backend_tokenizer, before, after)


def _made(folder: Path, config: dict[str, Any]) -> Any:
    """Returns the tokenizer of a file that has no other form; None where there is none of these."""
    from workbench.text.byte_files import ADDED, is_tiktoken, read_tekken, read_tiktoken
    from workbench.text.sentencepiece_file import read_piece_model

    kind, added = str(config.get("tokenizer_class", "")), _added(config)
    pieces, tiktoken = (
        folder / "tokenizer.model",
        next(iter(sorted([*folder.glob("*.tiktoken"), *folder.glob("tiktoken.model")])), None),
    )
    if (folder / "tekken.json").is_file():
        tokenizer, roles = read_tekken(folder / "tekken.json")
        return _wrapped(tokenizer, {"add_bos_token": True} | config, roles)
    if tiktoken is not None or (pieces.is_file() and is_tiktoken(pieces)):
        tokenizer = read_tiktoken(tiktoken or pieces, kind, added)
        roles = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"} if kind in ADDED else {}
        return _wrapped(tokenizer, config | {"added_tokens_decoder": _without_gaps(config, tokenizer.get_vocab_size())}, roles)
    if not pieces.is_file():
        return None
    model = read_piece_model(pieces).renamed({index: token for token, index in added.items()})
    named = {f"{name}_token": token for name in model.ids if (token := model.special(name)) is not None}
    adds_bos = {"add_bos_token": kind not in PREFIXES}
    behind = {str(len(model.tokens) + i): {"content": name, "special": True} for i, name in enumerate(BEHIND.get(kind, ()))}
    config = adds_bos | config | {"added_tokens_decoder": behind | (config.get("added_tokens_decoder") or {})}
    return _wrapped(model.tokenizer(legacy=config.get("legacy", True) is not False), config, named)


def _wrapped(tokenizer: Any, config: dict[str, Any], roles: dict[str, str]) -> Any:
    """Returns an object of transformers with the added and special tokens that tokenizer_config.json lists."""
    from workbench.text.pieces import NotCopied, add_tokens, surround

    described = (config.get("added_tokens_decoder") or {}).values()
    visible = {str(one["content"]) for one in described if not one.get("special")}
    added = _added(config)
    in_order = sorted(added.items(), key=lambda one: one[1])  # an id is the next one free
    for is_visible, run in itertools.groupby(in_order, lambda one: one[0] in visible):
        wrong = add_tokens(tokenizer, dict(run), special=not is_visible)
        if wrong is not None:
            raise ModelCorrupt(f"tokenizer_config.json gives {wrong!r} the id {added[wrong]}, and the vocabulary another")
    for role in ROLES:
        stated = config.get(role)
        token = stated.get("content") if isinstance(stated, dict) else stated
        if token and tokenizer.token_to_id(token) is not None:
            roles = roles | {role: token}
    first = [token for token in PREFIXES.get(str(config.get("tokenizer_class")), ()) if tokenizer.token_to_id(token) is not None]
    before = [*first, *([roles["bos_token"]] if config.get("add_bos_token") and "bos_token" in roles else [])]
    after = [roles["eos_token"]] if config.get("add_eos_token") and "eos_token" in roles else []
    if before or after:
        surround(tokenizer, before, after)
    return transformers().PreTrainedTokenizerFast(
        tokenizer_object=NotCopied(tokenizer), clean_up_tokenization_spaces=False, **roles
    )


def _without_gaps(config: dict[str, Any], first: int) -> dict[str, Any]:
    """Returns the added tokens with reserved ones in the place of ids from `first` on that none has."""
    stated = config.get("added_tokens_decoder") or {}
    last = max(map(int, stated), default=0)
    gaps = range(first, last) if last - first < MOST_RESERVED else ()
    return {str(i): {"content": f"<|reserved_token_{i}|>", "special": True} for i in gaps} | stated


def _added(config: dict[str, Any]) -> dict[str, int]:
    found = config.get("added_tokens_decoder") or {}
    return {str(one["content"]): int(index) for index, one in found.items()}
