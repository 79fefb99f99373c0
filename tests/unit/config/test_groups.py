"""The groups of settings: each field is in one of them, documented, and limited where it is declared; `ServerArgs` holds all."""

from __future__ import annotations

import argparse
import dataclasses
import typing

import pytest

from workbench.config import GROUPS, CacheArgs, GrammarArgs, ModelArgs, ScheduleArgs, ServerArgs, ServerOptions
from workbench.engine.limits import CoreConfig
from workbench.errors import InvalidRequest, NotSupported
from workbench.field_docs import field_docs
from workbench.types import SamplingParams

NAMES = [field.name for group in GROUPS for field in dataclasses.fields(group)]


def test_every_setting_is_in_one_group_and_the_arguments_have_them_in_order():
    assert NAMES == [field.name for field in dataclasses.fields(ServerArgs)] == list(ServerArgs().to_dict())
    assert len(NAMES) == len(set(NAMES))


def test_a_part_is_the_group_with_the_values_of_the_arguments():
    args = ServerArgs.make(page_size=16, chunked_prefill_size=-1, schedule_policy="fcfs")
    assert args.part(CacheArgs) == CacheArgs(page_size=16)
    assert args.part(ScheduleArgs) == ScheduleArgs(chunked_prefill_size=-1, schedule_policy="fcfs")
    assert args.to_dict() == {name: value for group in GROUPS for name, value in args.part(group).to_dict().items()}


@pytest.mark.parametrize("cls", [*GROUPS, SamplingParams], ids=lambda cls: cls.__name__)
def test_every_field_has_a_docstring_that_is_a_sentence(cls):
    docs = field_docs(cls)
    names = cls.__struct_fields__ if cls is SamplingParams else [field.name for field in dataclasses.fields(cls)]
    assert list(docs) == list(names)
    assert [name for name, text in docs.items() if not (text[0].isupper() or text[0] == ".") or not text.endswith(".")] == []


def test_the_keywords_for_type_checkers_are_the_fields_and_may_be_none():
    keywords = typing.get_type_hints(ServerOptions)
    fields = typing.get_type_hints(ServerArgs)
    assert keywords.keys() ^ fields.keys() == {"enable_radix_cache", "model_path"}
    for name, hint in fields.items():
        if name == "model_path":  # an argument of its own
            continue
        assert set(typing.get_args(hint | None)) <= set(typing.get_args(keywords[name])), name


@pytest.mark.parametrize(
    "group, name, value, words",
    [
        (CacheArgs, "page_size", 0, "at least 1"),
        (CacheArgs, "mem_fraction_static", 1.0, "between 0 and 1"),
        (ScheduleArgs, "max_queued_requests", -1, "at least 0"),
        (ScheduleArgs, "chunked_prefill_size", 0, "at least 1"),
        (ScheduleArgs, "schedule_conservativeness", float("inf"), "above 0 and finite"),
        (GrammarArgs, "grammar_compile_timeout_s", 0.0, "above 0 seconds and finite"),
        (GrammarArgs, "grammar_compile_memory_mb", 127, "at least 128"),
        (ModelArgs, "json_model_override_args", "[]", "a JSON object"),
    ],
)
def test_a_value_outside_its_limits_is_refused_in_the_group_and_in_the_arguments(group, name, value, words):
    for make in (group, ServerArgs, ServerArgs.make):
        with pytest.raises(InvalidRequest, match=rf"{name} is {value!r}, it must be {words}".replace("[]", r"\[\]")):
            make(**{name: value})


def test_white_space_patterns_need_outlines():
    for make in (GrammarArgs, ServerArgs):
        assert make(constrained_json_whitespace_pattern=" ?", grammar_backend="outlines").grammar_backend == "outlines"
        with pytest.raises(NotSupported, match="needs grammar_backend outlines"):
            make(constrained_json_whitespace_pattern=" ?")


@pytest.mark.parametrize("kind", ["auto", "float32", "fp8_e5m2", "int8"])
def test_factors_from_a_file_need_the_type_that_has_them(kind):
    for make in (CacheArgs, ServerArgs, ServerArgs.make):
        assert make(quantization_param_path="f.json", kv_cache_dtype="fp8_e4m3").kv_cache_dtype == "fp8_e4m3"
        with pytest.raises(InvalidRequest, match=f"quantization_param_path needs kv_cache_dtype fp8_e4m3, not {kind}"):
            make(quantization_param_path="f.json", kv_cache_dtype=kind)


def test_help_says_meaning_range_and_default():
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    helps = {action.dest: action.help for action in parser._actions}
    assert helps["page_size"] == f"{field_docs(CacheArgs)['page_size']} (at least 1; default: 1)"
    assert helps["num_threads"].endswith("(at least 1; at most 1024; default: None)")


def test_the_core_takes_schedule_and_cache_settings_by_the_same_names():
    own = {field.name for field in dataclasses.fields(CoreConfig)}
    assert own >= {field.name for group in (CacheArgs, ScheduleArgs) for field in dataclasses.fields(group)}
    with pytest.raises(InvalidRequest, match="page_size is 0"):
        CoreConfig(num_pages=1, context_length=1, vocab_size=1, page_size=0)


def test_copies_of_pickled_weights_are_refused_with_a_way_out():
    with pytest.raises(InvalidRequest, match="one of 'auto', 'safetensors'") as caught:
        ServerArgs.make(model_path="x", load_format="npcache")
    assert "save_pretrained" in caught.value.hint
