"""Pages of the settings: all of them by group, and each name of the reference with its place here."""

from __future__ import annotations

import dataclasses
import typing

from generate.markdown import code, page, summary, table, words
from workbench.config import GROUPS, Group
from workbench.config.later import LATER, NO_EFFECT, flag
from workbench.config.limits import limits_of
from workbench.field_docs import field_docs

HEAD = ("keyword", "flag", "type", "range", "default", "meaning")


def configuration_page() -> str:
    """Writes one table per group of `ServerArgs`, with a row per field."""
    same = ", ".join(f"`{name}`" for name in sorted(NO_EFFECT))
    later = ((f"`{name}`", values(one.neutral), one.lacks, one.instead) for name, one in LATER.items())
    return page(
        "Configuration",
        "The same names are keywords of `Engine`, flags of the command line and options of `%wb load`.",
        *(part for group in GROUPS for part in (f"## {summary(group).partition('.')[0]}", table(HEAD, rows(group)))),
        "## Names of the reference that are not built yet",
        "They are accepted at a value that asks for nothing, and refused at others.",
        table(("name", "accepted", "not available yet", "instead"), later),
        f"Accepted at any value, as the engine always works so: {same}.",
    )


def rows(group: type[Group]) -> typing.Iterator[tuple[str, ...]]:
    """Yields a row per field: type, limits, default and meaning."""
    hints, docs, limits = typing.get_type_hints(group), field_docs(group), limits_of(group)
    for field in dataclasses.fields(group):
        name, allowed = field.name, ", ".join(limit.words for limit in limits.get(field.name, ()))
        codes = [code(text) for text in (name, flag(name), type_in_words(hints[name]))]
        yield *codes, allowed, code(repr(field.default)), words(docs[name])


def values(of: tuple[object, ...]) -> str:
    """Returns the values that read differently. Every spelling of nothing is None."""
    return ", ".join(dict.fromkeys(f"`{value or None!r}`" if value in ("", (), []) else f"`{value!r}`" for value in of))


def type_in_words(kind: object) -> str:
    """Returns the type of a setting; the values of a Literal."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if typing.get_origin(kind) is typing.Union:
        return " or ".join(map(type_in_words, typing.get_args(kind)))
    return "None" if kind is type(None) else kind.__name__ if isinstance(kind, type) else str(kind)


def moving_table() -> list[str]:
    """Returns the lines of a table: each flag of the reference, and what it does here."""
    ours = {field.name: (group, field) for group in GROUPS for field in dataclasses.fields(group)}
    lines = []
    for name in sorted({*REFERENCE, *LATER, *NO_EFFECT} - {"enable_radix_cache"}):
        if name in LATER:
            lines.append((code(flag(name)), "not\u00a0there", f"{LATER[name].lacks}: {LATER[name].instead}"))
        elif name in NO_EFFECT:
            lines.append((code(flag(name)), "no\u00a0effect", "the engine always works so"))
        elif name in ours:
            group, _ = ours[name]
            lines.append((code(flag(name)), "same", words(field_docs(group)[name].partition(". ")[0])))
    return table(("flag", "here", "what it is, or what to do instead"), lines)


REFERENCE = frozenset(
    """
    allow_auto_truncate api_key attention_backend chat_template chunked_prefill_size constrained_json_whitespace_pattern
    context_length decode_log_interval device disable_jump_forward disable_mla disable_outlines_disk_cache
    disable_overlap_schedule disable_radix_cache
    download_dir dtype enable_cache_report enable_custom_logit_processor enable_metrics enable_mixed_chunk
    enable_nan_detection file_storage_pth grammar_backend host is_embedding json_model_override_args kv_cache_dtype
    load_format log_level log_level_http log_requests max_prefill_tokens max_running_requests max_total_tokens
    mem_fraction_static prefill_only_one_req model_path port quantization quantization_param_path random_seed
    return_hidden_states revision sampling_backend schedule_conservativeness schedule_policy served_model_name show_time_cost
    skip_tokenizer_init stream_interval tokenizer_mode tokenizer_path tool_call_parser torchao_config trust_remote_code
    watchdog_timeout
    """.split()
)
"""Names of the reference's server arguments, version 0.4.3, beside those of `workbench.config.later`."""
