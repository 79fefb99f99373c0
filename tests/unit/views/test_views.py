"""Views are values that show themselves: their words are true, safe, and the same each time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from workbench.events import (
    NodeAdded,
    PagesTaken,
    PathHeld,
    RequestArrived,
    RequestFinished,
    RequestRetracted,
    RequestScheduled,
    RequestWaiting,
    StepExecuted,
    StepMember,
    Taken,
    TokenDetail,
    TokenSampled,
)
from workbench.html.parts import document
from workbench.views import (
    Completion,
    EngineStatus,
    LifeSpan,
    Loaded,
    Memory,
    Process,
    Processes,
    Status,
    Timings,
)
from workbench.views.batch.fold import BatchFold
from workbench.views.fold import Facts, Fold
from workbench.views.kv.fold import KVFold
from workbench.views.tokens.state import output_of
from workbench.why.request import picture as request_picture

LEDGER = {
    "weights_bytes": 269 << 20, "kv_cache_dtype": "float32", "kv_bytes_per_token": 46080,
    "kv_capacity_tokens": 4096, "kv_capacity_bytes": 4096 * 46080,
    "kv_touched_bytes": 96 * 46080, "tokens_free": 4000, "tokens_tree": 80, "tokens_running": 16, "process_rss_bytes": 700 << 20,
    "available_bytes": 9 << 30, "max_concurrency": {256: 16, 1024: 4, 4096: 1},
}  # fmt: skip
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnp.exe\u202c a\u200bb \udce9 \" ' & </div></style>"


def completion(**changes) -> Completion:
    values = {
        "text": "Paris.", "prompt": "The capital of France is", "prompt_tokens": 5, "cached_tokens": 3, "output_ids": (10, 11),
        "finish_reason": {"type": "stop", "matched": 2}, "rid": "r0", "model": "m", "stop_text": "<|end|>",
        "prompt_pieces": ("The", " capital", " of", " France", " is"), "output_pieces": ("Paris", "."),
        "timings": Timings(0.001, 0.02, 0.5),
    }  # fmt: skip
    return Completion(**{**values, **changes})


def every_view(text: str) -> list[str]:
    """Returns the HTML of each view with `text` wherever text from outside can stand."""
    engine = EngineStatus(name=text, model=text, device=text, dtype=text, place=text, uptime_s=1.0)
    stop = {"type": "stop", "matched": text}
    return [
        completion(
            text=text,
            prompt=text,
            model=text,
            finish_reason=stop,
            prompt_pieces=(text,) * 5,
            output_pieces=(text,),
            kinds=("overruled",),
            notes=(text,),
        ).to_html(),
        completion(
            text=text, prompt=text, kind="chat", output_pieces=(), finish_reason={"type": "abort", "message": text}
        ).to_html(),
        completion(stop_text=text).to_html(),
        request_picture.to_html(text, [LifeSpan(text, 0.0, 1.0, "wait", text)]),
        request_picture.to_html(text, []),
        Memory(text, text, LEDGER).to_html(),
        Status((engine,)).to_html(),
        Loaded(engine, text, 10).to_html(),
        Processes((Process(1, text, (text,), 1, 1),)).to_html(),
        document("", text),
        *(fold.picture().to_html() for fold in told_of(text)),
    ]


def told_of(rid: str) -> list[Fold]:
    """Returns the folds of the engine's load, each with one request of this name that runs, waits and owns pages."""
    members = (StepMember(rid, 0, 3, "prefill"),)
    made = {"plan_s": 0.1, "execute_s": 0.5, "commit_s": 0.1, "pages_free": 4, "pages_tree": 2, "pages_owned": 2}
    folds: list[Fold] = [BatchFold(), KVFold(Facts(num_pages=8))]
    for fold in folds:
        for event in (
            RequestArrived(time=0.0, rid=rid, num_prompt=3, max_new_tokens=9),
            RequestArrived(time=0.0, rid=f"{rid} waits", num_prompt=3, max_new_tokens=9),
            RequestWaiting(time=0.1, rid=f"{rid} waits", reason="memory", blocked_by=rid, num_needed=3, num_available=1),
            RequestScheduled(time=1.0, rid=rid, num_cached=0, num_pending=3),
            PagesTaken(time=1.0, taken=(Taken(rid, (0, 1, 2, 3)),)),
            StepExecuted(time=2.0, step=1, members=members, budget_left=0, num_waiting=1, **made),
            NodeAdded(time=2.0, node_id=1, parent_id=0, token_ids=(5, 6), pages=(0, 1), namespace="", rid=rid),
            PathHeld(time=2.0, rid=rid, node_id=1, namespace="", num_tokens=2),
            RequestRetracted(time=3.0, rid=rid, num_output=1, num_lost=2, needed_by=rid, old_ratio=0.1, new_ratio=0.2),
        ):
            fold.apply(event)
    return folds


class Tags(HTMLParser):
    """Collects tags and attributes, and fails on tags that do not nest."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.mark.parametrize("html", every_view(HOSTILE))
def test_hostile_text_neither_acts_nor_hides_in_any_view(html):
    page = Tags(html)
    assert "script" not in {tag for tag, _ in page.found}
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\x1b\u202e\u202c\u200b\ud800-\udfff]", html)
    html.encode()


@pytest.mark.parametrize("html", every_view("x"))
def test_views_are_static_and_load_nothing(html):
    assert not {tag for tag, _ in Tags(html).found} & {"script", "link", "img", "iframe", "object"}
    assert "http" not in html
    assert "url(" not in html


def test_hostile_text_is_as_harmless_in_plain_text():
    text = completion(text=HOSTILE, finish_reason={"type": "stop", "matched": HOSTILE}).to_text()
    assert not re.search("[\x1b\u202e\u202c\u200b\ud800-\udfff]", text)
    assert "␛[31m" in text
    assert "\x1b" not in Memory(HOSTILE, HOSTILE, LEDGER).to_text() + request_picture.to_text(
        HOSTILE, [LifeSpan(HOSTILE, 0, 1, "wait")]
    )


def test_the_plain_repr_tells_what_happened_and_no_time():
    first = completion()
    assert repr(first) == "Completion: 2 tokens, the model ended it with <|end|>; prompt 5 tokens, 3 reused\nParis."
    assert repr(first) == repr(completion(timings=Timings(9, 9, 9), rid="other"))
    assert str(first) == "Paris."


def test_a_completion_that_was_echoed_does_not_repeat_its_text_and_is_equal_to_itself():
    assert "Paris." not in repr(completion(echoed=True))
    assert completion(echoed=True) == completion()


@pytest.mark.parametrize(
    "reason, words",
    [
        ({"type": "stop", "matched": "\n\n"}, r"stopped at '\n\n'"),
        ({"type": "stop", "matched": 7}, "the model ended it with <|end|>"),
        ({"type": "stop"}, "the model ended it with <|end|>"),
        ({"type": "length", "length": 1}, "reached its limit of 1 token"),
        ({"type": "abort", "message": "timeout after 3 s"}, "aborted: timeout after 3 s"),
        ({}, "unfinished"),
    ],
)
def test_the_finish_reason_is_told_in_words(reason, words):
    assert completion(finish_reason=reason).finish == words


def test_exactly_the_reused_tokens_are_marked():
    html = completion().to_html()
    assert re.findall("<u>(.*?)</u>", html) == ["The", " capital", " of"]
    assert "<span> France</span><span> is</span>" in html
    assert "3 reused</span> from the cache, 2 computed" in html


@pytest.mark.parametrize(
    "pieces, kept, cut",
    [
        (("Paris", ".", "<|end|>"), ["Paris", "."], "&lt;|end|&gt;"),
        (("Paris", ".", "\n", "\n"), ["Paris", "."], "\n\n"),
        (("Paris", ".\n"), ["Paris", ".\n"], None),
        (("Other", "."), ["Other", "."], None),
    ],
)
def test_tokens_that_are_not_in_the_text_are_greyed(pieces, kept, cut):
    html = completion(output_pieces=pieces, prompt_pieces=()).to_html()
    (out,) = re.findall('<div class="wb-text wb-out wb-tok">(.*?)</div>', html, re.DOTALL)
    assert re.findall("<span>(.*?)</span>", out, re.DOTALL) == kept
    assert re.findall('<span class="wb-soft">(.*?)</span>', out, re.DOTALL) == ([] if cut is None else [cut])


def test_a_prompt_without_pieces_still_tells_its_numbers():
    html = completion(prompt_pieces=()).to_html()
    assert "<u>" not in html
    assert "3 reused</span> from the cache, 2 computed" in html


def test_timings_are_folded_from_the_events_of_one_request():
    rid = {"rid": "a"}
    done = {"reason": "stop", "detail": "", "num_prompt": 3, "num_cached": 0, "num_output": 2}
    events = [
        RequestArrived(time=1.0, num_prompt=3, max_new_tokens=9, **rid),
        RequestArrived(time=1.5, num_prompt=3, max_new_tokens=9, rid="b"),
        RequestScheduled(time=3.0, num_cached=0, num_pending=3, **rid),
        TokenSampled(time=4.0, token_id=1, position=0, rid="b"),
        TokenSampled(time=7.0, token_id=1, position=0, **rid),
        RequestScheduled(time=8.0, num_cached=0, num_pending=4, resumed=True, **rid),
        TokenSampled(time=10.0, token_id=1, position=1, **rid),
        RequestFinished(time=15.0, **rid, **done),
    ]
    assert Timings.of(events, "a") == Timings(queue_s=2.0, prefill_s=4.0, decode_s=8.0)
    assert Timings.of(events, "a").total_s == 14.0
    assert Timings.of(events, "b") is None
    assert Timings.of(events[1:], "a") is None


def test_a_request_that_only_scores_has_no_decode_time():
    events = [
        RequestArrived(time=1.0, rid="a", num_prompt=3, max_new_tokens=0),
        RequestScheduled(time=2.0, rid="a", num_cached=0, num_pending=3),
        RequestFinished(time=5.0, rid="a", reason="length", detail="", num_prompt=3, num_cached=0, num_output=0),
    ]
    assert Timings.of(events, "a") == Timings(1.0, 3.0, 0.0)


def test_a_waterfall_row_starts_where_the_one_before_ends():
    html = request_picture.to_html("s", [LifeSpan("queue", 0.0, 0.25, "wait"), LifeSpan("prefill", 0.25, 0.75, "prefill")])
    assert re.findall(r"flex:0 0 ([0-9.]+)%", html) == ["0.00", "25.00", "25.00", "75.00"]


def test_memory_and_status_say_the_same_in_text_and_in_html():
    memory = Memory("default", "m", LEDGER)
    for fact in ("269.0 MiB", "45.0 KiB", "in float32", "4,096 tokens", "16"):
        assert fact in memory.to_text()
        assert fact in memory.to_html()
    status = Status(
        (
            EngineStatus(
                name="e", model="m", device="cpu", dtype="float32", place="p", uptime_s=3, cached_tokens=3, prompt_tokens=4
            ),
        )
    )
    assert "75% of 4 tokens" in status.to_text()
    assert "75% of 4 tokens" in status.to_html()
    assert "%wb load" in Status(()).to_text()


def test_a_view_saves_itself_as_page_data_or_text(tmp_path):
    view = completion(text="Paris \udce9", output_pieces=())
    for name in ("a.html", "a.json", "a.txt"):
        view.save(tmp_path / name)
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["text"] == "Paris ?"
    assert data["meta_info"]["finish_reason"] == {"type": "stop", "matched": 2}
    assert (tmp_path / "a.txt").read_text() == "Paris ?"


def test_each_token_shows_how_it_came_about_and_overruled_ones_what_the_model_wanted():
    wanted = TokenDetail(7, 0.125, 3, 1.5, ((9, 0.5), (7, 0.125)), ((7, 0.75),), 0.8, True, 0.002)
    events = [
        TokenSampled(time=1.0, rid="a", token_id=5, position=0, num_allowed=3000),
        TokenSampled(time=1.0, rid="a", token_id=6, position=1, forced=True),
        TokenSampled(time=1.5, rid="a", token_id=7, position=2, num_allowed=30, detail=wanted),
        TokenSampled(time=1.0, rid="b", token_id=6, position=0, forced=True),
    ]
    tokens = output_of(events, "a").tokens
    assert [token.kind for token in tokens] == ["constrained", "forced", "overruled"]
    assert tokens[2].words("<{}>".format) == (
        '30 allowed; 12.5 %, rank 3; entropy 1.50 nats; 80 % removed by the mask; the model wanted "<9>" (50 %); 500 ms'
    )
    assert [token.kind for token in output_of(events, "b").tokens] == ["forced"]
    shown = completion(
        output_ids=(5, 6, 7), output_pieces=("Par", "is", "."), kinds=tuple(token.kind for token in tokens),
        notes=tuple(token.words("<{}>".format) for token in tokens), detail_s=0.002,
    )  # fmt: skip
    assert shown.summary().startswith("Completion: 3 tokens (1 forced, 1 overruled), ")
    body = shown.body()
    assert re.search(
        '<span class="wb-con" title="3,000 allowed[^"]*">Par</span><i [^>]*>is</i><b class="wb-over" [^>]*>.</b>', body
    )
    assert "the model wanted &quot;&lt;9&gt;&quot; (50 %)" in body
    assert "token detail took 2.0 ms" in body
    assert "(2.0 tokens/s)" in body, "the first came with the prompt, the second cost no step"
    assert (
        "the constraint forbade the model&#x27;s first choice (1)" in body
        or "the constraint forbade the model's first choice (1)" in body
    )
    plain = completion().body()
    assert "<span>Paris</span>" in plain
    assert not re.search("wb-con|wb-over|<i>|wb-kinds", plain)


def test_a_cut_inside_a_constraint_says_where():
    reason = {"type": "length", "length": 2, "constraint": "incomplete", "message": "next may come <x>"}
    cut = completion(finish_reason=reason)
    assert cut.finish == "reached its limit of 2 tokens inside its constraint: next may come <x>"
    assert "<x>" not in cut.body()
