"""The language's own chat templates by name, compared with the models' Jinja templates where these are known."""

from __future__ import annotations

import pytest
from native_server import serving
from scripted_engine import ScriptedEngine

import workbench as sgl
from workbench.errors import InvalidRequest
from workbench.lang.chat import JinjaTemplate
from workbench.lang.chat_template import (
    MODELS,
    ChatTemplate,
    chat_template_registry,
    get_chat_template,
    get_chat_template_by_model_path,
    matching_function_registry,
    register_chat_template,
    register_chat_template_matching_function,
)

SAID = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Name a river.")]
MESSAGES = [{"role": role, "content": content} for role, content in SAID]
JINJA = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama-3-instruct": "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "granite-3-instruct": "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}",
    "llama-2-chat": "{% for m in messages %}{% if m.role == 'system' %}[INST] <<SYS>>\n{{ m.content }}\n<</SYS>>\n\n"
    "{% elif m.role == 'user' %}{% if loop.index != 2 %}[INST] {% endif %}{{ m.content }} [/INST]"
    "{% else %}{{ m.content }} </s><s>{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("name", JINJA)
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("prompted", [True, False])
def test_it_writes_what_the_models_template_writes(name, count, prompted):
    template = JinjaTemplate(JINJA[name], {})
    expected = template.render(MESSAGES[:count], add_generation_prompt=prompted, tools=None)
    assert get_chat_template(name).render(MESSAGES[:count], add_generation_prompt=prompted, tools=None) == expected


@pytest.mark.parametrize("name", chat_template_registry)
def test_every_template_writes_a_whole_conversation_in_order(name):
    text = get_chat_template(name).get_prompt(MESSAGES)
    places = [text.index(content) for _, content in SAID]
    assert places == sorted(places)


def test_a_default_system_message_stands_where_the_conversation_has_none():
    qwen = get_chat_template("qwen")
    assert qwen.render(MESSAGES[1:2], add_generation_prompt=False, tools=None).startswith("<|im_start|>system\nYou are a helpful")
    assert "helpful" not in qwen.render(MESSAGES[:2], add_generation_prompt=False, tools=None)
    assert "helpful" in qwen.get_prompt([{"role": "system", "content": None}])


@pytest.mark.parametrize(
    "path, name",
    [
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-chat"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "llama-2-chat"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3-instruct"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl"),
        ("lmms-lab/llava-onevision-qwen2-7b-ov-chat", "chatml-llava"),
        ("lmsys/vicuna-7b-v1.5", "vicuna_v1.1"),
        ("google/gemma-2-2b-it", "gemma-it"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3-Base", "default"),
        ("01-ai/Yi-1.5-34B-Chat", "yi-1.5"),
        ("smollm2-135m", "chatml"),
        ("gpt2", "default"),
    ],
)
def test_a_models_path_names_its_template(path, name):
    assert get_chat_template_by_model_path(path).name == name


def test_the_table_of_models_names_templates_that_exist():
    assert {name for name, _ in MODELS} <= chat_template_registry.keys()


def test_templates_of_ones_own_can_be_added():
    own = ChatTemplate("own", None, {"user": ("<", ">"), "assistant": ("[", "]")})
    try:
        register_chat_template(own)
        register_chat_template_matching_function(lambda path: own if path == "mine" else None)
        assert get_chat_template_by_model_path("mine") is own is get_chat_template("own")
        with pytest.raises(InvalidRequest, match="one that chat template own writes: user, assistant"):
            own.get_prompt([{"role": "tool", "content": "x"}])
    finally:
        del chat_template_registry["own"]
        matching_function_registry.clear()


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InvalidRequest, match=r"chat_template_name is 'chatmll', it must be one of .*chatml"):
        get_chat_template("chatmll")


@sgl.function
def talk(s):
    s += sgl.user("Hello")
    s += sgl.assistant(sgl.gen("a", max_tokens=3, stop="!"))


def test_an_endpoint_writes_the_named_template_and_stops_where_it_ends_a_message():
    with serving(ScriptedEngine()) as (url, requests):
        talk.run(backend=sgl.RuntimeEndpoint(url, chat_template_name="chatml"))
        backend = sgl.RuntimeEndpoint(url)
        backend.chat_template = get_chat_template("llama-3-instruct")
        talk.run(backend=backend)
        assert backend.get_chat_template().name == "llama-3-instruct"
        with pytest.raises(InvalidRequest, match="both given"):
            sgl.RuntimeEndpoint(url, chat_template="{{ 1 }}", chat_template_name="chatml")
    first, second = (body for path, body in requests if path == "/generate")
    assert first["text"] == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert first["sampling_params"]["stop"] == ["!", "<|im_end|>"]
    assert second["text"].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_a_server_that_names_no_template_has_that_of_its_model():
    engine = ScriptedEngine()
    engine.server_args.model_path = "Qwen/Qwen2.5-0.5B-Instruct"
    with serving(engine) as (url, requests):
        talk.run(backend=sgl.RuntimeEndpoint(url))
    assert requests[-1][1]["text"].startswith(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello"
    )
