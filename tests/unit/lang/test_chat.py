"""Conversations as text: the output of the models' own templates, and the place of text outside roles."""

from __future__ import annotations

import warnings

import pytest
from scripted_backend import ScriptedBackend

import workbench as sgl
from workbench.errors import InvalidRequest, NotSupported
from workbench.lang.chat import JinjaTemplate, TokenizerTemplate, render_prompt
from workbench.lang.program import RoleLeftOpen
from workbench.lang.tools import tools_text
from workbench.text.chat import facts
from workbench.text.tokenizer import load_tokenizer

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Nile."},
    {"role": "user", "content": "Another?"},
]


TRIMMING = (  # The template writes its own begin token and strips each message, as Gemma's does.
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def hf(request):
    """Tokenizer of SmolLM2, with its own template, or of Gemma's base model, which has none and adds a begin token."""
    tokenizer = load_tokenizer(request.getfixturevalue(request.param)).hf
    tokenizer.chat_template = tokenizer.chat_template or TRIMMING
    return tokenizer


@pytest.fixture(params=["tokenizer", "jinja"])
def template(request, hf):
    if request.param == "tokenizer":
        return TokenizerTemplate(hf)
    found = facts(hf)
    return JinjaTemplate(found["chat_template"], {name: token for name, token in found.items() if name.endswith("_token")})


def prompt_of(*exprs):
    def body(s):
        for expr in exprs:
            s += expr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoleLeftOpen)
        return sgl.function(body).run(backend=ScriptedBackend())._executor.text.prompt()


def said(messages):
    verbs = {"system": sgl.system, "user": sgl.user, "assistant": sgl.assistant}
    return [verbs[message["role"]](message["content"]) for message in messages]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_closed_messages_are_the_template(hf, template, count):
    expected = hf.apply_chat_template(MESSAGES[:count], tokenize=False)
    assert render_prompt(prompt_of(*said(MESSAGES[:count])), template) == expected


@pytest.mark.parametrize("start", ["", "Sure: "])
def test_an_open_answer_is_the_generation_prompt_and_its_text(hf, template, start):
    expected = hf.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) + start
    assert render_prompt(prompt_of(*said(MESSAGES), sgl.assistant_begin() + start), template) == expected


def test_an_open_message_of_the_user_ends_where_its_text_ends(hf, template):
    text = render_prompt(prompt_of(*said(MESSAGES[:3]), sgl.user_begin() + "And"), template)
    whole = hf.apply_chat_template([*MESSAGES[:3], {"role": "user", "content": "And more"}], tokenize=False)
    assert whole.startswith(text)
    assert text.endswith("And")


def test_the_begin_token_is_there_once(hf, template):
    text = render_prompt(prompt_of(*said(MESSAGES)), template)
    sent = hf(text, add_special_tokens=False)["input_ids"]
    assert sent == hf.apply_chat_template(MESSAGES, return_dict=False)
    assert sent.count(hf.bos_token_id) == hf.apply_chat_template(MESSAGES, tokenize=False).count(hf.bos_token)


def test_text_outside_roles_stands_between_the_messages(hf, template):
    plain = hf.apply_chat_template(MESSAGES[:2], tokenize=False)
    rest = hf.apply_chat_template(MESSAGES[:3], tokenize=False)[len(plain) :]
    system, user, answer = said(MESSAGES[:3])
    assert render_prompt(prompt_of(system, user, "--", answer, "++"), template) == plain + "--" + rest + "++"
    bos = template.bos_token if plain.startswith(template.bos_token) else ""
    assert render_prompt(prompt_of("first", system, user), template) == bos + "first" + plain[len(bos) :]


def test_tools_stand_in_the_system_message_where_the_template_has_no_place_for_them(hf, template):
    def with_tool(prompt):
        return type(prompt)(prompt.parts, ({"name": "f"},))

    prompt, block = prompt_of(*said(MESSAGES)), tools_text([{"name": "f"}])
    first, *rest = MESSAGES
    for messages, content in ((MESSAGES, f"{first['content']}\n\n{block}"), (rest, block)):
        told = prompt_of(*said([{"role": "system", "content": content}, *rest]))
        assert render_prompt(with_tool(prompt_of(*said(messages))), template) == render_prompt(told, template)
    shown = JinjaTemplate("{% for t in tools %}{{ t | tojson }}{% endfor %}", {})
    assert render_prompt(with_tool(prompt), shown) == '{"type": "function", "function": {"name": "f"}}'


def test_a_model_without_a_template_says_what_to_give():
    class Bare:
        chat_template, bos_token = None, None

    with pytest.raises(NotSupported, match="no chat template") as caught:
        render_prompt(prompt_of(*said(MESSAGES)), TokenizerTemplate(Bare()))
    assert "chat_template=" in caught.value.hint


def test_a_template_that_refuses_or_is_broken_is_an_error_about_the_messages():
    refusing = JinjaTemplate("{{ raise_exception('roles must alternate') }}", {})
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        render_prompt(prompt_of(*said(MESSAGES)), refusing)
    with pytest.raises(InvalidRequest, match="a Jinja template"):
        render_prompt(prompt_of(*said(MESSAGES)), JinjaTemplate("{% for %}", {}))
