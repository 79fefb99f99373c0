"""Small seeded models of different kinds, here and in transformers: `workbench bench offline --families`.

Each has about 100 million weights and no text to speak of. Both systems run in one process, in turns, on the same prompts.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from workbench.api.engine import Engine
from workbench.bench.pictured import IMAGE, Pictures, num_tokens_of, pictured_prompts, their_writer, write_processor, writer
from workbench.bench.report import machine, markdown_table
from workbench.bench.workloads import random_ids
from workbench.config import ServerArgs

COMMON: dict[str, Any] = {
    "vocab_size": 32_000, "max_position_embeddings": 4096, "tie_word_embeddings": True, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("llama", {
        "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
        "num_key_value_heads": 4,
    }),
    "moe": ("qwen3_moe", {
        "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
        "head_dim": 64, "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 224,
    }),
    "mla": ("deepseek_v3", {
        "hidden_size": 768, "intermediate_size": 1536, "num_hidden_layers": 10, "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "q_lora_rank": 384, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "first_k_dense_replace": 10, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    }),
    "encoder": ("bert", {
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30_522,
        "max_position_embeddings": 512, "pad_token_id": 0,
    }),
    "vision": ("llava", {
        "image_token_index": IMAGE,
        "text_config": {
            "model_type": "llama", **COMMON, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12,
            "num_attention_heads": 8, "num_key_value_heads": 4,
        },
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
            "num_attention_heads": 8, "image_size": 224, "patch_size": 16, "projection_dim": 512,
        },
    }),
    "crossed": ("mllama", {
        "image_token_index": IMAGE,
        "text_config": {
            **COMMON, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "num_attention_heads": 8,
            "num_key_value_heads": 4, "cross_attention_layers": [3, 8], "bos_token_id": 0,
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 10, "num_global_layers": 2, "attention_heads": 6,
            "image_size": 224, "patch_size": 16, "vision_output_dim": 3 * 384, "intermediate_layers_indices": [3, 7],
        },
    }),
}  # fmt: skip
"""Kind -> the type in transformers, and its configuration. Each prompt of those that see has a picture: of "vision" in the place
of tokens, of "crossed" in layers of cross attention."""
SEEING = ("vision", "crossed")
STREAMS, PROMPT, NEW = 8, 256, 64
STD = 0.02


Make = Callable[[random.Random], list[list[int]]]
"""Function that makes the prompts of a round, those of the first call and as many of the second."""
Write = Callable[[list[list[int]], int], None]
"""Function that reads prompts and writes so many tokens behind each; an encoder makes a vector of each."""


@dataclass
class Side:
    """One system, and its seconds, one entry for each round."""

    write: Write
    kv_bytes: int
    """Memory of the keys and values of one token; 0 for an encoder, which writes no tokens."""
    prefill_s: list[float] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)

    def measure(self, prompts: list[list[int]], others: list[list[int]]) -> None:
        """Changes: adds the seconds of a round. `others` are prompts of the same lengths."""
        first = self._seconds(prompts, 1)
        self.prefill_s.append(first)
        if self.kv_bytes:
            self.decode_s.append(self._seconds(others, 1 + NEW) - first)

    def _seconds(self, prompts: list[list[int]], new: int) -> float:
        began = time.perf_counter()
        self.write(prompts, new)
        return time.perf_counter() - began

    @property
    def prefill_speed(self) -> float:
        """Prompt tokens a second."""
        return STREAMS * PROMPT / statistics.median(self.prefill_s)

    @property
    def decode_speed(self) -> float:
        """Returns tokens per second over all streams; NaN where a busy machine hid the time that they take."""
        seconds = statistics.median(self.decode_s)
        return STREAMS * NEW / seconds if seconds > 0 else math.nan


def kinds_table(kinds: Sequence[str], args: ServerArgs, rounds: int) -> str:
    """Measures each kind and returns the table; each row goes to stderr as soon as it is there."""
    head = ["kind", "architecture", "weights", "K/V of a token", "prefill, tokens/s", "decode, tokens/s"]
    rows = []
    for kind in kinds:
        rows.append(_row(kind, args, rounds))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    about = f"{STREAMS} prompts of {PROMPT} tokens, {NEW} more for each; medians of {rounds} rounds"
    return f"{about}; in brackets: transformers {transformers.__version__}. {machine()}\n\n{markdown_table(head, rows)}"


def _row(kind: str, args: ServerArgs, rounds: int) -> list[str]:
    is_encoder, sees, model = kind == "encoder", kind in SEEING, _made(kind)
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        if sees:
            write_processor(Path(folder), model.config)
        with _opened(folder, args, is_embedding=is_encoder, skip_tokenizer_init=not sees) as engine:
            info = engine.get_server_info()
            model = model.to(getattr(torch, info["dtype"]))
            if sees:
                ours, theirs, make = _seeing_sides(engine, model, Path(folder))
            else:
                ours = Side(_encoder(engine), 0) if is_encoder else Side(_writer(engine), info["kv_bytes_per_token"])
                theirs = Side(_their_encoder(model), 0) if is_encoder else Side(_their_writer(model), _their_kv_bytes(model))
                make = _random_prompts(model.config.vocab_size)
            _measure(ours, theirs, make, rounds)
    decode = "" if is_encoder else _pair(ours.decode_speed, theirs.decode_speed)
    kept = "none" if is_encoder else f"{ours.kv_bytes:,} ({theirs.kv_bytes:,})"
    size = f"{num_weights / 1e6:.0f} M"
    return [kind, type(model).__name__, size, kept, _pair(ours.prefill_speed, theirs.prefill_speed), decode]


def _made(kind: str) -> Any:
    """Returns transformers' model of a kind, with seeded weights."""
    model_type, values = KINDS[kind]
    config = transformers.AutoConfig.for_model(model_type, **({} if kind in SEEING else COMMON) | values)
    torch.manual_seed(0)
    autos = {"encoder": transformers.AutoModel} | dict.fromkeys(SEEING, transformers.AutoModelForImageTextToText)
    model = autos.get(kind, transformers.AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=STD)
    return model.eval()


def _opened(folder: str, args: ServerArgs, **options: bool) -> Engine:
    given = args.to_dict() | {"model_path": folder} | options
    if not options["is_embedding"]:
        given["max_total_tokens"] = 4 * STREAMS * (PROMPT + NEW)
    return Engine(**given)


def _random_prompts(vocab_size: int) -> Make:
    return lambda rng: [random_ids(rng, PROMPT, vocab_size) for _ in range(2 * STREAMS)]


def _seeing_sides(engine: Engine, model: Any, folder: Path) -> tuple[Side, Side, Make]:
    """Returns both systems with prompts that have a picture each, and what makes these."""
    tower, vocab_size = model.config.vision_config, model.config.text_config.vocab_size
    num_tokens, pictures = num_tokens_of(model.config), Pictures(tower.image_size)

    def make(rng: random.Random) -> list[list[int]]:
        prompts = pictured_prompts(rng, 2 * STREAMS, PROMPT, num_tokens, vocab_size)
        pictures.prepare(prompts)
        return prompts

    ours = Side(writer(engine, pictures), engine.get_server_info()["kv_bytes_per_token"])
    return ours, Side(their_writer(model, folder, pictures), _their_kv_bytes(model)), make


def _measure(ours: Side, theirs: Side, make: Make, rounds: int) -> None:
    rng = random.Random(0)
    for turn in range(1 + rounds):
        made = make(rng)
        prompts, others = made[:STREAMS], made[STREAMS:]
        for side in (ours, theirs):
            side.measure(prompts, others)
            if not turn:  # it warmed up
                side.prefill_s.clear()
                side.decode_s.clear()


def _writer(engine: Engine) -> Write:
    def write(prompts: list[list[int]], new: int) -> None:
        engine.generate(input_ids=prompts, sampling_params={"temperature": 0, "max_new_tokens": new, "ignore_eos": True})

    return write


def _encoder(engine: Engine) -> Write:
    def write(prompts: list[list[int]], _: int) -> None:
        engine.encode(input_ids=prompts)

    return write


def _their_writer(model: Any) -> Write:
    @torch.inference_mode()
    def write(prompts: list[list[int]], new: int) -> None:
        ids = torch.tensor(prompts)
        lengths = {"max_new_tokens": new, "min_new_tokens": new}
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **lengths)

    return write


def _their_encoder(model: Any) -> Write:
    @torch.inference_mode()
    def write(prompts: list[list[int]], _: int) -> None:
        model(torch.tensor(prompts)).last_hidden_state.mean(1).tolist()

    return write


@torch.inference_mode()
def _their_kv_bytes(model: Any) -> int:
    cache = model(torch.zeros(1, 1, dtype=torch.int64), use_cache=True).past_key_values
    filled = [layer for layer in cache.layers if layer.is_initialized]  # layers of cross attention are not, without a picture
    return sum(part.nbytes for layer in filled for part in (layer.keys, layer.values))


def _pair(ours: float, theirs: float) -> str:
    return f"{ours:,.0f} ({theirs:,.0f}), × {ours / theirs:.2f}"
