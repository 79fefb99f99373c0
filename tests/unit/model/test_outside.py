"""Classes that a program registers are found by architecture, here and from their file in another process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import InvalidRequest, ModelUnsupported, NotSupported
from workbench.model import registry
from workbench.model.base import CausalLM
from workbench.model.families.llama import FAMILY, LlamaConfig, LlamaForCausalLM
from workbench.model.load import load_model
from workbench.model.outside import Place, places, register
from workbench.model.tiny import TINY_LLAMA, write_config
from workbench.srt.models.registry import ModelRegistry

EXAMPLE = Path(__file__).parents[3] / "docs/examples/my_model.py"


class Wider(LlamaForCausalLM):
    """A Llama with a class of its own."""


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before = dict(registry.FAMILIES)
    yield
    registry.FAMILIES.clear()
    registry.FAMILIES.update(before)


def opened(folder: Path, architecture: str, **changes: Any) -> CausalLM:
    write_config(folder, TINY_LLAMA, architectures=[architecture], **changes)
    return load_model(folder, dtype=torch.float32, device=torch.device("cpu"), dummy=True)


def test_a_registered_class_is_found_by_its_name(tmp_path: Path):
    with pytest.raises(ModelUnsupported, match="WiderForCausalLM is not supported"):
        opened(tmp_path, "WiderForCausalLM")
    ModelRegistry.models["WiderForCausalLM"] = Wider
    model = opened(tmp_path, "WiderForCausalLM", model_type="whatever")
    assert type(model) is Wider
    assert model.architecture == "WiderForCausalLM"
    assert ModelRegistry.models["WiderForCausalLM"] is Wider
    del ModelRegistry.models["WiderForCausalLM"]
    assert "WiderForCausalLM" not in ModelRegistry.models


def test_a_class_that_extends_one_of_ours_has_its_neutral_keys(tmp_path: Path):
    ModelRegistry.models.update({"A": Wider, "B": FAMILY})
    for name in "AB":
        assert isinstance(opened(tmp_path, name, layer_types=["full_attention"] * 2), LlamaForCausalLM)


def test_our_own_classes_are_in_the_registry_and_may_be_replaced(tmp_path: Path):
    assert ModelRegistry.models["LlamaForCausalLM"] is LlamaForCausalLM
    assert len(ModelRegistry.models) == len(list(ModelRegistry.models)) == len(registry.FAMILIES)
    ModelRegistry.models["LlamaForCausalLM"] = Wider
    assert type(opened(tmp_path, "LlamaForCausalLM")) is Wider


def test_what_is_no_model_is_refused():
    class WithoutConfig(CausalLM):
        def __init__(self, values: dict[str, Any]) -> None: ...

    for wrong in ("LlamaForCausalLM", WithoutConfig, 3):
        with pytest.raises(InvalidRequest, match="ModelRegistry"):
            ModelRegistry.models["X"] = wrong


def test_another_process_imports_it_from_its_file(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("my_model", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "my_model", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    here = places()
    assert here == [Place("MyForCausalLM", "my_model", "MyForCausalLM", str(EXAMPLE))]
    del ModelRegistry.models["MyForCausalLM"]
    monkeypatch.delitem(sys.modules, "my_model")
    register(here)
    assert ModelRegistry.models["MyForCausalLM"].__name__ == "MyForCausalLM"
    with pytest.raises(ModelUnsupported, match=r"Y cannot be imported from .*my_model\.py"):
        register([Place("Y", "my_model", "NotThere", str(EXAMPLE))])


def test_a_class_inside_a_function_cannot_reach_another_process():
    class Inner(LlamaForCausalLM):
        def __init__(self, config: LlamaConfig) -> None:
            super().__init__(config)

    ModelRegistry.models["Inner"] = Inner
    with pytest.raises(NotSupported, match="cannot import Inner"):
        places()
