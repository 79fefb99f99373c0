"""After any run, the outputs folded from the log are the engine's own, and the views show what the events state."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.engine.core import EngineCore
from workbench.errors import InvalidRequest
from workbench.events import EventLog, RequestArrived, RequestFinished, TokenDetail, TokenSampled
from workbench.html.escape import visible
from workbench.testing import FoldReader, make_core
from workbench.types import GrammarSpec, Request, SamplingParams
from workbench.views.fold import Facts
from workbench.views.mask.fold import MaskFold
from workbench.views.tokens.colours import MEASURES, levels
from workbench.views.tokens.fold import MAX_LIVE, MAX_REQUESTS, TokensFold, allowed
from workbench.views.tokens.state import OutputToken

VOCAB = 32
moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 20), st.integers(0, 12)),
        st.tuples(st.just("step"), st.integers(1, 4)),
        st.tuples(st.just("abort"), st.integers(0, 12)),
    ),
    min_size=4,
    max_size=40,
)
SPEC = GrammarSpec("regex", "[ab]+")
WANTED = TokenDetail(7, 0.125, 3, 1.5, ((9, 0.5), (7, 0.125)), ((7, 0.75), (3, 0.25)), 0.8, True, 0.002)


def play(core: EngineCore, moves: list[tuple[Any, ...]]):
    """Yields after every move."""
    num_added = 0
    for what, *args in moves:
        if what == "add":
            length, max_new = args
            prompt = tuple((num_added * 7 + i) % VOCAB for i in range(length))
            core.add(Request(rid=f"r{num_added}", input_ids=prompt, params=SamplingParams(max_new_tokens=max_new)))
            num_added += 1
        elif what == "step":
            for _ in range(args[0]):
                core.step()
        else:
            core.abort(f"r{args[0]}")
        yield


@settings(deadline=None)
@given(moves=moves, num_pages=st.sampled_from([40, 400]), capacity=st.sampled_from([8, 100_000]))
def test_after_every_move_the_folded_outputs_are_the_engines(moves, num_pages, capacity):
    """Includes retracted requests, and a reader that lost events and continues from a snapshot."""
    core = make_core(num_pages=num_pages, context_length=40, vocab_size=VOCAB, chunked_prefill_size=8, log=EventLog(capacity))
    reader = FoldReader(core, TokensFold)
    for _ in play(core, moves):
        fold = reader.read()
        scheduler = core.scheduler
        real = {seq.rid: seq.output_ids for seq in (*scheduler.running, *scheduler.waiting)}
        assert {rid: output.ids for rid, output in fold.outputs.items() if not output.finish} == real
        shown = fold.shown
        if shown is not None:
            assert "".join(row[0] for row in drawn(fold)["rows"]) == " ".join(map(str, shown.ids))


def folded(fold: TokensFold, *events) -> TokensFold:
    for event in events:
        fold.apply(event)
    return fold


def drawn(fold: TokensFold) -> dict[str, Any]:
    """Returns a fold's state as a page reads it."""
    return json.loads(msgspec.json.encode(fold.state()))


def arrived(rid: str, grammar: GrammarSpec | None = None) -> RequestArrived:
    return RequestArrived(time=0.0, rid=rid, num_prompt=3, max_new_tokens=9, grammar=grammar)


def sampled(rid: str, position: int, token_id: int = 5, time: float = 1.0, **more) -> TokenSampled:
    return TokenSampled(time=time, rid=rid, token_id=token_id, position=position, **more)


def finished(rid: str, num_output: int) -> RequestFinished:
    return RequestFinished(time=3.0, rid=rid, reason="stop", detail="", num_prompt=3, num_cached=0, num_output=num_output)


def constrained(fold: TokensFold) -> TokensFold:
    return folded(
        fold,
        arrived("a", SPEC),
        sampled("a", 0, num_allowed=30),
        sampled("a", 1, 6, forced=True),
        sampled("a", 2, 7, time=1.5, num_allowed=2, detail=WANTED),
    )


FACTS = Facts(decode=lambda ids: "".join(f"<{i}>" for i in ids), info={"vocab_size": 900})


def test_a_row_tells_what_its_event_told():
    state = drawn(constrained(TokensFold(FACTS)))
    assert state["rows"] == [
        ["<5>", 1, "-----2", None, None, None, None, 30, None],
        ["<6>", 2, "----04", None, None, None, 0.0, None, None],
        ["<7>", 3, "232343", 0.125, 1.5, 3, 0.5, 2, 0.8],
    ]
    assert (state["rid"], state["detail_s"], state["requests"]) == ("a", 0.002, [["a", 3, "", "regex"]])


def test_the_newest_request_is_followed_and_one_that_is_named_stays():
    newest, named = TokensFold(FACTS), TokensFold(FACTS, rid="a")
    for fold in (newest, named):
        folded(fold, arrived("a"), sampled("a", 0), arrived("b", SPEC), sampled("b", 0, 9, num_allowed=1))
    assert (newest.state()["rid"], named.state()["rid"]) == ("b", "a")
    folded(newest, arrived("waits"))
    assert newest.state()["rid"] == "b", "there is nothing to see of one that waits"
    named.show("b")
    assert drawn(named)["rows"][0][0] == "<9>"
    named.show("nobody")
    assert named.note.startswith("no request is called nobody")
    assert drawn(named)["rows"] == []
    assert "nobody" in named.picture().to_text()


def test_the_mask_view_follows_the_newest_request_with_a_constraint():
    fold = folded(constrained(MaskFold(FACTS)), arrived("free"), sampled("free", 0))
    assert fold.state()["rid"] == "a"
    assert [row[1] for row in fold.state()["requests"]] == [3]
    fold.show("free")
    assert fold.note.startswith("request free has no constraint")


def test_tokens_that_an_abort_takes_back_are_gone_and_an_id_may_be_used_again():
    fold = constrained(TokensFold(FACTS))
    folded(fold, finished("a", 2))
    assert [row[0] for row in drawn(fold)["rows"]] == ["<5>", "<6>"]
    folded(fold, arrived("a"), sampled("a", 0, 8), sampled("a", 0, 9))
    assert [row[0] for row in drawn(fold)["rows"]] == ["<9>"]


def test_what_is_kept_and_drawn_is_bounded():
    fold = TokensFold(FACTS)
    for i in range(3 * MAX_REQUESTS):
        folded(fold, arrived(f"r{i}"), sampled(f"r{i}", 0), finished(f"r{i}", 1))
    assert len(fold.outputs) == MAX_REQUESTS
    many = [f"at once {i}" for i in range(3 * MAX_REQUESTS)]
    folded(fold, *map(arrived, many))
    assert set(many) <= fold.outputs.keys(), "those that run are all remembered"
    folded(fold, *(finished(rid, 0) for rid in many), arrived("next"))
    assert len(fold.outputs) == MAX_REQUESTS
    assert many[-1] in fold.outputs
    for _ in range(3 * MAX_REQUESTS):
        folded(fold, arrived("again"), finished("again", 0))
    assert len(fold._ended) < len(fold.outputs) == MAX_REQUESTS, "one id used over and over"
    folded(fold, arrived("long"), *(sampled("long", i) for i in range(2 * MAX_LIVE)))
    state = drawn(fold)
    assert (len(state["rows"]), state["first"]) == (MAX_LIVE, MAX_LIVE)
    assert len(msgspec.json.encode(state)) < 60_000
    assert len(drawn(folded(fold, finished("long", 2 * MAX_LIVE)))["rows"]) == 2 * MAX_LIVE


def test_a_click_tells_the_alternatives_and_whether_they_were_allowed():
    fold = constrained(TokensFold(FACTS))
    told = fold.detail({"do": "detail", "id": ["a", 2]})
    assert told["before"] == [[9, "<9>", 0.5, False], [7, "<7>", 0.125, True]]
    assert told["after"] == [[7, "<7>", 0.75], [3, "<3>", 0.25]]
    assert (told["removed"], told["overruled"], told["cost_s"]) == (0.8, True, 0.002)
    assert 'the model wanted "<9>" (50 %)' in told["words"]
    assert "before" not in fold.detail({"do": "detail", "id": ["a", 1]})
    for wrong in (["a", 3], ["a", -1], ["b", 0], None):
        with pytest.raises(InvalidRequest, match="a token of a request"):
            fold.detail({"do": "detail", "id": wrong})


def test_an_alternative_too_unlikely_to_be_among_the_likeliest_allowed_is_not_judged():
    token = OutputToken(0, 7, detail=WANTED)
    assert [allowed(token, i, share) for i, share in ((7, 0.125), (9, 0.5), (9, 0.04))] == [True, False, None]
    assert allowed(OutputToken(0, 7, detail=TokenDetail(7, 0.1, 1, 1.0, ((7, 0.1),))), 9, 0.01) is True


def test_levels_rise_with_what_deserves_a_look():
    def level(name: str, **detail) -> int | None:
        facts = {"drawn": 1, "probability": 0.5, "rank": 1, "entropy": 0.0, "before": ((1, 0.5),), "after": ((1, 1.0),)}
        return MEASURES[name].level(OutputToken(0, 1, True, 5, detail=TokenDetail(**{**facts, **detail})))

    assert [level("probability", probability=p) for p in (1.0, 0.6, 0.2, 0.02, 0.001)] == [0, 1, 2, 3, 4]
    assert [level("entropy", entropy=h) for h in (0.0, 0.5, 1.0, 2.0, 5.0)] == [0, 1, 2, 3, 4]
    assert [level("rank", rank=r) for r in (1, 2, 5, 50, 51)] == [0, 1, 2, 3, 4]
    assert [level("removed", removed=r) for r in (0.0, 0.05, 0.3, 0.6, 0.95)] == [0, 1, 2, 3, 4]
    assert [MEASURES["allowed"].level(OutputToken(0, 1, True, n)) for n in (20_000, 500, 50, 5, 1)] == [0, 1, 2, 3, 4]
    assert [MEASURES["latency"].level(OutputToken(0, 1, latency_s=s)) for s in (0.01, 0.03, 0.07, 0.2, 1.0)] == [0, 1, 2, 3, 4]
    assert levels(OutputToken(0, 1)) == "-" * len(MEASURES)


def test_pictures_say_it_in_text_in_html_and_as_data():
    hostile = Facts(decode=lambda ids: "".join(f"<script>{i}\u202e" for i in ids), info={"vocab_size": 900})
    for fold in (constrained(TokensFold(hostile)), constrained(MaskFold(hostile))):
        picture = fold.picture()
        html, text = picture.to_html(), picture.to_text()
        assert "<script>" not in html
        assert "\u202e" not in html + text
        assert "forced" in html
        assert [token["num_allowed"] for token in picture.to_dict()["tokens"]] == [30, None, 2]
    strip = constrained(TokensFold(FACTS, by="removed")).picture()
    assert "wb-over wb-l3" in strip.body()
    assert "80 %" in strip.to_text()
    with pytest.raises(InvalidRequest, match="one of probability"):
        TokensFold(FACTS, by="beauty")


@pytest.mark.parametrize("encoding, width", [("utf-8", 1), ("utf-32-le", 4), ("utf-32-le", 8)])
def test_joined_emoji_stand_at_the_first_of_their_tokens_however_they_are_cut(encoding, width):
    """Cuts texts into bytes, characters, pairs of characters."""
    family, flag = "👩\u200d👩\u200d👧\u200d👦", "🏴\u200d☠️"
    for text in (f"a {family}!", f"{flag}{flag}", f"❤️\u200d🔥{family}", "a\u200db", f"{family}\u200d", "👩\u200d a"):
        data = text.encode(encoding)
        cut = [data[i : i + width] for i in range(0, len(data), width)]
        fold = TokensFold(Facts(decode=lambda ids, cut=cut: b"".join(map(cut.__getitem__, ids)).decode(encoding, "replace")))
        fold.apply(RequestArrived(time=0.0, rid="a", num_prompt=1, max_new_tokens=99))
        for i in range(len(cut)):
            fold.apply(TokenSampled(time=1.0, rid="a", token_id=i, position=i))
            fold.state()
        texts = fold.picture().texts
        assert "".join(texts) == text
        assert "".join(map(visible, texts)) == visible(text)
        rows = msgspec.json.decode(msgspec.json.encode(fold.state()["rows"]))
        assert [row[0] for row in rows[:-1]] == list(map(visible, texts[:-1]))


def test_columns_are_as_high_as_the_logarithm_of_what_might_come():
    curve = constrained(MaskFold(FACTS)).picture()
    heights = [float(part.split("em")[0]) for part in curve.body().split("height:")[1:]]
    assert heights == [pytest.approx(3 * math.log(30) / math.log(900), abs=0.01), 0.12, pytest.approx(0.31, abs=0.01)]
    assert curve.to_text().splitlines()[1] == "▅▁▂"
