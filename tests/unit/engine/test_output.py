"""Draws become output, for a request without a constraint: tokens, text, log-probabilities, and the finish reason."""

from __future__ import annotations

import pytest

from workbench.engine.output import Output
from workbench.engine.plan import NAN, Sampled
from workbench.testing import make_request
from workbench.types import FinishReason, TokenLogprob

END = 99


class Letters:
    """A text stream: token 0 is "a", 1 is "b", ...; it holds back what may begin a stop string, as a real one does."""

    def __init__(self, stop: str = "") -> None:
        self.stop, self.held, self.matched = stop, "", None

    def push(self, token_id: int) -> tuple[str, str | None]:
        self.held += chr(ord("a") + token_id)
        if self.stop and self.stop in self.held:
            text, self.held = self.held.partition(self.stop)[0], ""
            self.matched = self.stop
            return text, self.matched
        num_held = next((n for n in range(len(self.stop) - 1, 0, -1) if self.held.endswith(self.stop[:n])), 0)
        text, self.held = self.held[: len(self.held) - num_held], self.held[len(self.held) - num_held :]
        return text, None

    def finish(self) -> str:
        text, self.held = self.held, ""
        return text


def output(stop: str = "", max_new_tokens: int = 8, params: dict | None = None, **fields) -> Output:
    return Output(make_request("a", [1], max_new_tokens, params, **fields), frozenset({END}), Letters(stop))


def draws(*token_ids: int) -> tuple[Sampled, ...]:
    return tuple(map(Sampled, token_ids))


def test_a_drawn_token_is_the_tail_with_its_text():
    tail = output().write(draws(2), [])
    assert (tail.token_ids, tail.text, tail.finish) == ((2,), "c", None)
    assert tail.forced == ()


def test_several_draws_are_one_tail():
    tail = output().write(draws(2, 0, 1), [])
    assert (tail.token_ids, tail.text) == ((2, 0, 1), "cab")


def test_the_length_ends_an_output():
    assert output(max_new_tokens=3).write(draws(1), [0, 0]).finish == FinishReason("length", length=3)


def test_an_end_token_ends_an_output_and_has_no_text():
    tail = output().write(draws(END), [0])
    assert (tail.token_ids, tail.text, tail.finish) == ((END,), "", FinishReason("stop", matched=END))


def test_an_end_token_is_a_token_where_it_is_ignored():
    tail = output(params={"ignore_eos": True}).write(draws(END), [0])
    assert tail.finish is None


def test_a_stop_token_ends_an_output_even_where_end_tokens_are_ignored():
    tail = output(params={"ignore_eos": True, "stop_token_ids": [7]}).write(draws(7), [])
    assert tail.finish == FinishReason("stop", matched=7)


def test_a_stop_string_ends_an_output_and_is_no_part_of_its_text():
    writer = output("bc")
    assert writer.write(draws(0, 1), []).text == "a", "the beginning of a stop string is held back"
    tail = writer.write(draws(2), [0, 1])
    assert (tail.token_ids, tail.text, tail.finish) == ((2,), "", FinishReason("stop", matched="bc"))


def test_what_was_held_back_is_text_where_the_output_ends_otherwise():
    writer = output("bc", max_new_tokens=2)
    assert writer.write(draws(0, 1), []).text == "ab"


def test_the_stop_string_is_the_reason_if_the_last_text_completes_it():
    class Late(Letters):
        def finish(self) -> str:
            self.matched = self.stop
            return ""

    writer = Output(make_request("a", [1], 1), frozenset(), Late("bc"))
    assert writer.write(draws(1), []).finish == FinishReason("stop", matched="bc")


def test_a_request_without_text_has_ids_alone():
    writer = Output(make_request("a", [1]), frozenset(), None)
    assert writer.write(draws(5), []).text == ""


def test_log_probabilities_go_with_their_tokens():
    logprobs = (TokenLogprob(2, -1.0), TokenLogprob(3, -2.0))
    tail = output(return_logprob=True).write(tuple(Sampled(lp.token_id, lp) for lp in logprobs), [])
    assert tail.logprobs == logprobs


def test_a_row_that_could_not_be_sampled_ends_its_request():
    tail = output().write((Sampled(NAN, error="the logits contain NaN"),), [0])
    assert (tail.token_ids, tail.finish) == ((), FinishReason("abort", message="the logits contain NaN"))


def test_nothing_left_to_draw_is_an_end():
    assert output(max_new_tokens=0).write((), []).finish == FinishReason("length", length=0)


def test_an_abort_gives_the_text_held_back():
    writer = output("bc")
    writer.write(draws(1), [])
    tail = writer.abort("enough", [1])
    assert (tail.token_ids, tail.text, tail.finish) == ((), "b", FinishReason("abort", message="enough"))


@pytest.mark.parametrize("message, said", [("half \ud83d", "half ?"), ("plain", "plain")])
def test_messages_pass_through_utf8(message, said):
    assert output().abort(message, []).finish.message == said


# -- more draws than the output has room for -------------------------------------------------------------------------


@pytest.mark.parametrize("num_draws", [1, 2, 3, 9])
def test_draws_behind_a_stop_string_are_dropped(num_draws):
    tail = output("bc").write(draws(*range(num_draws)), [])
    assert tail.token_ids == tuple(range(min(num_draws, 3)))
    assert (tail.finish is not None) == (num_draws >= 3)


def test_draws_behind_an_end_token_are_dropped():
    assert output().write(draws(1, END, 2), []).token_ids == (1, END)


def test_draws_behind_one_that_failed_are_dropped_and_those_before_stay():
    tail = output().write((Sampled(1), Sampled(2), Sampled(NAN, error="NaN"), Sampled(3)), [])
    assert tail.token_ids == (1, 2)
    assert tail.finish == FinishReason("abort", message="NaN")


def test_more_draws_than_the_length_allows_are_dropped():
    tail = output(max_new_tokens=3).write(draws(*range(9)), [7])
    assert tail.token_ids == (0, 1)
    assert tail.finish == FinishReason("length", length=3)
