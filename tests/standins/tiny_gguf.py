"""Tiny GGUF files of both families: random weights in a storage type of choice, and a real tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel

CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
BOTH = [("attn_norm", 64), ("attn_q", 64, 64), ("attn_k", 32, 64), ("attn_v", 32, 64), ("attn_output", 64, 64), ("ffn_norm", 64)]
BOTH += [("ffn_gate", 96, 64), ("ffn_up", 96, 64), ("ffn_down", 64, 96)]
MORE_NORMS = [("attn_q_norm", 16), ("attn_k_norm", 16), ("post_attention_norm", 64), ("post_ffw_norm", 64)]


@dataclass
class GgufSpec:
    """The contents of a tiny GGUF; a test changes the part that it is about."""

    arch: str = "llama"
    tokenizer: str = "gpt2"
    pre: str = "smollm"
    num_layers: int = 2
    num_kv_heads: int = 2
    meta: dict[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    quant: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0


def write_gguf(path: Path, spec: GgufSpec) -> Path:
    writer = gguf.GGUFWriter(path, spec.arch)
    writer.add_block_count(spec.num_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(spec.num_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    if spec.arch == "gemma3":
        writer.add_key_length(16)
        writer.add_sliding_window(8)
        vocab_size = add_sentencepiece(writer)
    else:
        writer.add_rope_dimension_count(16)
        vocab_size = add_byte_level(writer, spec.tokenizer, spec.pre)
    for key, value in spec.meta.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
        writer.kv_data[0].pop(key, None)  # in place of the usual value
        (writer.add_array if isinstance(value, list) else add[type(value)])(key, value)
    rng = np.random.default_rng(0)
    shapes = {"token_embd.weight": (vocab_size, 64), "output_norm.weight": (64,)}
    for layer in range(spec.num_layers):
        leaves = BOTH + (MORE_NORMS if spec.arch == "gemma3" else [])
        shapes |= {f"blk.{layer}.{leaf}.weight": tuple(shape) for leaf, *shape in leaves}
    for name, shape in shapes.items():
        if name in spec.drop:
            continue
        values = rng.standard_normal(shape).astype(np.float32) * 0.2 + (1 if len(shape) == 1 else 0)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, spec.quant), raw_dtype=spec.quant)
    for name, values in spec.extra.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_byte_level(writer: gguf.GGUFWriter, kind: str, pre: str) -> int:
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"]
    tokens = ["<s>", "</s>", *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges)]
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT)
    return len(tokens)


def add_sentencepiece(writer: gguf.GGUFWriter) -> int:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "\n\n", "  ", "   ", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [3, 3, 3, 3, 4, 4, 4] + [6] * 256
    pieces = ["▁t", "he", "▁the", "in", "ing", "▁", "t", "h", "e", "i", "n", "g", "s", "\n"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens + pieces)
    writer.add_token_scores([-1000.0] * len(tokens + pieces))
    writer.add_token_types(types + [1] * len(pieces))
    for name, index in (("bos", 2), ("eos", 1), ("unk", 3), ("pad", 0)):
        getattr(writer, f"add_{name}_token_id")(index)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(tokens + pieces)
