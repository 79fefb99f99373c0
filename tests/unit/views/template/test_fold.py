"""A conversation as tokens by role, the place where two turns part, and the part that the tree holds, compared with the cache."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import CONFIGS, OPERATIONS, TRUNK, facts, open_core, perform

from workbench.errors import InvalidRequest, NotSupported
from workbench.events import EventLog
from workbench.testing import FoldReader
from workbench.views.fold import Facts
from workbench.views.template.fold import TemplateFold, template_fold
from workbench.views.template.picture import MAX_DRAWN, TemplateView
from workbench.views.template.state import PromptToken, Turn, turn_before

HOSTILE = "</span><script>alert(1)</script>\x1b[31m\u202e"


def turn(*said: tuple[str | None, str], first_id: int = 0) -> Turn:
    """Returns the words of (role, text) as tokens; the role None is the template. Equal words have equal ids."""
    roles = [role for role, _ in said if role is not None]
    tokens, message = [], -1
    for role, text in said:
        message += role is not None
        tokens += [PromptToken(hash(word) % 10_000, word, None if role is None else message) for word in re.split(r"(?= )", text)]
    return Turn(tuple(roles), tuple(tokens))


def of_ids(ids: tuple[int, ...]) -> Turn:
    return Turn(("user",), tuple(PromptToken(token, str(token), 0) for token in ids))


MONDAY = turn((None, "<s>"), ("system", "Today is Monday now"), (None, "<e>"), ("user", "Hello there"))
SUNDAY = turn((None, "<s>"), ("system", "Today is Sunday now"), (None, "<e>"))


def test_a_token_belongs_to_the_message_that_holds_its_first_letter():
    text = "<u> hi you</u>"
    made = Turn.of(["user"], text, [(4, 10, 0)], ids=[1, 2, 3, 4], ends=[3, 6, 10, 14])
    assert [(token.text, token.message) for token in made.tokens] == [("<u>", None), (" hi", 0), (" you", 0), ("</u>", None)]


@settings(deadline=None)
@given(text=st.text(max_size=30), cuts=st.lists(st.integers(0, 30), max_size=8))
def test_the_tokens_are_the_whole_text_whatever_offsets_leave_out(text, cuts):
    ends = sorted(min(cut, len(text)) for cut in [*cuts, len(text)])
    made = Turn.of(["user"], text, [(0, len(text) // 2, 0)], ids=range(len(ends)), ends=ends)
    assert "".join(token.text for token in made.tokens) == text


def test_the_place_where_two_turns_part_is_told_with_both_tokens():
    view = TemplateView(MONDAY, SUNDAY)
    assert (view.num_same, view.break_at) == (3, 3)
    assert "same 3 tokens, then the prefix breaks in message 0 (system): ' Sunday' before, ' Monday' now" in view.break_says()
    assert view.around() == [
        ("before", "'<s>Today is'", "' Sunday now<e>'"),
        ("now", "'<s>Today is'", "' Monday now<e>Hello there'"),
    ]


def test_a_turn_that_goes_on_breaks_nothing():
    longer = Turn(MONDAY.roles, (*MONDAY.tokens, PromptToken(1, "!", None)))
    view = TemplateView(longer, MONDAY)
    assert view.break_at is None
    assert "nothing breaks" in view.break_says()
    assert "begins with all" in TemplateView(MONDAY, longer).break_says()
    assert "are the same" in TemplateView(MONDAY, MONDAY).break_says()


def test_what_the_template_dropped_is_named():
    view = TemplateView(Turn(("user", "tool"), (), missing=(1,)))
    assert "Not in the text as it was written: message 1 (tool)." in view.to_text()


def test_every_role_has_a_name_in_the_picture_and_nothing_acts():
    view = TemplateView(
        turn(("user", HOSTILE), ("tool<b>", "x")), turn(("user", "y")), {"num_cached": 1, "reason": "diverged"}, HOSTILE
    )
    html = view.to_html().partition("</style>")[2]
    assert "<script" not in html
    assert "\x1b" not in html + view.to_text()
    assert 'data-name="user"' in html
    assert 'data-name="tool&lt;b&gt;"' in html


def test_a_long_prompt_is_drawn_at_its_ends_and_where_it_breaks():
    ids = tuple(range(10 * MAX_DRAWN))
    at = 7 * MAX_DRAWN
    view = TemplateView(of_ids(ids), of_ids((*ids[:at], 99_999_999)))
    windows = view.windows()
    assert sum(end - start for start, end in windows) <= MAX_DRAWN
    assert any(start < at < end for start, end in windows)
    assert (windows[0][0], windows[-1][1]) == (0, len(ids))
    assert all(end <= start for (_, end), (start, _) in pairwise(windows))
    assert view.to_html().count("▼ breaks") == 1
    assert len(TemplateFold(Facts(), view.turn, view.before).state()["tokens"]) <= MAX_DRAWN


@settings(deadline=None)
@given(config=CONFIGS, operations=OPERATIONS, shared=st.integers(1, 24), own=st.lists(st.integers(0, 2), min_size=1, max_size=10))
def test_between_any_two_steps_as_much_is_stored_as_the_engines_cache_says(config, operations, shared, own):
    core, prompt = open_core({**config, "disable_radix_cache": False}, EventLog()), (*TRUNK[:shared], *own)
    reader = FoldReader(core, lambda: TemplateFold(facts(core), of_ids(prompt)))

    def compare() -> None:
        real, stored = core.cache.explain(prompt), reader.read().stored()
        assert (stored.num_cached, stored.path[-1][0] if stored.path else 0) == (real.num_cached, real.node_id)
        if real.reason != "other namespace":  # that one needs the trees of all namespaces
            assert stored.reason == real.reason
        owners = [node for node, num in stored.path for _ in range(num)]
        assert [row[4] for row in reader.fold.state()["tokens"]][: len(owners)] == owners

    perform(core, operations, compare)


def test_stored_text_that_goes_on_otherwise_is_shown_and_what_left_is_told():
    core = open_core({"page_size": 1, "num_tokens": 400}, EventLog())
    fold = TemplateFold(facts(core), of_ids((*TRUNK[:2], 8, 8)))
    reader = FoldReader(core, lambda: fold)
    perform(core, [("add", 4, [9], 1, "")])
    assert (reader.read().stored().num_cached, fold.stored().reason) == (2, "diverged")
    assert f"goes on with '{TRUNK[2]} {TRUNK[3]} 9'" in fold.stored().why
    assert f"first 2 of 4 tokens, {fold.stored().why}" in fold.picture().cache_says()
    assert [row[4] > 0 for row in fold.state()["tokens"]] == [True, True, False, False]
    drawn = fold.state()
    perform(core, [("add", 0, [7, 7], 1, "")])
    assert reader.read().state() is drawn, "what others store elsewhere changes nothing"
    core.flush_cache()
    assert (reader.read().stored().num_cached, fold.stored().reason) == (0, "nothing stored")


def test_what_is_no_conversation_is_refused():
    with pytest.raises(NotSupported, match="no tokenizer"):
        template_fold(Facts(), [{"role": "user", "content": "x"}])
    for wrong in ([], None, "hello", {"role": "user"}, ["hello"], [{"content": "x"}], 7):
        with pytest.raises(InvalidRequest, match="messages"):
            template_fold(Facts(tokenizer=object()), wrong)


def test_the_turn_before_ends_with_the_question_before():
    talk = [{"role": role} for role in ("system", "user", "assistant", "user", "assistant")]
    assert turn_before(talk) == talk[:2]
    assert turn_before(talk[:2]) is None
