"""A tokenizer without a vocabulary file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ByteTokenizer:
    """The part of a Hugging Face tokenizer that tests need: one token per byte; `end_id` ends a turn."""

    end_id = 256

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of `text`."""
        return list(text.encode("utf-8", "surrogatepass"))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True, clean_up_tokenization_spaces: bool = False) -> str:
        """Returns the text; half characters become U+FFFD."""
        text = bytes(token for token in ids if token != self.end_id).decode("utf-8", "replace")
        return text if skip_special_tokens else text + "<|end|>" * list(ids).count(self.end_id)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True, return_dict: bool = False
    ) -> list[int]:
        """Returns the tokens of one line `role: content` for each message and of the assistant's next line."""
        assert add_generation_prompt
        assert not return_dict
        lines = [f"{message['role']}: {message['content']}\n" for message in messages]
        return self.encode("".join([*lines, "assistant: "]))
