"""A written file is the model: for transformers, for this engine, and to the last bit where the format is wide enough."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file, save_file
from tiny_models import logits_of, planned, runner_of, stored
from tiny_tokenizers import KINDS, wrap

from workbench import cli
from workbench.bench.hf_folder import tensors_of
from workbench.errors import DiskFull, InvalidRequest, ModelCorrupt, ModelUnsupported, NotSupported, WorkbenchError
from workbench.hub import disk
from workbench.model.check import check_model
from workbench.model.load import load_model
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA, write_config
from workbench.quantize import write
from workbench.quantize.run import Written, default_output, quantize_model
from workbench.quantize.targets import TARGETS
from workbench.types import Segment

SIZES: dict[str, Any] = {"hidden_size": 64, "head_dim": 16, "vocab_size": 420, "intermediate_size": 96, "eos_token_id": 1}
PLAIN = {key: value for key, value in (TINY_LLAMA | SIZES).items() if key != "rope_theta"}
CONFIGS = {
    "llama": TINY_LLAMA | SIZES,
    "untied": TINY_LLAMA | SIZES | {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
    "linear": TINY_LLAMA | SIZES | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "yarn": PLAIN
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "max_window_layers": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 16.0,
        },
    },
    "qwen3": PLAIN | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "tie_word_embeddings": False},
    "olmo2": PLAIN | {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2"},
    "granite": PLAIN
    | {
        "architectures": ["GraniteForCausalLM"],
        "model_type": "granite",
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.6,
        "logits_scaling": 0.7,
    },
    "gemma": PLAIN | {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_act": "gelu_pytorch_tanh"},
    "gemma2": PLAIN
    | {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "hidden_act": "gelu_pytorch_tanh",
        "sliding_window": 16,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 2.0,
    },
    "gemma3": TINY_GEMMA3 | SIZES | {"query_pre_attn_scalar": 16},
    "gemma3 usual": TINY_GEMMA3 | SIZES | {"query_pre_attn_scalar": 16, "num_hidden_layers": 7, "layer_types": None},
}
TOKENS = torch.randint(3, 400, (40,), generator=torch.Generator().manual_seed(2)).tolist()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models that transformers wrote, with tokenizers. Not to be changed."""
    found = {}
    for name, config in CONFIGS.items():
        found[name] = stored(tmp_path_factory.mktemp("folders") / name.replace(" ", "-"), config)
        wrap(KINDS["gemma" if "gemma" in name else "byte level"]()).hf.save_pretrained(found[name])
    return found


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, lines: list[str]) -> Callable[..., Written]:
    def made(path: Path, to: str, *, requantize: bool = False, output: str = "out.gguf") -> Written:
        target = tmp_path / output
        return quantize_model(path, "tiny", to, target, requantize=requantize, progress=lambda *_: None, say=lines.append)

    return made


def logits(path: Path) -> torch.Tensor:
    runner = runner_of(load_model(path, dtype=torch.float32, device=torch.device("cpu")), "torch")
    return logits_of(runner, planned(1, TOKENS, 0, 40, [Segment(0, tuple(range(40)))]))


@pytest.mark.parametrize("name", ["llama", "untied", "gemma3", "gemma3 usual"])
def test_transformers_reads_from_the_file_what_it_wrote_to_the_folder(
    folders: dict[str, Path], make: Callable[..., Written], name: str
):
    from transformers import AutoModelForCausalLM

    path = make(folders[name], "f32").path
    # transformers has 256 and its own pattern for these, which it does not read from files.
    own = {"query_pre_attn_scalar": 16} if "gemma" in name else {}
    own |= {"layer_types": CONFIGS[name]["layer_types"]} if name == "gemma3" else {}
    if name == "untied":
        own |= {"attention_bias": True, "mlp_bias": True}
    again = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **own).eval()
    source = AutoModelForCausalLM.from_pretrained(folders[name], dtype=torch.float32).eval()
    with torch.inference_mode():
        expected, got = (model(torch.tensor([TOKENS])).logits for model in (source, again))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_our_engine_computes_the_same_from_the_file(folders: dict[str, Path], make: Callable[..., Written], name: str):
    path = make(folders[name], "f32").path
    torch.testing.assert_close(logits(path), logits(folders[name]), rtol=1e-4, atol=1e-4)
    one, other = tensors_of(folders[name]), tensors_of(path)
    assert one.keys() == other.keys()
    for tensor, value in one.items():  # a norm of Gemma is stored plus one, and rounded there
        torch.testing.assert_close(other[tensor], value, rtol=0, atol=1e-7 if tensor.endswith("norm.weight") else 0)


@pytest.mark.parametrize("to", TARGETS)
def test_matrices_are_what_the_library_makes_of_them(folders: dict[str, Path], make: Callable[..., Written], to: str):
    """Rows of queries are compared by the model, which puts them back."""
    dense = tensors_of(folders["llama"])
    made = make(folders["llama"], to)
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(made.path).tensors}
    kind = TARGETS[to].kind
    assert written["blk.0.ffn_norm.weight"].tensor_type == Kind.F32
    head = written["token_embd.weight"]
    assert head.tensor_type == (Kind.Q8_0 if TARGETS[to].is_quantised else kind), "it is tied, so it is the head"
    assert np.array_equal(
        head.data.view(np.uint8), quantize(dense["model.embed_tokens.weight"].numpy(), head.tensor_type).view(np.uint8)
    )
    down = dense["model.layers.1.mlp.down_proj.weight"].numpy()
    assert np.array_equal(written["blk.1.ffn_down.weight"].data.view(np.uint8), quantize(down, kind).view(np.uint8))
    query = dense["model.layers.1.self_attn.q_proj.weight"].numpy()
    expected = dequantize(quantize(query, kind), kind)
    assert np.array_equal(tensors_of(made.path)["model.layers.1.self_attn.q_proj.weight"].numpy(), expected)
    assert made.num_bytes == made.path.stat().st_size
    assert sum(made.kinds.values()) == len(written)


def test_a_file_is_written_some_rows_at_a_time(
    folders: dict[str, Path], make: Callable[..., Written], monkeypatch: pytest.MonkeyPatch
):
    whole = make(folders["llama"], "q8_0").path.read_bytes()
    monkeypatch.setattr(write, "CHUNK", 64 * 7)
    sizes: list[int] = []
    quantized = write.quantize
    monkeypatch.setattr(write, "quantize", lambda rows, kind: sizes.append(rows.size) or quantized(rows, kind))
    assert make(folders["llama"], "q8_0", output="pieces.gguf").path.read_bytes() == whole
    assert max(sizes) == 64 * 7


def test_scaling_of_llama_3_is_written_as_divisors(folders: dict[str, Path], make: Callable[..., Written], tmp_path: Path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192}
    folder = shutil.copytree(folders["llama"], tmp_path / "scaled")
    write_config(folder, CONFIGS["llama"], rope_theta=500_000.0, rope_scaling=scaling, head_dim=16)
    path = make(folder, "q8_0").path
    config = check_model(path).config
    assert config.rope_scaling == scaling
    torch.testing.assert_close(logits(path), logits(folder), rtol=0.2, atol=0.2)


def test_a_row_that_is_no_whole_number_of_blocks_becomes_f16_and_a_line_says_so(
    tmp_path: Path, make: Callable[..., Written], lines: list[str]
):
    folder = stored(tmp_path / "odd", CONFIGS["llama"] | {"intermediate_size": 80})
    wrap(KINDS["byte level"]()).hf.save_pretrained(folder)
    made = make(folder, "q4_0")
    assert made.kinds == {"F32": 5, "F16": 2, "Q4_0": 12, "Q8_0": 1}
    assert lines == [f"blk.{i}.ffn_down.weight becomes F16: its rows of 80 numbers are no whole blocks of Q4_0" for i in (0, 1)]


def test_a_gguf_keeps_its_metadata_and_is_quantised_twice_only_if_asked(
    make_gguf: Callable[..., Path], make: Callable[..., Written]
):
    meta = {
        "general.license": "mit",
        "tokenizer.ggml.eot_token_id": 5,
        "llama.vocab_size": 264,
        "general.languages": ["en", "de"],
    }
    source = make_gguf(meta=meta)  # in Q8_0
    with pytest.raises(NotSupported, match=r"quantised already \(Q8_0\)") as caught:
        make(source, "q4_1")
    assert "--requantize" in caught.value.hint
    dense = make(source, "f32", output="dense.gguf").path
    for name, value in tensors_of(source).items():
        assert torch.equal(tensors_of(dense)[name], value), name
    one, other = ({key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()} for path in (source, dense))
    assert {key: value for key, value in one.items() if not key.startswith("GGUF.")}.items() <= other.items()
    twice = make(source, "q4_1", requantize=True, output="twice.gguf").path
    assert {tensor.tensor_type for tensor in gguf.GGUFReader(twice).tensors} == {Kind.F32, Kind.Q4_1, Kind.Q8_0}
    back = make(dense, "q8_0", output="back.gguf").path  # the blocks that were there at first
    for tensor, again in zip(gguf.GGUFReader(source).tensors, gguf.GGUFReader(back).tensors, strict=True):
        assert np.array_equal(tensor.data, again.data), tensor.name


def test_what_the_format_cannot_say_is_refused_before_a_weight_is_written(
    folders: dict[str, Path], make: Callable[..., Written], tmp_path: Path
):
    for name, changes, what in (
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ("gemma3", {"query_pre_attn_scalar": 20}, "query_pre_attn_scalar = 20"),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling = "),
    ):
        folder = shutil.copytree(folders[name], tmp_path / "changed", dirs_exist_ok=True)
        write_config(folder, CONFIGS[name] | changes)
        with pytest.raises(ModelUnsupported, match=what):
            make(folder, "f32")
    assert [path.name for path in tmp_path.iterdir()] == ["changed"], "nothing is left"


def test_numbers_that_a_format_cannot_hold_are_refused(folders: dict[str, Path], make: Callable[..., Written], tmp_path: Path):
    folder = shutil.copytree(folders["llama"], tmp_path / "large")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = 1e6
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnsupported, match=r"blk\.0\.ffn_up\.weight has numbers up to 1,000,000, and F16") as caught:
        make(folder, "f16")
    assert "bf16" in caught.value.hint
    assert make(folder, "bf16").kinds == {"F32": 5, "BF16": 15}
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnsupported, match="not finite"):
        make(folder, "f32", output="nan.gguf")
    assert not (tmp_path / "nan.gguf").exists()


def test_a_full_disk_and_a_file_that_exists_are_errors_of_two_lines(
    folders: dict[str, Path], make: Callable[..., Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = make(folders["llama"], "q8_0").path.read_bytes()
    with pytest.raises(InvalidRequest, match="exists"):
        make(folders["llama"], "q4_0")
    with pytest.raises(InvalidRequest, match="cannot be written: No such file"):
        make(folders["llama"], "q4_0", output="missing/out.gguf")
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1000)
    with pytest.raises(DiskFull, match=r"writing small\.gguf needs") as caught:
        make(folders["llama"], "q4_0", output="small.gguf")
    assert "--output" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
    assert (tmp_path / "out.gguf").read_bytes() == made


def test_a_checkpoint_that_does_not_load_is_not_written(folders: dict[str, Path], make: Callable[..., Written], tmp_path: Path):
    folder = shutil.copytree(folders["llama"], tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelCorrupt, match=r"lacks the tensor norm\.weight"):
        make(folder, "q8_0")
    roberta = write_config(tmp_path / "roberta", {
        "architectures": ["RobertaModel"], "model_type": "roberta", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8,
    })  # fmt: skip
    with pytest.raises(ModelUnsupported, match="RoBERTa has no form in GGUF"):
        make(roberta, "q8_0")


@pytest.mark.parametrize(
    "file, to, expected",
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "f16", "SmolLM2-135M-Instruct-F16.gguf"),
        ("gemma-3-270m-q4_k_m.gguf", "bf16", "gemma-3-270m-BF16.gguf"),
        ("Llama-3.1.gguf", "q8_0", "Llama-3.1-Q8_0.gguf"),
    ],
)
def test_the_usual_name_is_that_of_the_model_with_the_format(tmp_path: Path, file: str, to: str, expected: str):
    (tmp_path / file).touch()
    assert default_output(tmp_path / file, "alias", to) == Path(expected)
    assert default_output(tmp_path, "org/name@main", to) == Path(f"name-{to.upper()}.gguf")


def test_the_command(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["models", "quantize", str(folders["llama"]), "--to", "Q5_0"]) == 0
    assert capsys.readouterr().out.startswith("wrote llama-Q5_0.gguf, ")
    assert (tmp_path / "llama-Q5_0.gguf").is_file()
    for words, first in (
        (["--to", "q4_k_m"], "NotSupported: q4_k_m is read and not written here"),
        (["--to", "q9"], "InvalidRequest: --to is 'q9', it must be one of q4_0"),
        (["--to", "q5_0"], "InvalidRequest: llama-Q5_0.gguf exists"),
    ):
        assert cli.main(["models", "quantize", str(folders["llama"]), *words]) == 2
        error, hint = capsys.readouterr().err.splitlines()
        assert error.startswith(first)
        assert hint.startswith("  ")


def test_a_gguf_of_another_family_is_refused(make_gguf: Callable[..., Path], make: Callable[..., Written]):
    with pytest.raises(WorkbenchError, match="qwen99"):
        make(make_gguf(arch="qwen99"), "f32")
