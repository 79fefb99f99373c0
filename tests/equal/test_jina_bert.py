"""Jina BERT 2 has the vectors and scores of its published description, written out here in plain torch.

transformers has no class of it.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import family
import numpy as np
import pytest
import torch
from gguf_writer import write
from safetensors.torch import save_file
from test_encoder_ggufs import TEXTS, sentence_transformers, word_pieces
from test_families_pooled import PROMPTS, opened, unit, vectors
from test_written_ggufs import check_words
from torch import Tensor
from torch.nn import functional as F

from workbench import Engine
from workbench.errors import ModelUnsupported
from workbench.model.tiny import write_config
from workbench.quantize.run import quantize_model
from workbench.text.tokenizer import load_tokenizer

HIDDEN, INNER, HEADS, LAYERS = 66, 96, 6, 2
SLOPES = (1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8)
"""Those of six heads: four powers of 1 / 4, then every other power of 1 / 2."""
CONFIG: dict[str, Any] = {
    "architectures": ["JinaBertForMaskedLM"], "model_type": "bert", "vocab_size": family.VOCAB, "hidden_size": HIDDEN,
    "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "max_position_embeddings": 512,
    "layer_norm_eps": 1e-5, "type_vocab_size": 2, "hidden_act": "gelu", "position_embedding_type": "alibi",
    "feed_forward_type": "geglu", "emb_pooler": "mean", "attn_implementation": "torch", "pad_token_id": 0,
    "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
}  # fmt: skip
FOR_CODE = CONFIG | {
    "architectures": ["JinaBertModel"],
    "auto_map": {"AutoModel": "jinaai/jina-bert-v2-qk-post-norm--modeling_bert.JinaBertModel"},
}


class JinaBert:
    """The model in plain torch, under the names of its files."""

    def __init__(self, *, for_code: bool = False) -> None:
        self.for_code, self.slopes, self.activate = for_code, SLOPES, F.gelu
        self.gated, self.down, self.last = ("up_gated_layer", "down_layer", "layer_norm_2") if for_code else (
            "gated_layers", "wo", "mlp.layernorm")  # fmt: skip
        own = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        own |= {"attention.output.dense": (HIDDEN, HIDDEN), "attention.output.LayerNorm": (HIDDEN,), self.last: (HIDDEN,)}
        own |= {f"mlp.{self.gated}": (2 * INNER, HIDDEN), f"mlp.{self.down}": (HIDDEN, INNER)}
        if for_code:
            own |= dict.fromkeys(("attention.self.layer_norm_q", "attention.self.layer_norm_k", "layer_norm_1"), (HIDDEN,))
        shapes = {f"encoder.layer.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in own.items()}
        shapes |= {"embeddings.LayerNorm": (HIDDEN,)}
        rng = torch.Generator().manual_seed(0)
        w = {f"{name}.weight": 0.2 * torch.randn(s, generator=rng) + (len(s) == 1) for name, s in shapes.items()}
        w |= {f"{name}.bias": 0.2 * torch.randn(s[0], generator=rng) for name, s in shapes.items() if self.gated not in name}
        tables = {"word": family.VOCAB, "token_type": 2}
        w |= {f"embeddings.{name}_embeddings.weight": torch.randn(rows, HIDDEN, generator=rng) for name, rows in tables.items()}
        self.tensors = w

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (HIDDEN,), self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], CONFIG["layer_norm_eps"])

    def attention(self, x: Tensor, own: str) -> Tensor:
        q, k, v = (self.linear(x, f"{own}.{part}") for part in ("query", "key", "value"))
        if self.for_code:
            q, k = self.norm(q, f"{own}.layer_norm_q"), self.norm(k, f"{own}.layer_norm_k")
        q, k, v = (one.view(len(x), HEADS, -1).transpose(0, 1) for one in (q, k, v))
        places = torch.arange(len(x))
        slopes = torch.tensor(self.slopes)[:, None, None]
        scores = q @ k.transpose(1, 2) / (HIDDEN // HEADS) ** 0.5 - slopes * (places[:, None] - places[None]).abs()
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)

    def __call__(self, ids: Tensor) -> Any:
        w = self.tensors
        x = w["embeddings.word_embeddings.weight"][ids[0]] + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
            seen = self.linear(self.attention(x, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
            seen = self.norm(seen + x, f"{layer}.attention.output.LayerNorm")
            x = self.norm(x + seen, f"{layer}.layer_norm_1") if self.for_code else seen
            gate, up = self.linear(x, f"{layer}.mlp.{self.gated}").chunk(2, -1)
            gate, up = (up, gate) if self.for_code else (gate, up)
            x = self.norm(x + self.linear(self.activate(gate) * up, f"{layer}.mlp.{self.down}"), f"{layer}.{self.last}")
        return SimpleNamespace(last_hidden_state=x[None])

    def means(self) -> np.ndarray:
        return np.array([self(torch.tensor([prompt])).last_hidden_state[0].mean(0).numpy() for prompt in PROMPTS])


def folder_of(reference: JinaBert, path: Path, config: dict[str, Any] | None = None, **tensors: Tensor) -> Path:
    values = config or (FOR_CODE if reference.for_code else CONFIG)
    save_file(reference.tensors | tensors, write_config(path, values) / "model.safetensors")
    return path


@pytest.mark.parametrize("for_code", [False, True])
def test_a_folder_has_the_vectors_of_the_description(tmp_path: Path, for_code: bool):
    reference = JinaBert(for_code=for_code)
    wanted = reference.means()
    head = {"pooler.dense.weight": torch.ones(HIDDEN, HIDDEN), "pooler.dense.bias": torch.ones(HIDDEN)}
    with opened(folder_of(reference, tmp_path, **head)) as engine:
        assert np.abs(vectors(engine) - wanted).max() < 1e-4
    for name, other in {"slopes": (0.0,) * HEADS, "activate": F.relu}.items():
        setattr(reference, name, other)
        assert np.abs(reference.means() - wanted).max() > 1e-2, name


def test_the_gate_may_be_a_relu(tmp_path: Path):
    reference = JinaBert()
    reference.activate = F.relu
    with opened(folder_of(reference, tmp_path, CONFIG | {"feed_forward_type": "reglu"})) as engine:
        assert np.abs(vectors(engine) - reference.means()).max() < 1e-4


def test_a_long_text_is_computed_by_blocks_of_rows(tmp_path: Path):
    reference = JinaBert()
    prompt = [3 + i * 7 % 300 for i in range(1200)]
    with opened(folder_of(reference, tmp_path, CONFIG | {"max_position_embeddings": 2048}), max_total_tokens=4096) as engine:
        found = engine.encode(input_ids=prompt)["embedding"]
    wanted = reference(torch.tensor([prompt])).last_hidden_state[0].mean(0).numpy()
    assert np.abs(np.array(found) - wanted).max() < 1e-4


def test_a_classification_head_gives_scores(tmp_path: Path):
    reference = JinaBert()
    rng = torch.Generator().manual_seed(1)
    shapes = {"pooler.dense.weight": (HIDDEN, HIDDEN), "pooler.dense.bias": (HIDDEN,), "classifier.weight": (1, HIDDEN),
              "classifier.bias": (1,)}  # fmt: skip
    head = {name: 0.2 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    values = CONFIG | {"architectures": ["JinaBertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    with opened(folder_of(reference, tmp_path, values, **head)) as engine:
        first = [reference(torch.tensor([prompt])).last_hidden_state[0, 0] for prompt in PROMPTS]
        pooled = [torch.tanh(F.linear(one, head["pooler.dense.weight"], head["pooler.dense.bias"])) for one in first]
        wanted = [F.linear(one, head["classifier.weight"], head["classifier.bias"]).numpy() for one in pooled]
        assert np.abs(vectors(engine) - wanted).max() < 1e-4


def test_positions_from_a_table_are_refused(tmp_path: Path):
    folder = folder_of(JinaBert(), tmp_path, CONFIG | {"position_embedding_type": "absolute"})
    with pytest.raises(ModelUnsupported, match=r"position_embedding_type = 'absolute'.*\n.*alibi"):
        opened(folder)


META = {
    "context_length": 512, "embedding_length": HIDDEN, "block_count": LAYERS, "feed_forward_length": INNER,
    "attention.head_count": HEADS, "attention.layer_norm_epsilon": CONFIG["layer_norm_eps"], "attention.causal": False,
    "pooling_type": 1,
}  # fmt: skip


@pytest.mark.parametrize("is_apart", [True, False])
@pytest.mark.parametrize("for_code", [False, True])
def test_a_gguf_file_has_the_gate_apart_or_in_one_with_the_other_half(tmp_path: Path, for_code: bool, is_apart: bool):
    """Older converters write the halves as `ffn_gate` and `ffn_up`, later ones both as `ffn_up`."""
    reference = JinaBert(for_code=for_code)
    tensors = dict(reference.tensors)
    for layer in range(LAYERS if is_apart else 0):
        whole = tensors.pop(f"encoder.layer.{layer}.mlp.{reference.gated}.weight")
        names = ("gated_layers_v", "gated_layers_w") if for_code else ("gated_layers_w", "gated_layers_v")
        tensors |= {f"encoder.layer.{layer}.mlp.{name}.weight": half for name, half in zip(names, whole.chunk(2), strict=True)}
    path = write(tmp_path / "m.gguf", "jina-bert-v2", META, tensors)
    with opened(path) as engine:
        assert np.abs(vectors(engine) - [unit(one) for one in reference.means()]).max() < 1e-4


@pytest.mark.parametrize("for_code", [False, True])
def test_a_file_that_is_written_here_has_the_texts_and_vectors_of_its_folder(tmp_path: Path, for_code: bool):
    folder, path, lines = folder_of(JinaBert(for_code=for_code), tmp_path / "m"), tmp_path / "m.gguf", list[str]()
    word_pieces(folder, lowercase=True)
    sentence_transformers(folder)
    quantize_model(folder, "tiny", "f32", path, requantize=False, progress=lambda *_: None, say=lines.append)
    assert not lines
    check_words(path)
    assert [load_tokenizer(path).encode(text) for text in TEXTS] == [load_tokenizer(folder).encode(text) for text in TEXTS]
    found = []
    for where in (path, folder):
        with Engine(str(where), is_embedding=True, dtype="float32", max_total_tokens=1024) as engine:
            found.append(np.array([one["embedding"] for one in engine.encode(TEXTS)]))
    assert np.abs(found[0] - found[1]).max() < 1e-5


def test_a_gate_for_which_the_format_has_no_word_is_refused(tmp_path: Path):
    folder = folder_of(JinaBert(), tmp_path / "m", CONFIG | {"feed_forward_type": "reglu"})
    word_pieces(folder, lowercase=True)
    with pytest.raises(ModelUnsupported, match=r"feed_forward_type = 'reglu'.*no words"):
        quantize_model(
            folder, "tiny", "f32", tmp_path / "m.gguf", requantize=False, progress=lambda *_: None, say=lambda line: None
        )
