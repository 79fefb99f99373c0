"""The verbs of the language: the nodes they build, and the arguments they refuse at their line."""

from __future__ import annotations

import dataclasses

import pytest

import workbench as sgl
from workbench.errors import InvalidRequest, UnknownParameter
from workbench.lang.nodes import Gen, Image, RoleBegin, RoleEnd, Select, Seq, Text, Video, flatten
from workbench.lang.prompt import Prompt, Turn

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_strings_and_parts_add_up_in_either_order():
    gen, image = sgl.gen("x"), sgl.image("f.png")
    assert "a" + gen == Seq((Text("a"), gen))
    assert gen + "a" == Seq((gen, Text("a")))
    assert image + "q" + gen == Seq((image, Text("q"), gen))
    assert ("a" + gen) + ("b" + image) == Seq((Text("a"), gen, Text("b"), image))
    assert "" + gen + "" == Seq((gen,))


@pytest.mark.parametrize("wrong", [1, None, ["a"], b"a", 1.5])
def test_only_text_and_parts_are_appended(wrong):
    with pytest.raises(InvalidRequest, match="text or a part of the language"):
        list(flatten(wrong))


def test_nodes_are_frozen_and_print_well():
    node = sgl.gen("x", max_tokens=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        node.name = "y"
    assert repr(node) == "Gen(name='x', params={'max_new_tokens': 3}, logprobs={}, dtype=None, tools=())"


def test_gen_keeps_only_what_was_given_by_native_names():
    node = sgl.gen("x", 5, stop="\n", temperature=0, top_p=0.5, min_tokens=2, seed=1, n=2, return_logprob=True)
    assert node.params == {
        "max_new_tokens": 5, "stop": ("\n",), "temperature": 0.0, "top_p": 0.5, "min_new_tokens": 2, "seed": 1, "n": 2,
    }  # fmt: skip
    assert node.logprobs == {"return_logprob": True}
    assert sgl.gen() == Gen()
    assert sgl.gen(min_tokens=500).params == {"min_new_tokens": 500}
    assert sgl.gen(top_logprobs_num=3).logprobs == {"return_logprob": True, "top_logprobs_num": 3}
    assert sgl.gen(tools=[{"name": "f"}]).tools == ({"name": "f"},)


def test_a_schema_may_be_a_dict_or_text_and_a_grammar_has_two_names():
    assert sgl.gen(json_schema=SCHEMA).params["json_schema"].replace(" ", "").startswith('{"type":"object"')
    assert sgl.gen(json_schema='{"type": "object"}').params == {"json_schema": '{"type": "object"}'}
    assert sgl.gen(grammar="root ::= x").params == sgl.gen(ebnf="root ::= x").params == {"ebnf": "root ::= x"}
    assert sgl.gen(grammar='start: "a"').params == {"grammar": 'start: "a"'}
    assert sgl.gen(json_object=True, max_whitespace=2).params == {"json_object": True, "max_whitespace": 2}


def test_typed_generations_carry_their_type():
    assert sgl.gen_int("x", max_tokens=3) == Gen("x", {"max_new_tokens": 3}, dtype=int)
    assert sgl.gen_string("x").dtype is str
    assert [sgl.gen(dtype=kind).dtype for kind in (int, "int", float, bool, "str")] == [int, int, float, bool, str]


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"regex": "a", "ebnf": "b"}, "regex and ebnf are given together"),
        ({"regex": "a", "json_schema": SCHEMA}, "regex and json_schema are given together"),
        ({"dtype": int, "regex": "a"}, "regex and dtype are given together"),
        ({"choices": ["a"], "dtype": int}, "dtype and choices are given together"),
        ({"ebnf": "a", "grammar": "a"}, "ebnf and grammar are given together"),
        ({"json_object": True, "dtype": int}, "json_object and dtype are given together"),
        ({"choices": []}, "choices is [], it must be a list of at least one string"),
        ({"choices": "abc"}, "choices is 'abc', it must be a list"),
        ({"choices": ["a", ""]}, "at least one character"),
        ({"choices": ["a", "a"]}, "all different"),
        ({"choices": ["a"], "choices_method": "best"}, "one of the choices methods"),
        ({"choices_method": sgl.greedy_token_selection}, "given without choices"),
        ({"temperature": -1}, "temperature is -1"),
        ({"max_tokens": "many"}, "max_new_tokens is 'many', it must be an integer"),
        ({"dtype": list}, "int, float, str or bool"),
        ({"json_schema": "{"}, "it must be JSON"),
        ({"name": 3}, "name is 3"),
        ({"return_logprob": 1}, "return_logprob is 1, it must be of type bool"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says):
    with pytest.raises(InvalidRequest) as caught:
        sgl.gen(**arguments)
    assert says in f"{caught.value}\n{caught.value.hint}"
    assert len(caught.value._render_traceback_()) <= 2


@pytest.mark.parametrize("more", [{}, {"choices": ["a"]}])
def test_an_unknown_keyword_suggests_the_nearest(more):
    with pytest.raises(UnknownParameter, match="gen has no parameter 'temprature'") as caught:
        sgl.gen("x", temprature=0, **more)
    assert caught.value.hint == "did you mean 'temperature'?"


def test_choices_make_a_select():
    assert sgl.gen("x", choices=["a", "b"]) == sgl.select("x", ["a", "b"])
    assert sgl.select("x", ["a"]) == Select("x", ("a",), sgl.token_length_normalized)
    assert sgl.gen(choices=["a"], choices_method=sgl.greedy_token_selection).method is sgl.greedy_token_selection


def test_roles_and_media():
    assert sgl.user("a" + sgl.gen("x")) == Seq((RoleBegin("user"), Text("a"), sgl.gen("x"), RoleEnd("user")))
    assert [sgl.system_begin(), sgl.assistant_end()] == [RoleBegin("system"), RoleEnd("assistant")]
    assert sgl.video("f.mp4", 4) == Video("f.mp4", 4)
    assert sgl.image("f.png") == Image("f.png")
    with pytest.raises(InvalidRequest, match="num_frames"):
        sgl.video("f.mp4", 0)


def test_a_prompt_is_turns_messages_and_plain_text():
    parts = (Text("a"), Text("b"), RoleBegin("user"), Image("i"), Text("c"), RoleEnd("user"), RoleBegin("assistant"), Text("d"))
    prompt = Prompt(parts)
    assert prompt.turns == (
        Turn(None, (Text("ab"),)), Turn("user", (Image("i"), Text("c"))), Turn("assistant", (Text("d"),), is_open=True)
    )  # fmt: skip
    assert (prompt.has_roles, prompt.open_role, prompt.media) == (True, "assistant", (Image("i"),))
    assert prompt.plain_text == "ab\nuser: c\nassistant: d"
    assert prompt.messages[1] == {"role": "assistant", "content": "d"}
    assert Prompt((Text("a"), Text("b"))).plain_text == "ab"
    assert Prompt((RoleBegin("user"),)).turns == (Turn("user", (), is_open=True),)
    assert Prompt().turns == ()
