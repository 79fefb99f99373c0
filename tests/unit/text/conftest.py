"""The small tokenizers as fixtures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_tokenizers import KINDS, byte_level, sentencepiece, wrap

from workbench.text.tokenizer import Tokenizer


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return wrap(KINDS[request.param]())


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> Tokenizer:
    return wrap(byte_level())


@pytest.fixture(scope="session")
def gemma_tokenizer() -> Tokenizer:
    return wrap(sentencepiece(prefix_space=False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as transformers writes it, with end tokens named in two places."""
    wrap(byte_level()).hf.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 1000, "text_config": {"eos_token_id": 9}}))
    return tmp_path
