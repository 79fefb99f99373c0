"""A conversation as tokens by role, the place where two turns part, and the part that the tree holds, compared with the cache."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_runs import CONFIGS, OPERATIONS, TRUNK, facts, open_core, perform

from workbench.errors import InvalidRequest, NotSupported
from workbench.events import EventLog
from workbench.testing import FoldReader, make_core, make_request, run_to_end
from workbench.types import Picture
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


SMALL = "data:image/png;base64,AAAA"


def picture(digest: str, *places: tuple[int, int], thumbnail: str = SMALL) -> Picture:
    num_tokens = sum(count for _, count in places)
    return Picture(
        digest=digest, arrays={}, num_tokens=num_tokens, places=places, width=40, height=30, thumbnail=thumbnail
    )  # fmt: skip


def pictured(digest: str = "a", **more: str) -> Turn:
    """Returns a turn with a picture of two rows of two tokens, with a mark between."""
    ids = (5, 9, 9, 8, 9, 9, 6)
    return Turn.of(["user"], "u<i><i>|<i><i>?", [(14, 15, 0)], ids, (1, 4, 7, 8, 11, 14, 15),
                   pictures=[picture(digest, (1, 2), (4, 2), **more)], owners=[0])  # fmt: skip


def test_all_tokens_of_a_picture_are_one_block_of_its_message():
    made = pictured()
    assert [(token.text, token.message, token.picture) for token in made.tokens] == [
        ("u", None, None), ("[picture: 4 tokens, 40 x 30 pixels]", 0, 0), *[("", 0, 0)] * 4, ("?", 0, None),
    ]  # fmt: skip
    assert made.keys == (5, "a", "a", 8, "a", "a", 6)
    view = TemplateView(made, pictured("b"))
    assert (view.num_same, view.break_at) == (1, 1)
    assert view.to_html().count(SMALL) == 1
    assert "[picture: 4 tokens, 40 x 30 pixels]" in view.to_text()
    assert "written in them (4 of 1 picture)" in view.summary()
    assert view.to_dict()["pictures"][0] | {"thumbnail": ""} == {
        "start": 1, "end": 6, "number": 0, "kind": "image", "num_tokens": 4, "width": 40, "height": 30, "thumbnail": "",
    }  # fmt: skip


def test_a_thumbnail_that_is_an_address_is_not_drawn():
    view = TemplateView(pictured(thumbnail='https://example.org/"onload="'))
    assert "<img" not in view.to_html()
    assert TemplateFold(None, view.turn).state()["pictures"][0]["thumbnail"] == ""


def test_a_prompt_of_pictures_alone_is_drawn_whole():
    many = (1, 4000)
    made = Turn.of(["user"], "u" + "i" * 4000, [], (5, *[9] * 4000), range(1, 4002), pictures=[picture("a", many)], owners=[0])
    assert TemplateView(made).windows() == [(0, 4001)]


@pytest.mark.parametrize("page_size", [1, 2])
def test_the_stored_part_of_a_prompt_with_a_picture(page_size: int):
    core = make_core(page_size=page_size, sees=True)
    readers = {name: FoldReader(core, partial(TemplateFold, facts(core), pictured(name))) for name in "ab"}
    ids = tuple(token.id for token in pictured().tokens)
    before = [readers[name].read().stored().num_cached for name in "ab"]
    core.add(make_request("a", ids, 2, pictures=pictured("a").pictures))
    run_to_end(core)
    fold = readers["a"].read()
    assert before == [0, 0]
    assert fold.stored().num_cached == 6
    assert readers["b"].read().stored().num_cached == 1 - 1 % page_size
    rows = fold.state()["tokens"]
    assert [row[0] for row in rows] == [0, 1, 6]
    assert rows[1][5:] == [0, 5]
    assert rows[1][4] > 0, "the block names its node"


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
