"""Calls that users and programs of the reference write, on the real default model."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path

import jsonschema
import pytest
from pydantic import BaseModel, Field

import workbench as sgl
from workbench.errors import InvalidRequest, NotSupported
from workbench.lang.backends.engine import EngineBackend
from workbench.lang.chat_template import get_chat_template
from workbench.lang.tools import tools_text

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
EXAMPLES = Path(__file__).parents[2] / "docs/examples"
QUESTION = [{"role": "user", "content": "Name a color."}]


@pytest.fixture(scope="module")
def engine():
    with sgl.Engine("smollm2-135m", quantization="dequant", dtype="float32", max_total_tokens=20_000, random_seed=0) as engine:
        sgl.set_default_backend(engine)
        yield engine
        sgl.set_default_backend(None)


@pytest.mark.parametrize("more", [{}, {"return_dict": False}, {"return_tensors": "np"}, {"return_tensors": "pt"}], ids=str)
def test_a_conversation_that_the_tokenizer_wrote_is_the_chat(engine, more):
    tokenizer = engine.tokenizer_manager.tokenizer
    ids = tokenizer.apply_chat_template(QUESTION, tokenize=True, add_generation_prompt=True, **more)
    answer = engine.generate(input_ids=ids, temperature=0, max_tokens=8)
    (answer,) = answer if isinstance(answer, list) else [answer]  # a tensor is a batch of one
    assert answer["text"] == engine.chat(QUESTION, temperature=0, max_new_tokens=8)["text"]


def test_a_padded_batch_of_conversations_is_each_alone(engine):
    said = [QUESTION, [{"role": "user", "content": "Name a river that is long."}]]
    tokenizer = engine.tokenizer
    texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in said]
    ids = tokenizer(texts, padding=True, padding_side="left", add_special_tokens=False)
    together = engine.generate(input_ids=ids, temperature=0, max_tokens=8)
    assert [one["text"] for one in together] == [engine.chat(one, temperature=0, max_tokens=8)["text"] for one in said]


def test_a_role_that_nobody_knows_is_refused_and_a_tools_answer_is_not(engine):
    with pytest.raises(InvalidRequest, match=r"messages\[0\] role is 'foo', it must be one of system, user"):
        engine.chat([{"role": "foo", "content": "x"}])
    assert engine.chat([*QUESTION, {"role": "tool", "content": "blue"}], max_tokens=1)["output_ids"]


class Town(BaseModel):
    name: str = Field(max_length=12)
    inhabitants: int = Field(ge=0, le=10_000_000)


def test_json_of_a_schema_comes_as_its_value(engine):
    prompt = "The town of Riga as JSON: "
    town = engine.generate_json(prompt, Town, temperature=0, max_tokens=48)
    assert isinstance(town, Town)
    for form in (Town.model_json_schema(), json.dumps(Town.model_json_schema())):
        assert engine.generate_json(prompt, form, {"temperature": 0, "max_new_tokens": 48}) == town.model_dump()
    pairs = engine.generate_json([prompt, "A town: "], Town.model_json_schema(), n=2, max_tokens=48)
    assert [[jsonschema.validate(one, Town.model_json_schema()) for one in pair] for pair in pairs] == [[None] * 2] * 2


def test_json_that_is_cut_off_is_an_error_and_no_value(engine):
    for form in (Town, Town.model_json_schema()):
        with pytest.raises(InvalidRequest, match="the JSON is not complete after 3 tokens") as caught:
            engine.generate_json("A town: ", form, max_tokens=3)
        assert "max_new_tokens" in caught.value.hint
    with pytest.raises(InvalidRequest, match="json_schema is given as a keyword and in sampling_params"):
        engine.generate_json("A town: ", Town, {"json_schema": "{}"})
    with pytest.raises(InvalidRequest, match="JSON has a value when it is whole"):
        engine.generate_json("A town: ", Town, stream=True)


@pytest.mark.parametrize("dtype", [int, float, bool, str])
def test_a_typed_generation_is_a_python_literal_of_its_type_whatever_is_drawn(engine, dtype):
    program = sgl.function(lambda s, seed: s.__iadd__("Code 007 is agent number " + sgl.gen("a", 24, dtype=dtype, seed=seed)))
    states = program.run_batch([{"seed": seed} for seed in range(12)], temperature=1.5)
    for state in states:
        reason = state.get_meta_info("a")["finish_reason"]
        assert reason["type"] == "length" or type(ast.literal_eval(state["a"])) is dtype, state["a"]
    assert sum(state.get_meta_info("a")["finish_reason"]["type"] == "stop" for state in states) >= (1 if dtype is str else 6)


TOOLS = [{"name": "weather", "description": "The weather of a town.", "parameters": {"type": "object"}}]


def test_tools_are_read_in_the_default_format_with_and_without_roles(engine):
    plain = sgl.function(lambda s: s.__iadd__("Rain in Rome?" + sgl.gen("a", 8, tools=TOOLS))).run(temperature=0)
    alone = engine.generate(f"{tools_text(TOOLS)}\n\nRain in Rome?", temperature=0, max_tokens=8)
    assert plain["a"] == alone["text"]
    assert plain.text() == f"{tools_text(TOOLS)}\n\nRain in Rome?{alone['text']}"
    body = sgl.user("Rain in Rome?") + sgl.assistant(sgl.gen("a", 8, tools=TOOLS))
    talk = sgl.function(lambda s: s.__iadd__(body)).run(temperature=0)
    told = [{"role": "system", "content": tools_text(TOOLS)}, {"role": "user", "content": "Rain in Rome?"}]
    assert talk["a"] == engine.chat(told, temperature=0, max_tokens=8)["text"]
    assert "The weather of a town." in talk.text()
    assert "The weather of a town." in talk.show().to_text()


def test_a_look_at_the_next_token_writes_nothing(engine):
    body = "The capital of France is" + sgl.gen("next", max_tokens=0, return_logprob=True, top_logprobs_num=3)
    state = sgl.function(lambda s: s.__iadd__(body)).run()
    found = state.get_meta_info("next")
    prompt = engine.generate("The capital of France is", max_tokens=1, return_logprob=True, top_logprobs_num=3)
    (top,), (expected,) = found["output_top_logprobs"], prompt["meta_info"]["output_top_logprobs"]
    assert [token for _, token, _ in top] == [token for _, token, _ in expected]
    assert [logprob for logprob, *_ in top] == pytest.approx([logprob for logprob, *_ in expected], abs=1e-3)
    assert (state["next"], state.text(), found["finish_reason"]["length"]) == ("", "The capital of France is", 0)


def test_a_selection_names_the_log_probabilities_of_each_option(engine):
    state = sgl.function(lambda s: s.__iadd__("Grass is" + sgl.select("color", [" green", " made of glass"]))).run()
    found = state.get_meta_info("color")
    for option, mean, text in zip(
        found["input_token_logprobs"], found["normalized_prompt_logprobs"], found["choices"], strict=True
    ):
        assert engine.tokenizer.decode([token for _, token, _ in option]) == text
        assert sum(logprob for logprob, *_ in option) / len(option) == pytest.approx(mean)
    assert found["scores"] == pytest.approx(found["normalized_prompt_logprobs"])


def test_a_named_template_is_what_the_engine_reads(engine):
    backend = EngineBackend(engine, chat_template_name="llama-2-chat")
    program = sgl.function(lambda s: s.__iadd__(sgl.user("Hi") + sgl.assistant(sgl.gen("a", 4))))
    state = program.run(backend=backend, temperature=0)
    assert state.text() == f"[INST] Hi [/INST]{state['a']} </s><s>"
    assert state["a"] == engine.generate("[INST] Hi [/INST]", temperature=0, max_tokens=4)["text"]
    backend.chat_template = get_chat_template("chatml")
    theirs = program.run(backend=backend, temperature=0)
    assert theirs.text().startswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_a_program_may_name_the_patterns_of_typed_generations(engine):
    from workbench.lang.ir import REGEX_BOOL, REGEX_FLOAT, REGEX_INT, REGEX_STR

    @sgl.function
    def decode_json(s):
        s += "A town as JSON:\n"
        with s.var_scope("json"):
            s += '{"name": ' + sgl.gen(regex=REGEX_STR, max_tokens=16, stop="\n")
            s += ', "inhabitants": ' + sgl.gen(regex=REGEX_INT, stop=[" ", "\n"])
            s += ', "height": ' + sgl.gen(regex=REGEX_FLOAT, stop=[" ", "\n"])
            s += ', "is_old": "' + sgl.gen(regex=REGEX_BOOL) + '"}'

    state = decode_json.run(temperature=0)
    assert [type(value) for value in json.loads(state["json"]).values()] == [str, int, float, str]


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # Pydantic looks types up here
    spec.loader.exec_module(module)
    return module


def test_the_examples_of_the_language_run(engine, capsys):
    example("readme_examples").main()
    shown = capsys.readouterr()
    assert re.search(r"for example [A-Z]{3}-[0-9]{3} ?$", shown.out, re.M)
    assert "3/3 programs" in shown.err
    assert shown.out.count("assistant: ") == 2


def test_the_examples_of_json_run(engine, capsys):
    example("json_decode").main(engine)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".{0,16}: (clear|cloudy|storm), -?\d+ degrees", lines[0])
    assert set(json.loads(lines[1])) == {"latitude", "longitude"}
    assert set(ast.literal_eval(lines[3])) <= {"sun", "rain", "snow"}


def test_a_local_quick_start_runs_by_itself(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES / "quick_start"))
    runpy.run_path(str(EXAMPLES / "quick_start/local_example_complete.py"), run_name="__main__")
    assert "Country: Peru" in capsys.readouterr().out
    sgl.set_default_backend(None)


def test_a_runtime_has_its_template_chosen_on_its_endpoint(engine):
    with sgl.Runtime("smollm2-135m", dtype="float32", max_total_tokens=500) as runtime:
        runtime.cache_prefix("The rivers of the world:")
        assert runtime.cache.explain("The rivers of the world: Nile")["num_cached"] > 3
        runtime.endpoint.chat_template = get_chat_template("vicuna_v1.1")
        state = sgl.function(lambda s: s.__iadd__(sgl.user("Hi") + sgl.assistant(sgl.gen("a", 2)))).run(backend=runtime)
        assert "USER:Hi ASSISTANT:" in state.text()
        assert runtime.get_tokenizer() is runtime.tokenizer_manager.tokenizer


def test_pictures_are_refused_until_they_can_be_read(engine):
    with pytest.raises(NotSupported, match="image"):
        sgl.function(lambda s: s.__iadd__(sgl.user(sgl.image("cat.png") + "?"))).run(backend=engine)
