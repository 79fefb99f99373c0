"""`workbench.Grammar` and `engine.why`: the answers about a constraint, in words, as JSON and drawn."""

from __future__ import annotations

import json
import re

import pytest
from tiny_text import END, tokenizer, write_text_model

import workbench
from workbench.errors import InvalidRequest, NotSupported
from workbench.events import TokenSampled
from workbench.why.marked_text import line_with_carets, marked

HF = tokenizer()
IP = r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)"
WAND = {
    "type": "object",
    "properties": {"wood": {"enum": ["oak", "yew"]}, "length": {"type": "integer"}},
    "required": ["wood", "length"],
}


def grammar(**constraint) -> workbench.Grammar:
    return workbench.Grammar(tokenizer=HF, **constraint)


@pytest.fixture(scope="module", params=[False, True], ids=["thread", "process"])
def engine(request, tmp_path_factory):
    folder = write_text_model(tmp_path_factory.mktemp("model"))
    args = {"load_format": "dummy", "dtype": "float32", "max_total_tokens": 4000, "random_seed": 0, "num_threads": 1}
    with workbench.Engine(str(folder), process=request.param, **args) as engine:
        yield engine


@pytest.mark.parametrize(
    "constraint, error",
    [
        ({"regex": "[a-"}, "it must be a regular expression"),
        ({"regex": "(?=a)b"}, "lookahead"),
        ({"ebnf": "root ::= x"}, 'Rule "x" is not defined'),
        ({"grammar": "start: x"}, "unknown name 'x'"),
        ({"json_schema": "{"}, "it must be JSON"),
        ({"structural_tag": {"format": True}}, "structural_tag.format is True"),
        ({"regex": "a", "backend": "other"}, "no grammar backend 'other'"),
        ({}, "it must be one of json_schema, regex"),
    ],
)
def test_a_wrong_constraint_is_told_when_it_is_made(constraint, error):
    with pytest.raises((InvalidRequest, NotSupported), match=error):
        grammar(**constraint)
    with pytest.raises(InvalidRequest, match="must be a transformers fast tokenizer"):
        workbench.Grammar(regex="a", tokenizer="some-model")


def test_what_is_refused_can_still_be_looked_at_part_by_part():
    with pytest.raises(InvalidRequest, match="regular expression"):
        grammar(regex="(", check=False).replay("a")
    assert [finding.kind for finding in grammar(regex="(?=a)", check=False).lint().findings] == ["unsupported"]


# -- why ----------------------------------------------------------------------------------------------------------


def test_why_says_where_a_token_breaks_what_was_expected_and_what_is_near():
    why = grammar(regex=IP).why("349", "1.2.")
    assert not why.allowed
    assert (why.num_fit, why.num_bytes, why.expected) == (2, 3, ('"."',))
    assert why.sentence == (
        '"349" is not allowed after "1.2.": it breaks at its byte 2, after "34", where "." is expected '
        '(in the part `\\.` of the pattern). Nearest that are: "34", "3", "4", "9", "0".'
    )
    text, caret, pattern, carets = repr(why).splitlines()[1:]
    assert (text, caret) == ("1.2.349", "      ^")
    assert pattern[carets.index("^") : len(carets)] == r"\."


def test_a_token_may_be_asked_by_its_id_or_text_and_the_text_by_ids():
    asked = grammar(regex="[0-9]+ab")
    ids = [HF.convert_tokens_to_ids(token) for token in ("12", "34", "ab")]
    assert asked.why("ab", "1234").token == asked.why(ids[2], ids[:2]).token
    assert asked.why(ids[2], ids, at=2).allowed
    assert not asked.why(ids[2], ids).allowed
    assert asked.why("ab", "12abc", at=2).allowed
    assert asked.why("3412", "12").token.token_id is None
    assert asked.why("3412", "12").sentence == '"3412" is allowed after "12"; it is no single token.'


def test_the_end_of_the_text_and_special_tokens_have_reasons_of_their_own():
    asked = grammar(regex="[0-9]{2}")
    assert asked.why(END, "12").allowed
    early = asked.why(END, "1")
    assert not early.allowed
    assert early.sentence.startswith('"</s>" is not allowed after "1": the text may not end there, 0-9 must come')
    hf = tokenizer()
    hf.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    special = workbench.Grammar(tokenizer=hf, regex=".*").why("<tool>")
    assert not special.allowed
    assert "special token" in special.sentence


def test_half_characters_are_told_as_bytes():
    asked = grammar(regex="é+")
    (half,) = asked.allowed().tokens
    assert half.text == "\\xc3"
    assert asked.why(half.token_id).allowed
    assert asked.why("e", "é").expected == ('"é"', "the end of the text")


@pytest.mark.parametrize("wrong", [{"at": 9}, {"at": -1}])
def test_what_cannot_be_asked_is_an_error_with_its_limit(wrong):
    asked = grammar(regex="[0-9]+")
    with pytest.raises(InvalidRequest, match=r"at is .* between 0 and 2"):
        asked.why("1", "12", **wrong)
    with pytest.raises(InvalidRequest, match="token is 999999"):
        asked.why(999999)
    with pytest.raises(InvalidRequest, match="only '1' is"):
        asked.why("1", "1x")


def test_a_constraint_is_given_as_to_generate():
    pydantic = pytest.importorskip("pydantic")

    class Wand(pydantic.BaseModel):
        length: int

    for schema in (Wand, Wand.model_json_schema(), json.dumps(Wand.model_json_schema())):
        assert grammar(json_schema=schema).replay('{"length": 3}').is_complete
    for wrong in ({}, {"regex": "a", "ebnf": 'root ::= "a"'}, {"pattern": "a"}):
        with pytest.raises(InvalidRequest):
            grammar(**wrong)
    with pytest.raises(NotSupported, match="lookahead"):
        grammar(regex="(?=a)").why("a")


def test_every_kind_of_constraint_can_be_asked():
    chosen = grammar(choices=["left", "right"])
    assert chosen.replay("right").is_complete
    assert chosen.why("up").expected == ('"left"', '"right"')
    any_json = grammar(json_object=True)
    assert any_json.replay('{"a": [1, {"b": null}]}').is_complete
    assert any_json.why("]", '{"a": [1, {"b": ').place.path == ".a[1].b"
    assert grammar(grammar='root ::= x\nx ::= "ab"').why("b").place.rules == ("root", "x")
    assert grammar(grammar='start: "a" "b"').replay("ab").is_complete
    spaced = grammar(json_schema=WAND, max_whitespace=2)
    assert spaced.replay('{"wood":"oak",  "length": 3}').is_complete


def test_allowed_lists_the_tokens_that_may_come():
    allowed = grammar(regex="(12|13)x").allowed("1")
    assert {token.text for token in allowed.tokens} == {"2", "3"}
    assert str(allowed) == '2 tokens may come after "1" (in the parts `12`, `13` of the pattern): "2x" or "3x".'
    assert grammar(regex="a?").allowed().is_end


# -- replay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1.2.3.4", "255.255.255.255", "1.2.3", "1.2.3.456", "", "a", "1.2.3.4 ", "01.1.1.1"])
def test_replay_judges_as_fullmatch_does_and_points_at_the_first_wrong_character(text):
    found = grammar(regex=IP).replay(text)
    assert found.is_complete == (re.fullmatch(IP, text) is not None)
    partly = pytest.importorskip("regex").compile(IP)
    longest = max(k for k in range(len(text) + 1) if partly.fullmatch(text[:k], partial=True))
    assert found.num_fit == longest
    assert found.fits == (longest == len(text))
    if not found.is_complete:
        shown, carets = repr(found).splitlines()[1:3]
        assert shown[carets.index("^") :].startswith(text[longest : longest + 1])
        assert carets.count("^") == 1


def test_replay_names_line_and_column_and_the_place():
    found = grammar(ebnf='root ::= (row "\\n")+\nrow ::= [a-z]+ "=" [0-9]+').replay("a=1\nbc=漢2\n")
    assert (found.line, found.column, found.num_fit) == (2, 4, 7)
    assert found.sentence == (
        'The text breaks the constraint: "漢" at character 7 (line 2, column 4), where 0-9 is expected '
        "(in the rule `row`, the part `[0-9]+`)."
    )
    assert "\nbc=漢2\n   ^^\n" in repr(found)


def test_replay_tells_json_that_is_only_spaced_otherwise():
    asked = grammar(json_schema=WAND)
    assert (
        asked.replay('{"wood": "oak", "length": 11}').sentence == "The text satisfies the constraint: all of its 29 characters."
    )
    tight = asked.replay('{"wood":"oak","length":11}')
    assert not tight.fits
    assert tight.hint.startswith("Its value fits.")
    assert tight.hint in repr(tight)
    assert not asked.replay('{"wood":"elm","length":11}').hint
    cut = asked.replay('{"wood": "oak", "len')
    assert (cut.fits, cut.is_complete, cut.expected) == (True, False, ('the key "length"',))
    assert cut.sentence.startswith("The text fits but is incomplete: after 20 characters the key")


def test_answers_are_json_and_html_that_hides_nothing_and_escapes_everything():
    asked = grammar(regex=r"<b>[^<]*</b>")
    for answer in (asked.why("<i>", "<b>\u202ex"), asked.replay("<b>x<script>"), asked.allowed("<b>"), asked.replay("<b>\n</b>")):
        facts = json.loads(answer.to_json())
        assert facts["sentence"] == str(answer)
        assert facts["spec"] == {"kind": "regex", "text": r"<b>[^<]*</b>"}
        html = answer._repr_html_()
        assert "<script>" not in html
        assert "<i>" not in html
        assert "\u202e" not in html + repr(answer)
    broken = asked.replay("<b>x<script>")
    assert '<span class="wb-bad">s</span>' in broken._repr_html_()
    assert '<span class="wb-here">&lt;/b&gt;</span>' in broken._repr_html_()


def test_carets_stand_under_their_characters_also_beside_wide_and_hidden_ones():
    assert line_with_carets("ab漢c", [(3, 4)]) == "ab漢c\n    ^"
    assert line_with_carets("\x1bab", [(1, 2)]) == "␛ab\n ^"
    assert line_with_carets("x" * 200, [(100, 101)]).splitlines()[1].index("^") == 61
    assert line_with_carets("one\ntwo", [(7, 8)]) == "two\n   ^"
    assert line_with_carets("", [(0, 1)]) == "\n^"
    assert marked("a<b", [(1, 2)], "bad") == 'a<span class="wb-bad">&lt;</span>b'


# -- a request ----------------------------------------------------------------------------------------------------


def test_engine_why_looks_at_a_step_of_a_request(engine):
    result = engine.generate("say", {"regex": "(yes|no), [0-9]{4}", "temperature": 0, "max_new_tokens": 12}, rid="asked")
    ids = result["output_ids"]
    for step, token in enumerate(ids):
        why = engine.why("asked", token, step)
        assert why.allowed
        assert (why.step, why.chosen) == (step, why.token)
        refused = engine.why("asked", "漢", step)
        assert not refused.allowed
        assert refused.chosen.token_id == token
    last = engine.why("asked", "5")
    assert (last.step, last.text) == (len(ids) - 1, result["text"])
    assert last.expected == ("the end of the text",)
    assert f"at step {last.step}" in last.sentence
    assert last.sentence.endswith(f' What came there is "{END}".')


def test_engine_why_refuses_what_it_does_not_know(engine):
    engine.generate("say", {"max_new_tokens": 2}, rid="free")
    with pytest.raises(InvalidRequest, match="a request with a constraint"):
        engine.why("free", "a")
    with pytest.raises(InvalidRequest, match="whose events are in the log"):
        engine.why("nobody", "a")
    engine.generate("say", {"regex": "[0-9]{3}", "max_new_tokens": 2}, rid="again")
    engine.generate("say", {"regex": "[a-z]{3}", "max_new_tokens": 2}, rid="again")
    assert engine.why("again", "x").allowed, "the last request of that id counts"
    with pytest.raises(InvalidRequest, match="step is 3, it must be between 0 and 2"):
        engine.why("again", "x", 3)


def test_engine_mask_allows_as_many_tokens_as_the_engine_let_it_choose_from(engine):
    engine.generate("say", {"regex": "[a-z0-9]{3,9}!", "seed": 1, "max_new_tokens": 12}, rid="masked")
    events = [e for e in engine.log.read()[1] if isinstance(e, TokenSampled) and e.rid == "masked"]
    for event in events:
        mask = engine.mask("masked", event.position)
        assert event.forced or mask.num_allowed == event.num_allowed > 0
        assert mask.chosen.token_id == event.token_id
    with pytest.raises(InvalidRequest, match="step is 99"):
        engine.mask("masked", 99)


def test_engine_grammar_has_the_models_vocabulary(engine):
    asked = engine.grammar(json_schema=WAND)
    assert asked.vocabulary.eos_token_ids == {0}
    assert asked.replay('{"wood": "oak", "length": 11}').is_complete
