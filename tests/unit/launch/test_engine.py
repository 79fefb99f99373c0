"""The core of an engine gets the settings of the arguments and the sizes of the model; requests are prepared before they wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_text import write_text_model

from workbench.config import ServerArgs
from workbench.errors import ModelCorrupt, NotSupported
from workbench.launch.engine import core_config, preparer
from workbench.launch.runner import load_runner
from workbench.testing import make_request
from workbench.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_model(tmp_path_factory.mktemp("model"))


def args(folder: Path, **settings: object) -> ServerArgs:
    return ServerArgs.make(model_path=str(folder), load_format="dummy", device="cpu", dtype="float32", **settings)


def test_the_core_gets_the_settings_and_the_sizes(folder: Path) -> None:
    given = args(folder, page_size=4, max_total_tokens=403, schedule_policy="fcfs", max_running_requests=7)
    loaded = load_runner(given)
    config = core_config(given, loaded, seed=5)
    assert (config.num_pages, config.page_size) == (100, 4), "whole pages"
    assert (config.context_length, config.vocab_size) == (1024, loaded.runner.vocab_size)
    assert (config.schedule_policy, config.max_running_requests, config.random_seed) == ("fcfs", 7, 5)
    assert config.eos_ids == {0}
    assert config.chunked_prefill_size > 0, "settled"


def test_constraints_and_stop_strings_need_a_tokenizer(folder: Path) -> None:
    given = args(folder, skip_tokenizer_init=True, max_total_tokens=64)
    prepare = preparer(given, None, core_config(given, load_runner(given), 0))
    assert prepare(make_request("a")) == (None, None)
    for params in ({"regex": "a"}, {"stop": "b"}):
        with pytest.raises(NotSupported, match="need the tokenizer"):
            prepare(make_request("a", params=params))


def test_a_tokenizer_with_more_ids_than_the_embedding_is_refused_and_a_padded_embedding_is_not(folder: Path) -> None:
    def load(vocab_size: int) -> int:
        override = f'{{"vocab_size": {vocab_size}}}'
        return load_runner(args(folder, max_total_tokens=64, json_model_override_args=override)).runner.vocab_size

    known = max(load_tokenizer(folder).backend.get_vocab(with_added_tokens=False).values()) + 1
    assert load(known + 500) == known + 500
    with pytest.raises(ModelCorrupt, match=rf"ids up to {known - 1:,}, the model's embedding has {known - 9:,} rows") as caught:
        load(known - 9)
    assert "tokenizer_path" in caught.value.hint
