"""Models of vectors and scores equal transformers' classes, and the arithmetic of sentence-transformers written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import family
import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

import workbench
from workbench.errors import NotSupported

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


HEADLESS = {"llama": "LlamaModel"}
CLASSIFIERS = {"llama": "LlamaForSequenceClassification"}


@pytest.mark.parametrize("model_type", HEADLESS)
def test_a_decoder_without_a_head_gives_its_last_hidden_state(model_type: str, tmp_path: Path):
    reference = made(HEADLESS[model_type], model_type)
    with opened(family.written(reference, tmp_path)) as engine:
        assert np.abs(vectors(engine) - [unit(hidden(reference, prompt)[-1]) for prompt in PROMPTS]).max() < 1e-4


@pytest.mark.parametrize("model_type", CLASSIFIERS)
@torch.inference_mode()
def test_a_classification_head_gives_the_scores_of_transformers(model_type: str, tmp_path: Path):
    reference = made(CLASSIFIERS[model_type], model_type, num_labels=1)
    with opened(family.written(reference, tmp_path)) as engine:
        wanted = [reference(torch.tensor([prompt])).logits[0].numpy() for prompt in PROMPTS]
        assert np.abs(vectors(engine) - wanted).max() < 1e-4


@pytest.mark.parametrize("model_type", ["llama"])
def test_a_decoder_that_is_not_causal_sees_the_whole_text(model_type: str, tmp_path: Path):
    reference = made(HEADLESS[model_type], model_type, is_causal=False)
    causal = type(reference)(type(reference.config)(**reference.config.to_dict() | {"is_causal": True})).eval()
    causal.load_state_dict(reference.state_dict())
    assert np.abs(hidden(causal, PROMPTS[0])[0] - hidden(reference, PROMPTS[0])[0]).max() > 1e-2
    family.written(reference, tmp_path)
    files = {
        "modules.json": [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}],
        "1_Pooling/config.json": {"word_embedding_dimension": 64, "pooling_mode_lasttoken": True},
    }
    (tmp_path / "1_Pooling").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with opened(tmp_path) as engine:
        assert np.abs(vectors(engine) - [hidden(reference, prompt)[-1] for prompt in PROMPTS]).max() < 1e-4
    with pytest.raises(NotSupported, match="makes embeddings or scores, no text"):
        opened(tmp_path, is_embedding=False)
