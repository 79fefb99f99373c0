"""What "auto" becomes, and which settings are refused before an engine exists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_text import write_text_model

from workbench import launch
from workbench.config import ServerArgs
from workbench.errors import InvalidRequest, NotSupported

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("model"))


def args(folder: Path, **settings: object) -> ServerArgs:
    return ServerArgs.make(model_path=str(folder), load_format="dummy", device="cpu", dtype="float32", **settings)


@pytest.mark.parametrize("has_cuda, wanted, device", [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_the_device_is_the_gpu_if_there_is_one(monkeypatch, has_cuda: bool, wanted: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert launch.pick_device(wanted).type == device


def test_a_gpu_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidRequest, match=r"device is 'cuda'.*no CUDA device"):
        launch.pick_device("cuda")


@pytest.mark.parametrize(
    "wanted, multiplies, dtype",
    [("auto", True, torch.bfloat16), ("auto", False, torch.float32), ("float32", True, torch.float32)],
)
def test_weights_are_bfloat16_where_the_processor_multiplies_it(monkeypatch, wanted, multiplies, dtype) -> None:
    monkeypatch.setattr(launch, "multiplies_bfloat16", lambda device: multiplies)
    assert launch.pick_dtype(wanted, CPU) == dtype


def test_the_core_gets_the_settings_of_the_arguments_and_the_sizes_of_the_model(folder: Path) -> None:
    given = args(folder, page_size=4, max_total_tokens=403, schedule_policy="fcfs", max_running_requests=7)
    loaded = launch.load_runner(given)
    config = launch.core_config(given, loaded, seed=5)
    assert (config.num_pages, config.page_size) == (100, 4), "whole pages"
    assert (config.context_length, config.vocab_size) == (1024, loaded.runner.model.vocab_size)
    assert (config.schedule_policy, config.max_running_requests, config.random_seed) == ("fcfs", 7, 5)
    assert config.eos_ids == {0}
    assert config.chunked_prefill_size > 0, "settled"


def test_a_pool_that_holds_no_page_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"max_total_tokens is 0.*at least one page of 16"):
        launch.load_runner(args(folder, page_size=16, max_total_tokens=15))


def test_a_cache_in_another_type_than_the_model_is_refused(folder: Path) -> None:
    with pytest.raises(NotSupported, match="kv_cache_dtype bfloat16 beside dtype"):
        launch.load_runner(args(folder, kv_cache_dtype="bfloat16", max_total_tokens=64))


def test_constraints_and_stop_strings_need_a_tokenizer(folder: Path) -> None:
    from workbench.testing import make_request

    given = args(folder, skip_tokenizer_init=True, max_total_tokens=64)
    prepare = launch.preparer(given, None, launch.core_config(given, launch.load_runner(given), 0))
    assert prepare(make_request("a")) == (None, None)
    for params in ({"regex": "a"}, {"stop": "b"}):
        with pytest.raises(NotSupported, match="need the tokenizer"):
            prepare(make_request("a", params=params))
