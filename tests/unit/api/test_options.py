"""Shift-Tab and completion show the real names of options: in `inspect.signature`, `?`, and both completers of IPython."""

from __future__ import annotations

import inspect

import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import workbench
from workbench.api.options import ViewName, ViewOptions
from workbench.config import ServerArgs
from workbench.lang.verbs import gen
from workbench.native.requests import KINDS, SAMPLING, PromptOptions
from workbench.types import SamplingParams
from workbench.views.live import HELP, VIEWS
from workbench.views.recorded.recording import MOST_MOMENTS

TEXT_METHODS = ["generate", "async_generate", "chat", "async_chat", "generate_json"]
SETTINGS = [*inspect.signature(ServerArgs).parameters]


def parameters(function) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_text_methods_show_every_sampling_parameter_and_option_with_its_default(name):
    shown = parameters(getattr(workbench.Engine, name))
    assert shown.keys() >= SAMPLING | KINDS.keys()
    assert not [p for p in shown.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for field in SamplingParams.__struct_fields__:
        if field != "n":
            assert shown[field].default == getattr(SamplingParams(), field)
    for field in KINDS:
        assert shown[field].default == getattr(PromptOptions(), field)
        assert shown[field].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("cls", [workbench.Engine, workbench.Runtime])
def test_an_engine_shows_every_setting_with_its_default(cls):
    shown = parameters(cls)
    assert shown.keys() == {*SETTINGS, "enable_radix_cache", "process", "progress"}
    assert {name: shown[name].default for name in SETTINGS} == ServerArgs().to_dict()
    assert shown["page_size"].annotation == "int"
    assert shown["max_total_tokens"].annotation == "int | None"


def test_view_shows_the_options_of_all_views_with_their_defaults():
    shown = parameters(workbench.Engine.view)
    own = {p.name: p.default for kind in VIEWS.values() for p in [*parameters(kind.fold).values()][1:]}
    assert {name: shown[name].default for name in ViewOptions.__annotations__} == own
    assert set(ViewName.__args__) == set(HELP)
    assert parameters(workbench.Engine.recording)["moments"].default == MOST_MOMENTS


@pytest.mark.parametrize("cls, field", [(SamplingParams, "temperature"), (ServerArgs, "page_size"), (ServerArgs, "log_level")])
def test_help_on_a_class_says_what_its_fields_mean(cls, field):
    assert f"\n{field}: " in inspect.getdoc(cls)


@pytest.fixture(scope="module")
def completer():
    shell = InteractiveShell()
    shell.user_ns |= {"workbench": workbench, "engine": workbench.Engine.__new__(workbench.Engine), "gen": gen}
    return IPCompleter(shell=shell, namespace=shell.user_ns, global_namespace=shell.user_ns)


@pytest.mark.parametrize("use_jedi", [True, False], ids=["jedi", "runtime"])
@pytest.mark.parametrize(
    "line, offered",
    [
        ("engine.generate('Once', temp", {"temperature="}),
        ("engine.generate(max_n", {"max_new_tokens="}),
        ("engine.generate_json('Once', City, re", {"regex=", "repetition_penalty=", "return_logprob=", "return_hidden_states="}),
        ("engine.chat(talk, top_", {"top_k=", "top_p=", "top_logprobs_num="}),
        ("engine.async_generate('Once', str", {"stream=", "structural_tag="}),
        ("engine.view('batch', ste", {"step=", "steps="}),
        ("engine.grammar(js", {"json_schema=", "json_object="}),
        ("workbench.Engine(page_", {"page_size="}),
        ("workbench.Engine('m', chu", {"chunked_prefill_size="}),
    ],
)
def test_completers_offer_the_option_names(completer, use_jedi, line, offered):
    completer.use_jedi = use_jedi
    with provisionalcompleter():
        found = {completion.text.lstrip(".") for completion in completer.completions(line, len(line))}
    assert offered <= found
