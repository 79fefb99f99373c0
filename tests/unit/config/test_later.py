"""Server arguments of the reference: accepted everywhere at their neutral values, refused with the reason at others."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from workbench.config import ServerArgs
from workbench.config.later import LATER, NO_EFFECT, flag
from workbench.errors import InvalidRequest, NotSupported, UnknownParameter

REFERENCE = {
    "model_path": "smollm2-135m", "tokenizer_path": None, "tokenizer_mode": "auto", "load_format": "auto",
    "trust_remote_code": False, "dtype": "auto", "kv_cache_dtype": "auto", "context_length": None, "device": "auto",
    "chat_template": None, "is_embedding": False, "revision": None, "skip_tokenizer_init": False,
    "json_model_override_args": "{}", "delete_ckpt_after_loading": False, "host": "127.0.0.1", "port": 30000, "api_key": None,
    "file_storage_pth": "sglang_storage", "enable_cache_report": False, "tp_size": 1, "dp_size": 1,
    "load_balance_method": "round_robin", "ep_size": 1, "mem_fraction_static": None, "max_running_requests": None,
    "max_total_tokens": None, "chunked_prefill_size": None, "max_prefill_tokens": 16384, "schedule_policy": "lpm",
    "schedule_conservativeness": 1.0, "cpu_offload_gb": 0, "prefill_only_one_req": False, "stream_interval": 1,
    "random_seed": None, "watchdog_timeout": 300, "download_dir": None, "base_gpu_id": 0, "allow_auto_truncate": False,
    "log_level": "info", "log_level_http": None, "log_requests": False, "show_time_cost": False, "enable_metrics": False,
    "decode_log_interval": 40, "dist_init_addr": None, "nnodes": 1, "node_rank": 0, "lora_paths": None, "max_loras_per_batch": 8,
    "lora_backend": "triton", "attention_backend": None, "sampling_backend": None, "grammar_backend": "outlines",
    "constrained_json_whitespace_pattern": None, "speculative_draft_model_path": None, "speculative_algorithm": None,
    "speculative_num_steps": 5, "speculative_num_draft_tokens": 64, "speculative_eagle_topk": 8,
    "enable_double_sparsity": False, "ds_channel_config_path": None, "ds_heavy_channel_num": 32, "ds_heavy_token_num": 256,
    "ds_heavy_channel_type": "qk", "ds_sparse_decode_threshold": 4096, "disable_radix_cache": False,
    "disable_jump_forward": False, "disable_cuda_graph": False, "disable_cuda_graph_padding": False,
    "disable_outlines_disk_cache": False, "disable_custom_all_reduce": False, "disable_mla": False,
    "disable_overlap_schedule": False, "enable_nan_detection": False, "enable_p2p_check": False,
    "triton_attention_reduce_in_fp32": False, "enable_mixed_chunk": False, "enable_dp_attention": False, "enable_ep_moe": False,
    "enable_torch_compile": False, "torch_compile_max_bs": 32, "cuda_graph_max_bs": None, "cuda_graph_bs": None,
    "torchao_config": "", "triton_attention_num_kv_splits": 8, "tool_call_parser": None,
    "enable_custom_logit_processor": False, "return_hidden_states": False,
}  # fmt: skip
"""Every server argument of the reference at its default there."""
OWN = {f.name for f in dataclasses.fields(ServerArgs)}


@pytest.mark.parametrize("name", REFERENCE)
def test_every_argument_is_accepted_at_its_neutral_value(name):
    made = ServerArgs.make(**{name: REFERENCE[name]})
    assert ServerArgs.make(**{name: None}) == ServerArgs()
    if name not in OWN:
        assert made == ServerArgs()


def test_all_at_once_are_the_engine_that_nobody_configured():
    same = ServerArgs.make(**REFERENCE)
    assert same == ServerArgs(log_level="info", grammar_backend="outlines")


@pytest.mark.parametrize("name", LATER)
def test_another_value_is_refused_with_the_reason_and_what_to_do_instead(name):
    other = True if LATER[name].is_switch else 7
    with pytest.raises(NotSupported, match=f"^{name}={other}: .* are not available yet\n.{{10}}") as caught:
        ServerArgs.make(**{name: other})
    assert len(caught.value._render_traceback_()) == 2


def test_a_number_is_no_switch_and_a_switch_no_number():
    with pytest.raises(NotSupported):
        ServerArgs.make(tp_size=True)
    with pytest.raises(NotSupported):
        ServerArgs.make(enable_torch_compile=0)
    with pytest.raises(InvalidRequest, match="disable_cuda_graph is 'yes', it must be True or False"):
        ServerArgs.make(disable_cuda_graph="yes")
    with pytest.raises(UnknownParameter, match="no parameter 'tp_sise'"):
        ServerArgs.make(tp_sise=1)


def parse(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    ServerArgs.add_cli_args(parser)
    return ServerArgs.from_cli_args(parser.parse_args(words))


@pytest.mark.parametrize(
    "words",
    [
        "--tp 1", "--tp-size 1", "--tensor-parallel-size 1", "--dp 1 --ep-size 1", "--enable-radix-cache", "--disable-cuda-graph",
        "--disable-cuda-graph-padding", "--host 127.0.0.1 --port 30000", "--nccl-init-addr None", "--lora-paths",
        "--watchdog-timeout 300 --node-rank 0 --base-gpu-id 0", "--speculative-algo None",
    ],
)  # fmt: skip
def test_the_command_line_has_their_flags_and_the_references_spellings(words):
    assert parse(*words.split()) == ServerArgs()


@pytest.mark.parametrize(
    "words, says",
    [
        ("--tp 2", "tp_size=2: several devices for one model"),
        ("--enable-torch-compile", "enable_torch_compile=True"),
        ("--lora-paths a b", r"lora_paths=\['a', 'b'\]: adapters"),
        ("--cuda-graph-bs 1 2", r"cuda_graph_bs=\[1, 2\]"),
        ("--speculative-draft org/draft", "speculative_draft_model_path='org/draft'"),
    ],
)
def test_the_command_line_refuses_what_is_not_built(words, says):
    with pytest.raises(NotSupported, match=says):
        parse(*words.split())


def test_short_forms_of_the_reference_are_still_told_apart():
    assert parse("--model", "x", "--mem-frac", "0.5", "--mem-fraction", "0.5").model_path == "x"


def test_help_lists_what_has_an_effect_alone():
    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    listed = parser.format_help()
    assert all(flag(name) in listed for name in OWN)
    assert not [name for name in (*LATER, *NO_EFFECT) if f"{flag(name)} " in listed]


def test_what_is_built_is_no_longer_on_the_list():
    assert not OWN & (LATER.keys() | NO_EFFECT)
