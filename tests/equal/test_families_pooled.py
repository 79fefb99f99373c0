"""Models of vectors and scores equal transformers' classes, and the arithmetic of sentence-transformers written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import family
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from numpy.typing import NDArray

import workbench
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.events import RequestFinished

Array = NDArray[np.float32]
PROMPTS = [list(one) for one in (*family.PROMPTS, family.SHARED)]


def made(kind: str, model_type: str, **values: Any) -> Any:
    """Returns the model of transformers' class `kind`, with seeded weights."""
    config = transformers.AutoConfig.for_model(model_type, **(family.SIZES | {"pad_token_id": 0} | values))
    return family.seeded(getattr(transformers, kind)._from_config(config, attn_implementation="eager", dtype=torch.float32))


def opened(folder: Path, **options: Any) -> workbench.Engine:
    settings = {"is_embedding": True, "dtype": "float32", "skip_tokenizer_init": True, "max_total_tokens": 1024}
    return workbench.Engine(str(folder), **{**settings, **options})


def vectors(engine: workbench.Engine) -> Array:
    """Returns the vectors of all prompts in one call, which equal those of calls of one prompt each."""
    together = np.array([result["embedding"] for result in engine.encode(input_ids=PROMPTS)], dtype=np.float32)
    alone = np.array([engine.encode(input_ids=prompt)["embedding"] for prompt in PROMPTS], dtype=np.float32)
    assert np.abs(together - alone).max() < 1e-5
    return together


@torch.inference_mode()
def hidden(reference: Any, prompt: list[int]) -> Array:
    found: Array = reference(torch.tensor([prompt])).last_hidden_state[0].numpy()
    return found


def unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def sentence_transformers(folder: Path, mode: str) -> None:
    """Writes the files that state a pooling."""
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 64, mode: True}))


FEATURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 24, "head_dim": 24},
    "qwen2": {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "qwen3": {"head_dim": 24},
    "gemma2": {"head_dim": 24, "sliding_window": 24, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 2.0,
               "query_pre_attn_scalar": 20},
}  # fmt: skip
HEADLESS = {
    "llama": "LlamaModel",
    "mistral": "MistralModel",
    "qwen2": "Qwen2Model",
    "qwen3": "Qwen3Model",
    "gemma2": "Gemma2Model",
}
CLASSIFIERS = {
    "llama": "LlamaForSequenceClassification", "mistral": "MistralForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification", "qwen3": "Qwen3ForSequenceClassification",
    "gemma2": "Gemma2ForSequenceClassification",
}  # fmt: skip


@pytest.mark.parametrize("model_type", HEADLESS)
def test_a_decoder_without_a_head_gives_its_last_hidden_state(model_type: str, tmp_path: Path):
    reference = made(HEADLESS[model_type], model_type, **FEATURES[model_type])
    with opened(family.written(reference, tmp_path)) as engine:
        assert np.abs(vectors(engine) - [unit(hidden(reference, prompt)[-1]) for prompt in PROMPTS]).max() < 1e-4


@pytest.mark.parametrize("model_type", CLASSIFIERS)
@torch.inference_mode()
def test_a_classification_head_gives_the_scores_of_transformers(model_type: str, tmp_path: Path):
    reference = made(CLASSIFIERS[model_type], model_type, num_labels=1, **FEATURES[model_type])
    with opened(family.written(reference, tmp_path)) as engine:
        wanted = [reference(torch.tensor([prompt])).logits[0].numpy() for prompt in PROMPTS]
        assert np.abs(vectors(engine) - wanted).max() < 1e-4
        assert model_type != "gemma2" or np.abs(wanted).max() > 2.0  # the cap of logits is none of scores


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])  # GTE-Qwen2 is of this kind
def test_a_decoder_that_is_not_causal_sees_the_whole_text(model_type: str, tmp_path: Path):
    reference = made(HEADLESS[model_type], model_type, is_causal=False)
    causal = type(reference)(type(reference.config)(**reference.config.to_dict() | {"is_causal": True})).eval()
    causal.load_state_dict(reference.state_dict())
    assert np.abs(hidden(causal, PROMPTS[0])[0] - hidden(reference, PROMPTS[0])[0]).max() > 1e-2
    family.written(reference, tmp_path)
    sentence_transformers(tmp_path, "pooling_mode_lasttoken")
    with opened(tmp_path) as engine:
        assert np.abs(vectors(engine) - [hidden(reference, prompt)[-1] for prompt in PROMPTS]).max() < 1e-4
    with pytest.raises(NotSupported, match="makes embeddings or scores, no text"):
        opened(tmp_path, is_embedding=False)


def num_cached(engine: workbench.Engine) -> list[int]:
    return [event.num_cached for event in engine._handle.client.log.read()[1] if isinstance(event, RequestFinished)][
        -len(PROMPTS) :
    ]


@pytest.mark.parametrize("page_size", [1, 4])
def test_a_causal_decoder_computes_a_shared_beginning_once(page_size: int, tmp_path: Path):
    reference = made("LlamaForSequenceClassification", "llama", num_labels=1)
    with opened(family.written(reference, tmp_path), page_size=page_size) as engine:
        cold = vectors(engine)
        before = num_cached(engine)  # each prompt alone, behind the same in one batch
        assert before == [(len(prompt) - 1) // page_size * page_size for prompt in PROMPTS]
        engine.flush_cache()
        assert np.abs(vectors(engine) - cold).max() < 1e-5
        engine.flush_cache()
        for prompt in PROMPTS:
            engine.encode(input_ids=prompt)
        assert num_cached(engine)[1] == len(family.SHARED)  # of another prompt


def test_the_mean_of_all_tokens_needs_them_all(tmp_path: Path):
    reference = made("LlamaModel", "llama")
    family.written(reference, tmp_path)
    sentence_transformers(tmp_path, "pooling_mode_mean_tokens")
    with opened(tmp_path) as engine:
        assert np.abs(vectors(engine) - [hidden(reference, prompt).mean(0) for prompt in PROMPTS]).max() < 1e-4
        assert num_cached(engine) == [0] * len(PROMPTS)


SMALL = {"num_key_value_heads": None, "max_position_embeddings": 72, "pad_token_id": 2}


MASKED = {"bert": "BertForMaskedLM", "roberta": "RobertaForMaskedLM", "xlm-roberta": "XLMRobertaForMaskedLM"}


@pytest.mark.parametrize("model_type", MASKED)
def test_a_folder_with_a_head_for_masked_tokens_has_the_vectors_of_its_encoder(model_type: str, tmp_path: Path):
    reference = made(MASKED[model_type], model_type, **SMALL | {"output_past": True})
    prompts = [[token for token in prompt if token != 2] for prompt in PROMPTS]
    with opened(family.written(reference, tmp_path)) as engine:
        found = np.array([result["embedding"] for result in engine.encode(input_ids=prompts)])
        assert np.abs(found - [hidden(reference.base_model, prompt).mean(0) for prompt in prompts]).max() < 1e-4


@pytest.mark.parametrize("model_type, kind", [("roberta", "RobertaModel"), ("xlm-roberta", "XLMRobertaModel")])
def test_the_positions_of_roberta_begin_behind_the_padding(model_type: str, kind: str, tmp_path: Path):
    reference = made(kind, model_type, **SMALL)
    prompts = [[token for token in prompt if token != 2] for prompt in PROMPTS]  # transformers skips the position of padding
    with opened(family.written(reference, tmp_path)) as engine:
        found = np.array([result["embedding"] for result in engine.encode(input_ids=prompts)])
        assert np.abs(found - [hidden(reference, prompt).mean(0) for prompt in prompts]).max() < 1e-4
        with pytest.raises(PromptTooLong, match="70 tokens"):  # of 72 rows three are no positions
            engine.encode(input_ids=[5] * 70)


WORDS = "a red fox jumps over the lazy dog while rain falls on green hills".split()
CROSS_ENCODERS = {
    "bert": ("BertForSequenceClassification", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": ("RobertaForSequenceClassification", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", "[CLS] $A [SEP] [SEP] $B [SEP]"),
}


@pytest.mark.parametrize("model_type", CROSS_ENCODERS)
@torch.inference_mode()
def test_a_cross_encoder_scores_pairs_of_texts(model_type: str, tmp_path: Path):
    kind, template = CROSS_ENCODERS[model_type]
    reference = made(kind, model_type, num_labels=1, **SMALL | {"type_vocab_size": 2 if model_type == "bert" else 1})
    vocabulary = {word: i for i, word in enumerate(["[CLS]", "[SEP]", "[PAD]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=template, special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]")
    tokenizer.save_pretrained(family.written(reference, tmp_path))
    pairs = [("a red fox", "rain falls on hills"), ("a red fox", "the lazy dog jumps"), ("rain", "green hills")]
    inputs = [tokenizer(*pair, return_tensors="pt", return_token_type_ids=True) for pair in pairs]
    wanted = [reference(**each).logits[0].numpy() for each in inputs]
    if model_type == "bert":
        one_segment = reference(input_ids=inputs[0]["input_ids"]).logits[0].numpy()
        assert np.abs(one_segment - wanted[0]).max() > 1e-3
    with opened(tmp_path, skip_tokenizer_init=False) as engine:
        assert np.abs(np.array([each["embedding"] for each in engine.encode(pairs=pairs)]) - wanted).max() < 1e-4
        with pytest.raises(InvalidRequest, match="pairs of texts"):
            engine.encode(pairs=["a"])
