"""The parts of a rendered conversation by their role: found through marks, and by watching where a template reads its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InvalidRequest
from workbench.text import chat
from workbench.text.tokenizer import Tokenizer
from workbench.text.written import written

Messages = Sequence[Mapping[str, Any]]


def said(found, message: int) -> str:
    return "".join(found.text[stretch.start : stretch.end] for stretch in found.stretches if stretch.message == message)


def plain(messages: Messages) -> str:
    return "".join(f"<{m['role']}>{m['content'].strip()}</{m['role']}>\n" for m in messages)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1)), min_size=1, max_size=5))
def test_every_message_is_found_whatever_it_says(turns):
    messages = [{"role": role, "content": text} for role, text in turns]
    found = written(plain, messages)
    assert found.text == plain(messages)
    assert [said(found, i) for i in range(len(messages))] == [text.strip() for _, text in turns]


def test_a_message_that_says_what_the_template_writes_is_not_mistaken_for_it():
    found = written(plain, [{"role": "user", "content": "user"}, {"role": "assistant", "content": "<user>"}])
    assert [(s.start, s.end) for s in found.stretches] == [(6, 10), (29, 35)]


def test_what_a_template_drops_is_not_found():
    def only_the_last(messages: Messages) -> str:
        return f"[{messages[-1]['content']}]"

    found = written(only_the_last, [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    assert (said(found, 1), found.found) == ("b", {1})


def test_a_template_that_looks_at_the_text_is_searched_in_order():
    def shouting(messages: Messages) -> str:
        if any("\ue000" in m["content"] for m in messages):
            raise InvalidRequest("messages", messages, "letters")
        return " | ".join(m["content"] for m in messages)

    found = written(shouting, [{"role": "user", "content": " one "}, {"role": "user", "content": "two"}])
    assert [said(found, i) for i in (0, 1)] == ["one", "two"]


def test_parts_of_a_message_are_found_and_other_parts_left_alone():
    def parts(messages: Messages) -> str:
        return "".join(part.get("text", "<image>") for part in messages[0]["content"])

    content = [{"type": "text", "text": "look "}, {"type": "image"}, {"type": "text", "text": "here"}]
    found = written(parts, [{"role": "user", "content": content}])
    assert (found.text, said(found, 0)) == ("look <image>here", "look here")


def test_messages_that_the_template_refuses_are_refused(byte_level_tokenizer: Tokenizer):
    with pytest.raises(InvalidRequest, match=r"messages\[0\]"):
        written(partial(chat.render, byte_level_tokenizer.hf), ["hello"])  # type: ignore[list-item]


def test_tokens_end_where_their_text_ends(tokenizer: Tokenizer):
    text = "<|im_start|>user\nthe naïve cat 漢字 😀<|im_end|>"
    ids, ends = tokenizer.places(text)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(ends)
    assert list(ends) == sorted(ends)
    assert ends[-1] == len(text)
    assert ends[0] == len("<|im_start|>")
