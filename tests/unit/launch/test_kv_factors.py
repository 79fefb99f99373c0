"""A file of K/V factors is checked before any memory is taken, and every mistake in it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_text import write_text_model

from workbench.config import ServerArgs
from workbench.errors import InvalidRequest
from workbench.launch import kv, runner
from workbench.launch.kv_factors import factors_of_layers, read_factors
from workbench.launch.runner import load_runner


def text_of(factors: object, dtype: str = "float8_e4m3fn", device: str = "0") -> str:
    return json.dumps({"model_type": "llama", "kv_cache": {"dtype": dtype, "scaling_factor": {device: factors}}})


def test_factors_come_in_the_order_of_the_layers(tmp_path: Path) -> None:
    path = tmp_path / "factors.json"
    path.write_text(text_of({"10": 0.5, **{str(layer): layer + 1 for layer in range(10)}}))
    assert factors_of_layers(str(path), read_factors(str(path)), 11) == (*range(1, 11), 0.5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ("{factors}", "malformed"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `kv_cache`"),
        (text_of([1.0, 1.0]), "Expected `object`, got `array`"),
        (text_of({"0": "1.0"}), "Expected `float`, got `str`"),
        (text_of({"first": 1.0}), "Expected `int`, got `str`"),
        (text_of({"0": float("nan")}), "malformed"),
        (text_of({"0": 1e39}), "the factor of layer 0 is 1e+39, not a number above 0"),
        (text_of({"0": 1.0, "1": 0}), "the factor of layer 1 is 0.0, not a number above 0"),
        (text_of({"0": -0.5}), "the factor of layer 0 is -0.5"),
        (text_of({"0": 1.0}, dtype="float8_e5m2"), "its dtype is 'float8_e5m2', not 'float8_e4m3fn'"),
        (text_of({"0": 1.0}, device="1"), "device 0 alone"),
        ('{"x": ' + "[" * 100_000, "recursion"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "factors.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"quantization_param_path is .*a JSON file of K/V factors") as refused:
        read_factors(str(path))
    assert why in str(refused.value)
    assert "scaling_factor" in refused.value.hint


def test_a_file_that_is_missing_is_refused_before_the_model_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "find_model", lambda *_: pytest.fail("the model is looked for"))
    settings = {"kv_cache_dtype": "fp8_e4m3", "quantization_param_path": tmp_path / "none.json"}
    with pytest.raises(InvalidRequest, match=r"none\.json', it must be a file that can be read \(No such file"):
        load_runner(ServerArgs.make("m", **settings))


@pytest.mark.parametrize("layers", [["0"], ["0", "1", "2"], ["1", "2"], []])
def test_factors_of_other_layers_are_refused_before_memory_is_taken(layers, tmp_path, monkeypatch) -> None:
    path, folder = tmp_path / "factors.json", write_text_model(tmp_path / "model")
    path.write_text(text_of(dict.fromkeys(layers, 1.0)))
    monkeypatch.setattr(kv, "create_store", lambda *_, **__: pytest.fail("memory is taken"))
    args = ServerArgs.make(
        str(folder), load_format="dummy", device="cpu", dtype="float32", max_total_tokens=64,
        kv_cache_dtype="fp8_e4m3", quantization_param_path=path, json_model_override_args={"num_hidden_layers": 2},
    )  # fmt: skip
    with pytest.raises(InvalidRequest, match=rf"it has factors of {len(layers)} layers, not of the model's 2 from 0 on"):
        load_runner(args)


def test_the_factors_reach_the_store(tmp_path: Path) -> None:
    path, folder = tmp_path / "factors.json", write_text_model(tmp_path / "model")
    path.write_text(text_of({"0": 0.25, "1": 2.0}))
    args = ServerArgs.make(
        str(folder), load_format="dummy", device="cpu", dtype="float32", max_total_tokens=64,
        kv_cache_dtype="fp8_e4m3", quantization_param_path=path, json_model_override_args={"num_hidden_layers": 2},
    )  # fmt: skip
    store = load_runner(args).runner.kv
    scales = [codes.scales for layer in range(2) for codes in store.views(layer)]
    assert [scale.unique().tolist() for scale in scales] == [[0.25], [0.25], [2.0], [2.0]]
    assert store.dtype == torch.float8_e4m3fn
