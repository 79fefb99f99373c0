"""The live strip and mask view on a real engine: token detail is on while a page shows them, clicks are answered."""

from __future__ import annotations

import json
import re

import pytest
from tiny_text import write_text_model

pytest.importorskip("anywidget", reason="live views need anywidget")

import workbench
from workbench.errors import InvalidRequest


@pytest.fixture(params=[False, True], ids=["thread", "process"])
def engine(request, tmp_path_factory):
    folder = write_text_model(tmp_path_factory.mktemp("model"))
    args = {"load_format": "dummy", "dtype": "float32", "max_total_tokens": 4000, "random_seed": 0, "num_threads": 1}
    with workbench.Engine(str(folder), process=request.param, **args) as engine:
        yield engine


def state(widget) -> dict:
    """Returns the state that is sent to the page."""
    widget.look_at(None)
    return json.loads(widget.get_state()["state"])


def test_detail_is_on_while_a_view_is_shown_and_the_callers_own_wish_stays(engine):
    assert not engine.detail.is_on
    tokens, mask = engine.view("tokens", live=True), engine.view("mask", live=True)
    assert engine.detail.is_on
    tokens.answer({"do": "hidden"})
    assert engine.detail.is_on
    mask.close()
    assert not engine.detail.is_on
    tokens.answer({"do": "shown"})
    assert engine.detail.is_on
    engine.token_detail(True)
    tokens.close()
    assert engine.detail.is_on
    engine.token_detail(False)
    assert not engine.detail.is_on


def test_a_strip_shows_what_was_drawn_and_answers_a_click(engine):
    widget = engine.view("tokens", live=True)
    result = engine.generate("say", {"regex": "(yes|no), [0-9]{4}", "max_new_tokens": 12, "seed": 3}, rid="asked")
    shown = state(widget)
    assert (shown["rid"], shown["by"], shown["finish"]) == ("asked", "probability", "stop")
    assert "".join(row[0] for row in shown["rows"]).startswith(result["text"])
    drawn = next(i for i, row in enumerate(shown["rows"]) if row[3] is not None)
    assert 0 < shown["rows"][drawn][3] <= 1
    told = widget.answer({"do": "detail", "id": ["asked", drawn]})
    assert told["before"][0][2] >= told["before"][-1][2]
    refused = next(token for token, _, _, allowed in told["before"] if not allowed)
    why = widget.answer({"do": "detail", "id": ["asked", drawn], "why": refused})["why"]
    assert why == str(engine.why("asked", refused, drawn))
    assert "not allowed" in why
    engine.generate("say", {"max_new_tokens": 3}, rid="other")
    assert state(widget)["rid"] == "other"
    widget.answer({"do": "show", "rid": "asked"})
    assert json.loads(widget.get_state()["state"])["rid"] == "asked"
    widget.answer({"do": "show", "rid": "nobody"})
    assert widget.note.startswith("no request is called nobody")


def test_a_mask_view_takes_a_step_apart(engine):
    widget = engine.view("mask", live=True)
    engine.generate("say", {"regex": "(yes|no), [0-9]{4}", "max_new_tokens": 12, "seed": 3}, rid="asked")
    engine.generate("say", {"max_new_tokens": 3}, rid="free")
    shown = state(widget)
    assert shown["rid"] == "asked"
    step = next(i for i, row in enumerate(shown["rows"]) if row[7])
    told = widget.answer({"do": "detail", "id": ["asked", step]})
    assert told["num_allowed"] == shown["rows"][step][7] == sum(share[1] for share in told["classes"])
    assert told["sentence"] == str(engine.mask("asked", step))
    still = engine.view("mask", live=False, rid="asked", step=step)
    assert told["sentence"] in still.to_text()
    opened = engine.view("mask", live=True, rid="asked", step=step)
    assert json.loads(opened.get_state()["state"])["step"] == step
    num_tokens = len(shown["rows"])
    assert widget.answer({"do": "detail", "id": ["asked", num_tokens]})["sentence"] == str(engine.mask("asked", num_tokens))


@pytest.mark.parametrize("step", [-1, 99])
def test_a_step_that_the_request_does_not_have_is_said_in_two_lines(engine, step):
    engine.generate("say", {"regex": "(yes|no), [0-9]{4}", "max_new_tokens": 12, "seed": 3}, rid="asked")
    widget = engine.view("mask", live=True, rid="asked", step=step)
    num_tokens = len(state(widget)["rows"])
    says = [f"there is no step {step}: asked has {num_tokens} output tokens", f"--step takes a number from 0 to {num_tokens}"]
    assert widget.note.splitlines() == says
    assert says[0] in widget.picture().to_text()
    assert says[0] in widget.picture().to_html()
    with pytest.raises(InvalidRequest, match="a token of a request"):
        widget.answer({"do": "detail", "id": ["asked", step]})


def test_a_mask_view_of_a_request_without_constraint_or_of_none_draws_nothing_and_says_why(engine):
    engine.generate("say", {"max_new_tokens": 3}, rid="free")
    for rid, says in [("free", "request free has no constraint"), ("nope", "no request is called nope")]:
        widget = engine.view("mask", live=True, rid=rid)
        assert json.loads(widget.get_state()["state"])["rows"] == []
        assert widget.note.startswith(says)
        assert len(widget.note.splitlines()) == 2
        assert widget.picture().to_text() == widget.note


def test_an_engine_that_ended_leaves_its_last_state_and_says_so(engine):
    widget = engine.view("tokens", live=True)
    engine.generate("say", {"max_new_tokens": 3}, rid="last")
    engine.shutdown()
    assert state(widget)["rid"] == "last"
    assert "shut down" in widget.note
    assert len(widget.note.splitlines()) == 2
    widget.close()


def test_pages_without_a_kernel_get_the_still_picture(engine):
    widget = engine.view("tokens", live=True, by="entropy")
    engine.generate("say", {"max_new_tokens": 3}, rid="kept")
    data, _ = widget._repr_mimebundle_()
    assert re.search("of kept: 3 tokens", data["text/plain"])
    assert "entropy, how undecided" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data
