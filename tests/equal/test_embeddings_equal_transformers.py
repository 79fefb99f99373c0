"""Embeddings and scores beside a plain computation with transformers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers

import workbench
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.hub.find import resolve
from workbench.model.tiny import TINY_LLAMA

LLAMA = TINY_LLAMA | {"tie_word_embeddings": False, "pad_token_id": 0}
BERT = {
    "model_type": "bert", "vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "type_vocab_size": 2,
}  # fmt: skip
RANDOM = np.random.default_rng(0)
PROMPTS = [[int(token) for token in RANDOM.integers(1, 200, size)] for size in (5, 1, 40, 17, 64, 3)]


def saved(folder, config, kind, **changes):
    """Returns a folder with seeded weights, and the model that transformers made of it."""
    torch.manual_seed(0)
    made = transformers.AutoConfig.for_model(
        **{key: value for key, value in (config | changes).items() if key != "architectures"}
    )
    model = getattr(transformers, kind)(made).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model


def opened(folder, **options):
    settings = {"is_embedding": True, "dtype": "float32", "skip_tokenizer_init": True, "max_total_tokens": 8192}
    return workbench.Engine(str(folder), **{**settings, **options})


def vectors(engine, prompts=PROMPTS):
    return np.array([result["embedding"] for result in engine.encode(input_ids=prompts)])


@torch.inference_mode()
def hidden_of(model, prompt):
    return model(torch.tensor([prompt])).last_hidden_state[0].numpy()


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("mode", "pool"), [
    ("pooling_mode_mean_tokens", lambda hidden: hidden.mean(0)),
    ("pooling_mode_cls_token", lambda hidden: hidden[0]),
    ("pooling_mode_lasttoken", lambda hidden: hidden[-1]),
])  # fmt: skip
def test_an_encoder_pools_as_its_files_state(tmp_path, mode, pool, normalise):
    model = saved(tmp_path, BERT, "BertModel")
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    modules += [{"path": "2", "type": "x.Normalize"}] * normalise
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, mode: True}))
    with opened(tmp_path) as engine:
        wanted = [pool(hidden_of(model, prompt)) for prompt in PROMPTS]
        assert np.abs(vectors(engine) - [unit(each) if normalise else each for each in wanted]).max() < 1e-4


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("kind", ["LlamaModel", "LlamaForCausalLM"])
def test_a_decoder_gives_its_last_normalised_hidden_state(tmp_path, kind, backend):
    model = saved(tmp_path, LLAMA, kind)
    body = model if kind == "LlamaModel" else model.model
    with opened(tmp_path, attention_backend=backend) as engine:
        found = vectors(engine)
        assert np.abs(found - [unit(hidden_of(body, prompt)[-1]) for prompt in PROMPTS]).max() < 1e-4
        assert np.abs(found - vectors(engine)).max() < 1e-6
        many = vectors(engine, PROMPTS * 60)  # several batches
        assert np.abs(many.reshape(60, *found.shape) - found).max() < 1e-5


@pytest.mark.parametrize(("config", "kind"), [(LLAMA, "LlamaForSequenceClassification"), (BERT, "BertForSequenceClassification")])
@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_a_classification_head_gives_the_logits_of_transformers(tmp_path, config, kind, num_labels):
    model = saved(tmp_path, config, kind, num_labels=num_labels)
    with opened(tmp_path) as engine, torch.inference_mode():
        wanted = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in PROMPTS]
        assert np.abs(vectors(engine) - wanted).max() < 1e-4


@pytest.fixture(scope="module")
def minilm():
    """Folder of all-MiniLM-L6-v2; fetched into WORKBENCH_HOME by its alias."""
    return resolve("all-minilm-l6-v2").path


@pytest.mark.model
@torch.inference_mode()
def test_minilm_gives_the_normalised_mean_of_transformers(minilm):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    texts = ["The capital of France is Paris.", "a", "Dogs and cats live together. " * 30, "\u65e5\u672c"]
    ids = [tokenizer(text, truncation=False, padding=False)["input_ids"] for text in texts]
    with opened("all-minilm-l6-v2", skip_tokenizer_init=False) as engine:
        found = engine.encode(texts)
        assert [each["meta_info"]["prompt_tokens"] for each in found] == [len(each) for each in ids]
        wanted = [unit(hidden_of(model, each).mean(0)) for each in ids]
        assert np.abs(np.array([each["embedding"] for each in found]) - wanted).max() < 1e-4
        near, other = (engine.encode(text)["embedding"] for text in ("Paris is France's capital.", "The soup is too salty."))
        assert np.dot(wanted[0], near) > 0.8 > 0.3 > np.dot(wanted[0], other)
        with pytest.raises(PromptTooLong, match="302 tokens"):  # the files beside the model allow 256
            engine.encode("dog " * 300)


@pytest.mark.model
@torch.inference_mode()
def test_two_hundred_texts_of_all_lengths_from_several_threads(minilm):
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    rng = np.random.default_rng(1)
    words = "the sea Is 日本 ünder 42 !! long-haul e\u0301 \n 🎉 Zebra".split(" ")
    texts = ["", " ", "\n", *(" ".join(rng.choice(words, size)) for size in rng.integers(1, 60, 197))]
    with opened("all-minilm-l6-v2", skip_tokenizer_init=False) as engine, ThreadPoolExecutor(4) as pool:
        whole = engine.encode(texts)
        parts = [*pool.map(engine.encode, [texts[start : start + 20] for start in range(0, 200, 20)])]
    for found in (whole, [one for part in parts for one in part]):
        assert [one["meta_info"]["prompt_tokens"] for one in found] == [len(tokenizer(text)["input_ids"]) for text in texts]
        for start in range(0, 200, 50):
            padded = tokenizer(texts[start : start + 50], padding=True, return_tensors="pt")
            kept = padded["attention_mask"][..., None]
            means = ((model(**padded).last_hidden_state * kept).sum(1) / kept.sum(1)).numpy()
            ours = np.array([one["embedding"] for one in found[start : start + 50]])
            assert np.abs(ours - means / np.linalg.norm(means, axis=1, keepdims=True)).max() < 1e-4


def test_an_engine_in_a_process_gives_the_same(tmp_path):
    saved(tmp_path, BERT, "BertModel")
    with opened(tmp_path) as here, opened(tmp_path, process=True) as there:
        assert np.array_equal(vectors(here), vectors(there))
        with pytest.raises(NotSupported, match="embeddings"):
            there.generate(input_ids=[1, 2], max_new_tokens=1)


def test_what_cannot_be_encoded_is_refused_with_its_limit(tmp_path):
    saved(tmp_path, BERT, "BertModel")
    with pytest.raises(NotSupported, match="no text"):
        opened(tmp_path, is_embedding=False)
    with pytest.raises(NotSupported, match="BertModel keeps no K/V, so kv_cache_dtype int8 is not available"):
        opened(tmp_path, kv_cache_dtype="int8")
    with pytest.raises(InvalidRequest, match="at most 64"):
        opened(tmp_path, context_length=65)
    with opened(tmp_path) as engine:
        with pytest.raises(PromptTooLong, match="65 tokens"):
            engine.encode(input_ids=[1] * 65)
        for wrong in ([], [200], [-1]):
            with pytest.raises(InvalidRequest):
                engine.encode(input_ids=wrong)
    with opened(tmp_path, allow_auto_truncate=True) as engine:
        long, short = ([1, *[2] * size, 3] for size in (100, 62))
        assert engine.encode(input_ids=long)["embedding"] == engine.encode(input_ids=short)["embedding"]


def test_a_model_that_makes_text_makes_embeddings_only_when_it_is_loaded_for_them(tmp_path):
    saved(tmp_path, LLAMA, "LlamaForCausalLM")
    with opened(tmp_path, is_embedding=False) as engine:
        assert engine.generate(input_ids=[1, 2], max_new_tokens=1)["output_ids"]
        with pytest.raises(NotSupported, match="is_embedding"):
            engine.encode(input_ids=[1, 2])
    with opened(tmp_path) as engine, pytest.raises(NotSupported, match="no text"):
        engine.generate(input_ids=[1, 2])


def test_texts_are_logged_explained_and_seen_in_views(tmp_path, caplog):
    saved(tmp_path, BERT, "BertModel")
    with opened(tmp_path, log_requests=True) as engine:
        first, second = engine.encode(input_ids=[[1, 2], [3, 4, 5]])
        lines = [record.getMessage() for record in caplog.records if record.name == "workbench"]
        rids = [each["meta_info"]["id"] for each in (first, second)]
        assert lines == [
            f"request {rids[0]}: 2 tokens in, 32 numbers out, in=(1, 2)",
            f"request {rids[1]}: 3 tokens in, 32 numbers out, in=(3, 4, 5)",
        ]
        assert "computing 2 of 2 prompt tokens" in str(engine.explain(rids[0]))
        assert f"{rids[0]} (prefill 2), {rids[1]} (prefill 3)" in str(engine.view("batch", live=False))
        assert "0 running, 0 waiting, 2 ended" in str(engine.view("throughput", live=False))
