"""A tokenizer whose object of transformers is made when it is first needed: importing transformers takes most of a start."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from workbench.kernels.quick_imports import kept_bytecode
from workbench.text.hf import transformers
from workbench.text.pieces import NotCopied

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class LaterTokenizer:
    """The backend, and the further arguments of its object of transformers. Has some of that object's attributes."""

    is_fast = True

    def __init__(self, backend: Tokenizer, config: dict[str, Any]) -> None:
        """Takes the arguments of `PreTrainedTokenizerFast` in `config`, special tokens as text."""
        self.backend_tokenizer, self._config = backend, config
        self._made: Any = None
        self._lock = threading.Lock()

    @property
    def made(self) -> Any:
        """The object of transformers. Imports transformers."""
        with self._lock:
            if self._made is None:
                tokenizer = NotCopied(self.backend_tokenizer)
                with kept_bytecode():
                    self._made = transformers().PreTrainedTokenizerFast(tokenizer_object=tokenizer, **self._config)
            return self._made

    @property
    def chat_template(self) -> str | dict[str, str] | None:
        """The template, or several by name."""
        return self._config.get("chat_template")

    @chat_template.setter
    def chat_template(self, template: str) -> None:
        self._config["chat_template"] = template

    @property
    def bos_token(self) -> str | None:
        return self._config.get("bos_token")

    @property
    def bos_token_id(self) -> int | None:
        return self._id_of("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._id_of("eos_token")

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return self.backend_tokenizer.get_added_tokens_decoder()

    def _id_of(self, role: str) -> int | None:
        token = self._config.get(role)
        return None if token is None else self.backend_tokenizer.token_to_id(token)
