"""The model families that run: one table for the loader, for `workbench models` and for the pages. Needs no torch.

`read` lists every key of config.json that the family computes with. Keys that change nothing are in `NO_EFFECT`; any other
key is refused by `config.py` unless its value is empty or one of `neutral`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import ModelUnsupported, shown

SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""Keys that no config.json may lack."""

ACTIVATIONS = frozenset("gelu gelu_fast gelu_new gelu_pytorch_tanh quick_gelu relu relu2 silu swish".split())


@dataclass(frozen=True)
class Family:
    """What one architecture is called, and what its config.json may say."""

    architecture: str
    """Name in `architectures` of config.json, and of the class."""
    title: str
    models: str
    """Some models of it, in words."""
    model_type: str
    gguf: str
    """Name of the architecture in GGUF files."""
    read: frozenset[str]
    defaults: Mapping[str, Any]
    """Values of keys that config.json leaves out or sets to null, as transformers supposes them."""
    choices: Mapping[str, frozenset[str]]
    """Values that are computed, for keys that are read and have names for values."""
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values at which a key that is not read means what is computed anyway."""
    leftovers: str = r"(^|\.)rotary_emb\.inv_freq$"
    """Names (a pattern) of tensors in checkpoints that nothing needs to read."""


_COMMON = frozenset(SIZES) | frozenset(
    "num_key_value_heads head_dim max_position_embeddings rms_norm_eps tie_word_embeddings attention_bias "
    "rope_theta rope_scaling rope_parameters".split()
)
_COMMON_NEUTRAL: dict[str, tuple[Any, ...]] = {"is_causal": (True,), "partial_rotary_factor": (1,), "logit_scale": (1,)}

LLAMA = Family(
    architecture="LlamaForCausalLM",
    title="Llama",
    models="Llama 1 to 3.3, SmolLM and SmolLM2, TinyLlama, and others saved under this architecture",
    model_type="llama",
    gguf="llama",
    read=_COMMON | {"hidden_act", "mlp_bias"},
    defaults={
        "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
        "attention_bias": False, "mlp_bias": False, "rope_theta": 10_000.0, "rope_scaling": None, "rope_parameters": None,
    },
    choices={"hidden_act": ACTIVATIONS},
    neutral=_COMMON_NEUTRAL | {"layer_types": ("full_attention",)},
)  # fmt: skip

GEMMA3 = Family(
    architecture="Gemma3ForCausalLM",
    title="Gemma 3 (text)",
    models="Gemma 3 270M and 1B, and the text half of larger ones saved alone",
    model_type="gemma3_text",
    gguf="gemma3",
    read=_COMMON
    | frozenset(
        "hidden_activation query_pre_attn_scalar sliding_window layer_types sliding_window_pattern _sliding_window_pattern "
        "final_logit_softcapping rope_local_base_freq".split()
    ),
    defaults={
        "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "attention_bias": False, "head_dim": 256, "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "layer_types": None, "sliding_window_pattern": None,
        "_sliding_window_pattern": 6, "final_logit_softcapping": None,
        "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0, "rope_scaling": None, "rope_parameters": None,
    },
    choices={"hidden_activation": ACTIVATIONS, "layer_types": frozenset({"full_attention", "sliding_attention"})},
    neutral=_COMMON_NEUTRAL | {"hidden_act": ("gelu_pytorch_tanh",)},
    leftovers=LLAMA.leftovers + r"|^(model\.)?(vision_tower|multi_modal_projector)\.",
)  # fmt: skip

FAMILIES = {family.architecture: family for family in (LLAMA, GEMMA3)}

NO_EFFECT = frozenset(
    # Where the file comes from and who may read it.
    "architectures model_type transformers_version _name_or_path name_or_path _commit_hash auto_map tokenizer_class "
    "torch_dtype dtype workbench_gguf model_name is_llama_config unsloth_version unsloth_fixed unsloth_optimized "
    "transformers.js_config attn_implementation _attn_implementation _attn_implementation_autoset use_cache cache_implementation "
    "max_sequence_length is_decoder chunk_size_feed_forward tie_last_hidden_states tie_encoder_decoder torchscript use_bfloat16 "
    # Training, and how one product was computed at that time.
    "initializer_range attention_dropout pretraining_tp tf_legacy_loss gradient_checkpointing "
    # Ids that the tokenizer and the engine read.
    "bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id "
    # What another kind of head would need.
    "id2label label2id num_labels problem_type finetuning_task task_specific_params prefix "
    # How to generate: a request says that.
    "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p "
    "typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids "
    "num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty "
    "suppress_tokens begin_suppress_tokens "
    # What transformers returns beside the logits.
    "output_attentions output_hidden_states output_scores return_dict return_dict_in_generate".split()
)


def family_of(config: Mapping[str, Any]) -> Family:
    """The family that config.json names. Raises `ModelUnsupported` with the list of those there are."""
    kind, names = config.get("model_type"), config.get("architectures") or []
    by_type = next((family for family in FAMILIES.values() if family.model_type == kind), None)
    found = next((FAMILIES[name] for name in names if name in FAMILIES), by_type if not names else None)
    known = f"architectures that run: {', '.join(FAMILIES)}"
    if found is None:
        what = ", ".join(map(str, names)) or f"model_type {shown(kind)}"
        raise ModelUnsupported(f"{what} is not supported", hint=known)
    if kind not in (None, found.model_type):
        raise ModelUnsupported(f"config.json names {found.architecture} and model_type {shown(kind)}: which is it?", hint=known)
    return found


def families_table() -> list[tuple[str, str, str, str]]:
    """(family, architecture in config.json, architecture in GGUF files, some of its models), with a head."""
    head = ("FAMILY", "config.json", "GGUF", "MODELS")
    return [head, *((f.title, f.architecture, f.gguf, f.models) for f in FAMILIES.values())]
