"""The table of families measures both systems on models of every kind."""

from __future__ import annotations

import re

import pytest

from workbench.bench import families
from workbench.cli import main
from workbench.config import ServerArgs

TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 320}
SMALL = {
    "num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "q_lora_rank": 32,
    "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 32, "v_head_dim": 16, "first_k_dense_replace": 2,
}  # fmt: skip
TOWER = {key: TINY[key] for key in TINY if key != "vocab_size"} | {"image_size": 16, "patch_size": 8}
CROSSED = TOWER | {"num_global_layers": 1, "attention_heads": 2, "intermediate_layers_indices": [1], "vision_output_dim": 128}
SMALL_HALVES = {
    "vision": (TINY | {"num_key_value_heads": 2}, TOWER),
    "crossed": (TINY | {"num_key_value_heads": 2, "num_hidden_layers": 3, "cross_attention_layers": [1]}, CROSSED),
}  # fmt: skip


@pytest.mark.heavy
def test_every_kind_has_a_row_with_both_speeds(monkeypatch):
    kinds = {}
    for kind, (model_type, values) in families.KINDS.items():
        fewer = {key: SMALL[key] for key in SMALL.keys() & values.keys()} | ({"num_key_value_heads": 4} if kind == "mla" else {})
        kinds[kind] = model_type, values | TINY | fewer
    for kind, (text, tower) in SMALL_HALVES.items():
        model_type, values = families.KINDS[kind]
        halves = {"text_config": values["text_config"] | text, "vision_config": values["vision_config"] | tower}
        kinds[kind] = model_type, values | halves
    monkeypatch.setattr(families, "KINDS", kinds)
    for name, value in {"STREAMS": 2, "PROMPT": 10, "NEW": 3}.items():
        monkeypatch.setattr(families, name, value)
    text = families.kinds_table(list(kinds), ServerArgs.make(device="cpu", dtype="float32"), 1)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert list(rows) == ["kind", "---", *kinds]
    latent = int(re.search(r"\| ([\d,]+) \(", rows["mla"])[1].replace(",", ""))
    assert latent == 2 * (32 + 32) * 4, "the latent and the part of the key that all heads share, in two layers"
    assert all(rows[kind].count("×") == (1 if kind == "encoder" else 2) for kind in kinds)


def test_an_unknown_kind_is_refused(capsys):
    assert main(["bench", "offline", "--families", "sparse"]) == 2
    assert "dense, moe, mla, encoder, vision, crossed" in capsys.readouterr().err
