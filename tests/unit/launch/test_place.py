"""The place where a model runs: the machine decides for "auto", and a missing device is refused."""

from __future__ import annotations

import pytest
import torch

from workbench.config import ServerArgs
from workbench.errors import InvalidRequest
from workbench.launch import place
from workbench.launch.place import Hardware, name_of, weight_form

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_cuda, wanted, device", [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_the_device_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, wanted: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert place.pick_device(wanted).type == device


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidRequest, match=r"device is 'cuda'.*no CUDA device"):
        Hardware.of(ServerArgs.make(device="cuda"))


@pytest.mark.parametrize(
    "wanted, multiplies, dtype", [("auto", True, "bfloat16"), ("auto", False, "float32"), ("float32", True, "float32")]
)
def test_weights_are_bfloat16_if_the_device_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, wanted: str, multiplies: bool, dtype: str
) -> None:
    monkeypatch.setattr(place, "multiplies_bfloat16", lambda device: multiplies)
    assert name_of(place.pick_dtype(wanted, CPU)) == dtype


@pytest.mark.parametrize(
    "features, capability, multiplies",
    [
        ({"amx_bf16"}, "AVX512", True),
        ({"bf16"}, "DEFAULT", True),
        ({"avx512_bf16"}, "AVX512", True),
        ({"avx512_bf16"}, "AVX2", False),  # torch may not use it
        ({"avx2"}, "AVX2", False),
    ],
)
def test_a_processor_multiplies_bfloat16_if_it_can_and_torch_uses_it(
    monkeypatch: pytest.MonkeyPatch, features: set[str], capability: str, multiplies: bool
) -> None:
    monkeypatch.setattr(place, "features", lambda: features)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert place.multiplies_bfloat16(CPU) == multiplies


def test_blocks_that_are_asked_for_where_they_cannot_stay_are_refused() -> None:
    half = Hardware(CPU, torch.float16)
    assert weight_form(ServerArgs.make(), half).keeps == ()
    with pytest.raises(InvalidRequest, match="quantization is 'gguf', it must be dequant for float16 on cpu"):
        weight_form(ServerArgs.make(quantization="gguf"), half)
