"""The tokenizer of one model: text to token ids and back."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from workbench.checkpoint.gguf_file import open_gguf_file
from workbench.errors import InvalidRequest, NotSupported
from workbench.text import chat
from workbench.text.conversation import find_conversation
from workbench.text.folder import TURNS, open_folder, read_json
from workbench.text.hf import transformers
from workbench.text.later_tokenizer import LaterTokenizer

# Tokens that end a turn. One is an end token if the model's own chat template writes it.
END_OF_TURN = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")


def load_tokenizer(
    folder: str | Path,
    *,
    chat_template: str | None = None,
    trust_remote_code: bool = False,
    mode: Literal["auto", "slow"] = "auto",
    model_folder: str | Path | None = None,
) -> Tokenizer:
    """Returns the tokenizer in `folder`, or in a GGUF file, without network access.

    `chat_template` (a built-in name, a path or the template itself) replaces the tokenizer's own. End tokens are those named in
    the configuration in `model_folder` (a folder or GGUF file, by default `folder`) and in the tokenizer.
    Raises ModelNotFound, ModelCorrupt, NotSupported, InvalidRequest.
    """
    folder = Path(folder)
    hf = _open_gguf(folder) if folder.is_file() else open_folder(folder, trust_remote_code, mode)
    if not hf.is_fast:
        raise NotSupported(f"the tokenizer in {folder} has no fast form", hint="save it as tokenizer.json with transformers")
    stops = () if chat_template is None else _set_template(hf, chat_template)
    special = {token.content: i for i, token in hf.added_tokens_decoder.items() if token.special}  # no part of the text
    ends = {special[stop] for stop in stops if stop in special}
    tokenizer = Tokenizer(hf, _end_token_ids(hf, Path(model_folder or folder)) | ends)
    tokenizer.template_stops = tuple(stop for stop in stops if stop not in special)
    return tokenizer


def import_tokenizers() -> None:
    """Imports what `load_tokenizer` needs, which takes most of its time."""
    importlib.import_module("workbench.text.gguf_tokenizer")
    _ = transformers().PreTrainedTokenizerFast


class Tokenizer:
    """A transformers fast tokenizer, used through its `tokenizers` backend. Thread-safe."""

    def __init__(self, hf: Any, eos_token_ids: frozenset[int] = frozenset()) -> None:
        """Takes an object of transformers, or a `LaterTokenizer`."""
        self._hf = hf
        self.backend = hf.backend_tokenizer
        self.eos_token_ids = eos_token_ids
        """The ids that end a generation unless `ignore_eos` is set."""
        self.template_stops: tuple[str, ...] = ()
        """Strings that end an answer in the chat template that was given, beside the model's own end tokens."""

    @property
    def hf(self) -> Any:
        """The transformers object, public as `engine.tokenizer`. May import transformers, in about a second."""
        return self._hf.made if isinstance(self._hf, LaterTokenizer) else self._hf

    @cached_property
    def vocab_size(self) -> int:
        """The number of ids, added tokens included. A model's logits may be wider."""
        size: int = self.backend.get_vocab_size(with_added_tokens=True)
        return size

    @cached_property
    def highest_id(self) -> int:
        """The highest id of the tokenizer's own tokens, without added ones."""
        return max(self.backend.get_vocab(with_added_tokens=False).values(), default=0)

    @property
    def bos_token_id(self) -> int | None:
        token: int | None = self._hf.bos_token_id
        return token

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids that `skip_special_tokens` leaves out."""
        return frozenset(i for i, token in self.backend.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """The ids of single bytes (`<0xE2>`), in vocabularies that spell unknown characters with them."""
        ids = (self.backend.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def _longest(self) -> int | None:
        """The characters of the longest token; None where tokens need not spell out the whole text."""
        added = self.backend.get_added_tokens_decoder().values()
        spells_all = self.backend.normalizer is None and "ByteLevel" in str(self.backend.pre_tokenizer)
        if not spells_all or any(token.lstrip or token.rstrip for token in added):
            return None
        return max(map(len, self.backend.get_vocab(with_added_tokens=True)))

    def least_tokens(self, text: str) -> int:
        """Returns a number of tokens that `text` surely has at least, without the work of finding them; 0 if none is sure."""
        return len(text) // self._longest if self._longest else 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> tuple[int, ...]:
        """Returns the ids of a text, with the special tokens that the tokenizer adds (BOS for Gemma, none for SmolLM2)."""
        return self._ids(text, add_special_tokens=add_special_tokens)

    def encode_pair(self, first: str, second: str) -> tuple[tuple[int, ...], int | None]:
        """Returns the ids of two texts as one, with the special tokens of a pair, and the index from which on the tokenizer
        counts them to the second one; None where it makes no difference between the two."""
        encoding = self._encoding(first, second, add_special_tokens=True)
        return tuple(encoding.ids), encoding.type_ids.index(1) if 1 in encoding.type_ids else None

    def places(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the ids of a text with its special tokens written out, and for each id the index of the character after it."""
        encoding = self._encoding(text, add_special_tokens=False)
        return tuple(encoding.ids), tuple(end for _, end in encoding.offsets)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Returns the text of `ids`. Ids outside the vocabulary have no text."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def token_text(self, token_id: int) -> str:
        """Returns the text that this token adds after a letter: with its leading space, and U+FFFD for half a character."""
        before = self.decode(self._letter)
        return self.decode([*self._letter, token_id], skip_special_tokens=False)[len(before) :]

    def chat_text(self, messages: Sequence[Mapping[str, Any]], **template_args: Any) -> str:
        """Returns the conversation as one text; arguments and errors as in `workbench.text.chat.render`."""
        return chat.render(self.hf, messages, **template_args)

    def chat_ids(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Any] | None = None,
        **template_args: Any,
    ) -> tuple[int, ...]:
        """Returns the ids of the conversation. The template writes a BOS token itself, so none is added."""
        text = self.chat_text(messages, add_generation_prompt=add_generation_prompt, tools=tools, **template_args)
        return self._ids(text, add_special_tokens=False)

    @cached_property
    def _letter(self) -> list[int]:
        return list(self._ids("a", add_special_tokens=False))

    def _ids(self, text: str, *, add_special_tokens: bool) -> tuple[int, ...]:
        return tuple(self._encoding(text, add_special_tokens=add_special_tokens).ids)

    def _encoding(self, text: str, second: str | None = None, *, add_special_tokens: bool) -> Any:
        # The object is public, and a user's call may leave truncation or padding switched on.
        while True:
            if not self._is_plain:
                self.backend.no_truncation()
                self.backend.no_padding()
            try:
                encoding = self.backend.encode(text, second, add_special_tokens=add_special_tokens)
            except (TypeError, UnicodeEncodeError):
                texts = text if second is None else (text, second)
                raise InvalidRequest("prompt", texts, "text that UTF-8 can write (no lone surrogates)") from None
            if self._is_plain:
                return encoding

    @property
    def _is_plain(self) -> bool:
        return self.backend.truncation is None and self.backend.padding is None


def _open_gguf(path: Path) -> Any:
    from workbench.text.gguf_tokenizer import open_tokenizer

    return open_tokenizer(open_gguf_file(path))


def _set_template(hf: Any, source: str) -> tuple[str, ...]:
    """Replaces the chat template; returns the strings that end an answer in the new one."""
    conversation = find_conversation(source)
    if conversation is None:
        hf.chat_template = chat.read_template(source)
        return ()
    first = hf.backend_tokenizer.encode("a", add_special_tokens=True).ids[:1]
    hf.chat_template = conversation.jinja(hf.bos_token if first == [hf.bos_token_id] else "")
    return conversation.stops


def _end_token_ids(hf: Any, model: Path) -> frozenset[int]:
    ids = {hf.eos_token_id, *(open_gguf_file(model).end_ids() if model.is_file() else _configured_ends(model))}
    template = str(hf.chat_template or "")  # of several by name: of any
    turns = TURNS.get(str(read_json(model / "tokenizer_config.json").get("tokenizer_class")), ())
    ends = [*turns, *(token for token in END_OF_TURN if token in template)]
    ids.update(map(hf.backend_tokenizer.token_to_id, ends))
    return frozenset(i for i in ids if i is not None)


def _configured_ends(folder: Path) -> set[int | None]:
    config = read_json(folder / "config.json")
    named = [read_json(folder / "generation_config.json"), config, config.get("text_config") or {}]
    ids: set[int | None] = set()
    for value in (source.get("eos_token_id") for source in named):
        ids.update(value if isinstance(value, list) else [value])
    return ids
