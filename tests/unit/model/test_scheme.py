"""A form of weights that does not suit the model is refused before its weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.checkpoint.folders.declared import Declared
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest
from workbench.model.scheme import check_scheme

GPTQ = Declared("gptq", {"bits": 4}, "gptq (4 bits)")
FP8 = Declared("fp8", {}, "fp8")


def check(path: Path, declared: Declared | None, **settings: str) -> None:
    check_scheme(ServerArgs.make(**settings), path, declared)


@pytest.mark.parametrize(
    "declared, settings",
    [
        (None, {}),
        (None, {"quantization": "dequant"}),
        (None, {"quantization": "int4wo-32"}),
        (None, {"torchao_config": "int8wo"}),
        (None, {"torchao_config": "int8wo", "quantization": "int8wo"}),
        (None, {"quantization": "fp8"}),
        (GPTQ, {}),
        (GPTQ, {"quantization": "gptq_marlin"}),
        (GPTQ, {"quantization": "dequant"}),
        (FP8, {"quantization": "fp8"}),
    ],
)
def test_what_suits_a_folder_is_taken(declared, settings, tmp_path):
    check(tmp_path, declared, **settings)


@pytest.mark.parametrize(
    "declared, settings, says",
    [
        (None, {"quantization": "gguf"}, "is a folder of safetensors"),
        (None, {"quantization": "awq"}, "are dense"),
        (GPTQ, {"quantization": "awq"}, r"are quantised already, by gptq \(4 bits\)"),
        (GPTQ, {"quantization": "int8wo"}, "are quantised already"),
        (GPTQ, {"torchao_config": "int4wo-128"}, "are quantised already"),
        (GPTQ, {"quantization": "fp8"}, "are quantised already"),
    ],
)
def test_what_does_not_suit_a_folder_is_refused(declared, settings, says, tmp_path):
    with pytest.raises(InvalidRequest, match=says):
        check(tmp_path, declared, **settings)


def test_a_gguf_file_has_its_own_form(tmp_path):
    file = tmp_path / "x.gguf"
    file.touch()
    for taken in ("gguf", "dequant", None):
        check(file, None, quantization=taken)
    for refused in ("int8wo", "gptq", "fp8"):
        with pytest.raises(InvalidRequest, match="a GGUF file is computed with as it is"):
            check(file, None, quantization=refused)


def test_two_forms_for_one_model_are_refused():
    with pytest.raises(InvalidRequest, match="quantization='int8wo' and torchao_config='int8dq' are two forms"):
        ServerArgs.make(quantization="int8wo", torchao_config="int8dq")
