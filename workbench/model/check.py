"""A model's configuration, judged key by key: read, known to change nothing, or refused by name.

Imports the file of the family that the configuration names, and torch with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.checkpoint.files import read_config
from workbench.checkpoint.folders.declared import KEYS as QUANTIZED
from workbench.checkpoint.folders.declared import Declared, declared
from workbench.checkpoint.gguf_file import open_gguf_file
from workbench.config import ServerArgs
from workbench.errors import ModelCorrupt, ModelUnsupported, shown
from workbench.kernels.environment import prepare_libraries
from workbench.kernels.quick_imports import quick_imports
from workbench.model.config import SIZES, ModelConfig
from workbench.model.family import Family
from workbench.model.gguf import check_keys, check_kind
from workbench.model.registry import Entry, family_of, family_of_gguf
from workbench.model.rope import check_rope
from workbench.model.scheme import check_scheme
from workbench.model.words import Reworded, reword

OF_A_MODEL = "is this the config.json of a model?"
MOST_PARTS = 4096
"""More layers, or experts in one, than any model has: they would take time and memory before a tensor is found missing."""
PARTS = re.compile(r"layers$|experts$|^depth$")
"""Keys that count parts of a model."""
COUNTS = (*SIZES, "num_key_value_heads", "head_dim", "max_position_embeddings")

NO_EFFECT = frozenset(
    # The origin and the licence of the file.
    "architectures model_type transformers_version _name_or_path name_or_path _commit_hash auto_map tokenizer_class "
    "torch_dtype dtype _from_model_config model_name is_llama_config unsloth_version unsloth_fixed unsloth_optimized "
    "transformers.js_config attn_implementation _attn_implementation _attn_implementation_autoset use_cache cache_implementation "
    "max_sequence_length is_decoder chunk_size_feed_forward tie_last_hidden_states tie_encoder_decoder torchscript use_bfloat16 "
    "is_composition output_past "
    # Training, and how one product was computed at that time.
    "initializer_range attention_dropout attention_probs_dropout_prob hidden_dropout_prob classifier_dropout "
    "hidden_dropout resid_pdrop embd_pdrop attn_pdrop residual_dropout embedding_dropout embed_dropout resid_dropout "
    "embd_dropout attn_dropout_prob emb_dropout_prob attention_dropout_prob embedding_dropout_prob ffn_dropout_prob "
    "pretraining_tp tf_legacy_loss gradient_checkpointing "
    "output_router_logits router_aux_loss_coef router_jitter_noise input_jitter_noise "
    "aux_loss_alpha seq_aux ep_size moe_jitter_eps moe_loss_weight emb_pdrop "
    # Ids that the tokenizer and the engine read.
    "bos_token_id eos_token_id pad_token_id _pad_token_id sep_token_id decoder_start_token_id "
    # Settings of other kinds of heads.
    "id2label label2id num_labels problem_type finetuning_task task_specific_params prefix "
    # Settings of generation, which belong to a request.
    "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p "
    "typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids "
    "num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty "
    "suppress_tokens begin_suppress_tokens "
    # Settings of a picture's processor, which has files of its own.
    "ignore_index image_seq_length "
    # A setting of the engine, read by the families that it concerns.
    "disable_mla "
    # The token that a reward model's caller puts behind a conversation (InternLM 2).
    "reward_token_id "
    # Functions that sentence-transformers applies to scores, which are returned as the head gives them.
    "sentence_transformers sbert_ce_default_activation_function "
    # Further outputs of transformers.
    "output_attentions output_hidden_states output_scores return_dict return_dict_in_generate".split()
)


@dataclass(frozen=True)
class Checked:
    """A model whose whole configuration is computed."""

    entry: Entry
    family: Family[Any]
    config: ModelConfig
    declared: Declared | None = None
    """Quantised weights of a folder; None where they are dense, or a GGUF file's."""


def check_model(path: Path, override: Mapping[str, Any] | None = None, *, dummy: bool = False) -> Checked:
    """Judges the configuration of a folder or a GGUF file; `override` replaces keys of it. Reads no weights.

    With `dummy`, files about quantisation beside config.json do not matter.
    """
    beside = None if dummy or path.is_file() else path
    return check_config(read_values(path) | dict(override or {}), beside, path)


def checker(args: ServerArgs) -> Callable[[Path], None]:
    """Returns the function that judges the configuration of the model that `args` name, before its weights are fetched."""

    def check(path: Path) -> None:
        prepare_libraries()  # before torch, which comes in with the family's file
        with quick_imports():
            checked = check_model(path, override_of(args), dummy=args.load_format == "dummy")
        check_scheme(args, path, checked.declared)

    return check


def override_of(args: ServerArgs) -> dict[str, Any]:
    """Returns the keys that replace those of config.json."""
    found: dict[str, Any] = json.loads(args.json_model_override_args)
    return found | ({"disable_mla": True} if args.disable_mla else {})


def read_values(path: Path) -> dict[str, Any]:
    """Returns config.json of a folder, or what a GGUF file says in its place."""
    if not path.is_file():
        return read_config(path)
    gguf = open_gguf_file(path)
    check_kind(gguf)
    entry = family_of_gguf(gguf)
    rules = entry.family.gguf
    assert rules is not None
    check_keys(gguf, rules.keys)
    with gguf.is_to_blame():
        values = rules.values(gguf)
    return {"architectures": [entry.architecture], "model_type": entry.model_type, **values}


def end_ids(path: Path) -> frozenset[int]:
    """Returns the ids of the tokens that end a generation, as the configuration of a folder or GGUF file says."""
    if path.is_file():
        return open_gguf_file(path).end_ids()
    ids = read_config(path).get("eos_token_id")
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def check_config(values: Mapping[str, Any], folder: Path | None = None, place: Path | None = None) -> Checked:
    """Judges a config.json. `folder` may hold further files about quantisation; `place` is the model's folder, if it has one.

    Raises ModelUnsupported for what is not computed, ModelCorrupt for what makes no model.
    """
    entry = family_of(values)
    found = declared(values, folder)
    family, values = entry.family, dict(values)
    if family.composed is not None:
        family, values = family.composed(values, place)
    reworded = reword(values, family.config.words)
    _check_keys(entry, family, reworded)
    _check_counts(family.config, reworded)
    for name, described in _ropes(family, reworded.values).items():
        check_rope(name, described, family.config.rotates_part, family.config.turns_by_axes)
    return Checked(entry, family, family.config.make(reworded.values, reworded.said), found)


def _check_keys(entry: Entry, family: Family[Any], reworded: Reworded) -> None:
    choices = family.config.choices()
    refused = [key for key, value in reworded.values.items() if not _is_known(family, choices, key, value)]
    if not refused:
        return
    first, names = refused[0], [reworded.said(key) for key in refused]
    more = f" (and {len(refused) - 1} more: {', '.join(names[1:4])})" if len(refused) > 1 else ""
    message = f"config.json has {names[0]} = {shown(reworded.values[first])}{more}, which {entry.title} does not compute here"
    if first in choices:
        raise ModelUnsupported(message, hint=f"computed for {names[0]}: {', '.join(sorted(choices[first]))}")
    neutral = json.dumps(dict.fromkeys(names))
    raise ModelUnsupported(message, hint=f"if it changes nothing, say so: json_model_override_args='{neutral}'")


def _is_known(family: Family[Any], choices: Mapping[str, frozenset[str]], key: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if key in choices:
        return value is None or all(item in tuple(choices[key]) for item in values)
    if key in family.config.read_keys() or {key, key.rpartition(".")[2]} & NO_EFFECT or key in QUANTIZED:
        return True
    if value is not None and key in family.neutral:
        return all(item in family.neutral[key] for item in values)
    return value is None or value is False or value in ("", [], {})


def _check_counts(config: type[ModelConfig], reworded: Reworded) -> None:
    values = {key: value for key, value in reworded.values.items() if value is not None}
    for key in COUNTS:
        value, said = values.get(key), reworded.said(key)
        if isinstance(value, list | dict):
            message = f"config.json has {said} = {shown(value)}: sizes that differ by layer are not supported"
            raise ModelUnsupported(message, hint="models run whose layers are all of one size")
        if value is not None and (type(value) is not int or value < 1):
            raise ModelCorrupt(f"config.json has {said} = {shown(value)}, it must be a whole number above 0", hint=OF_A_MODEL)
    check_parts(values, reworded.said)
    derived = config.derived({"hidden_size": 1, "num_attention_heads": 1} | values)
    missing = [key for key in SIZES if key not in values and key not in derived]
    if missing:
        known = [key for key, word in config.words.items() if word == missing[0]]
        raise ModelCorrupt(f"config.json has no {(known or missing)[0]!r}", hint="is this the folder of a complete model?")
    values = derived | values
    heads, kv_heads = values["num_attention_heads"], values["num_key_value_heads"]
    if heads % kv_heads:
        message = f"config.json has {heads} attention heads for {kv_heads} of keys and values, not a multiple"
        raise ModelCorrupt(message, hint=OF_A_MODEL)
    kinds = values.get("layer_types")
    if kinds is not None and len(kinds) < values["num_hidden_layers"]:
        message = f"config.json has {len(kinds)} layer_types for {values['num_hidden_layers']} layers"
        raise ModelCorrupt(message, hint=OF_A_MODEL)


def check_parts(values: Mapping[str, Any], said: Callable[[str], str]) -> None:
    """Raises ModelCorrupt for keys that count more parts than any model has. `said` gives the key of config.json for one."""
    for key, value in values.items():
        if PARTS.search(key) and isinstance(value, int) and value > MOST_PARTS:
            message = f"config.json has {said(key)} = {value:,}, more than the {MOST_PARTS:,} that are read"
            raise ModelCorrupt(message, hint=OF_A_MODEL)


def _ropes(family: Family[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns each description of a rotary embedding by its place."""
    found = {key: values[key] for key in ("rope_scaling", "rope_parameters") if values.get(key)}
    own = found.get("rope_parameters")
    if family.config.ropes_by_kind and isinstance(own, dict):
        del found["rope_parameters"]
        found |= {f"rope_parameters.{kind}": value for kind, value in own.items() if value is not None}
    return found
