"""Scores of options, from given results. `tests/equal/test_language_scores.py` compares with a real model."""

from __future__ import annotations

import pytest

from workbench.errors import Aborted
from workbench.lang.backends.scoring import Scorer

LOGPROBS = {"": -1.0, "up": -2.0, "down": -1.0}


class Backend:
    """Scores one token for each text, and aborts the request of the text in `aborted`."""

    aborted = ""

    def prompt_body(self, text, *, is_rendered):
        return {"input_ids": [len("prompt"), *map(ord, text)]}

    def send(self, body, rids):
        return [self.result("".join(map(chr, ids[1:]))) for ids in body["input_ids"]]

    def result(self, text):
        option = text.removeprefix("prompt")
        ended = {"type": "abort", "message": "timed out after 1 s"} if option and option == self.aborted else {"type": "length"}
        entries = [[-0.5, 6, None], [LOGPROBS[option], 7 + len(option), None]]
        scored = entries[:1] if ended["type"] == "abort" else entries
        return {"text": "", "meta_info": {"prompt_tokens": 2, "input_token_logprobs": scored, "finish_reason": ended}}


def options(backend):
    return Scorer(backend, "r", "prompt", is_rendered=False, media={}).options(["up", "down"])


def test_options_are_scored_from_the_first_token_that_differs():
    assert [option.logprobs for option in options(Backend())] == [(-2.0,), (-1.0,)]


def test_a_choice_of_which_a_part_was_aborted_has_no_scores():
    """An option without its last tokens would win or lose by the tokens that it lacks."""
    backend = Backend()
    backend.aborted = "down"
    with pytest.raises(Aborted, match="timed out after 1 s"):
        options(backend)
