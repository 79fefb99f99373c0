"""The default model, as a folder and back: the engine draws the tokens of the source, and text is cut as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import workbench as wb
from workbench.bench.hf_folder import tensors_of, write_hf_folder
from workbench.checkpoint.gguf_file import open_gguf_file
from workbench.quantize.run import quantize_model
from workbench.text.tokenizer import load_tokenizer

PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "1, 2, 3,"]
TEXTS = [
    "  two spaces\n\n\nand\ttabs   ", "日本語のテキスト 🎉👩‍👩‍👧 ñandú e\u0301", "<|im_start|>user\nhi<|im_end|>\n",
    "I'm you're we'll DON'T", "\x00\x01\x7f\ufffd", "½² Ⅷ ٣ 3.14159", "a" * 300, "", " ", "</s><unk>", "\r\n\r\n",
    "\u202eright to left \u200d", "🇩🇪🏴‍☠️",
]  # fmt: skip

pytestmark = [pytest.mark.model, pytest.mark.heavy]


@pytest.fixture(scope="module")
def folder(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hf_folder(Path(smollm2), tmp_path_factory.mktemp("smollm2") / "folder")


def write(folder: Path, to: str, target: Path) -> Path:
    return quantize_model(folder, "smollm2", to, target, requantize=False, progress=lambda *_: None, say=print).path


def tokens(path: Path, **how: str) -> list[list[int]]:
    with wb.Engine(model_path=str(path), dtype="float32", **how) as engine:
        return [out["output_ids"] for out in engine.generate(PROMPTS, {"temperature": 0, "max_new_tokens": 12})]


def test_a_wide_file_is_the_source(folder: Path, smollm2: str, tmp_path: Path):
    path = write(folder, "f32", tmp_path / "f32.gguf")
    source, written = tensors_of(folder), tensors_of(path)
    assert all(torch.equal(written[name], value) for name, value in source.items())
    assert tokens(path) == tokens(folder)
    one, other = load_tokenizer(smollm2), load_tokenizer(path)
    for text in TEXTS:
        assert other.encode(text) == one.encode(text) == load_tokenizer(folder).encode(text), text
    meta, original = (open_gguf_file(Path(where)).meta for where in (path, smollm2))
    about_the_file = ("general.", "tokenizer.ggml.token_type", "tokenizer.ggml.add_eos_token")
    assert {key: meta.get(key) for key in original if not key.startswith(about_the_file)} == {
        key: original.get(key) for key in original if not key.startswith(about_the_file)
    }


@pytest.mark.parametrize("to", ["q4_0", "q8_0"])
def test_the_engine_draws_the_tokens_of_the_dequantised_weights(folder: Path, tmp_path: Path, to: str):
    """The same numbers stored dense, as a folder, give the same tokens."""
    path = write(folder, to, tmp_path / f"{to}.gguf")
    dense = write_hf_folder(path, tmp_path / "dense")
    assert tokens(path, quantization="dequant") == tokens(dense)
