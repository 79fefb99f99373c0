"""Other weights in a running engine: what follows is what an engine opened on them computes, and a failure changes nothing."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from quantised_folders import write_both
from safetensors.torch import load_file, save_file
from tiny_weights import tensors_of, write_checkpoint

import workbench
from workbench.errors import InvalidRequest, ModelCorrupt, ModelNotFound, ModelUnsupported, NotSupported, WorkbenchError
from workbench.events import RequestRetracted
from workbench.launch import weights
from workbench.model.tiny import TINY_GEMMA3, TINY_LLAMA

ARGS = {"skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": 2000, "num_threads": 1, "device": "cpu"}
A, B = [3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8]
GREEDY = {"temperature": 0, "max_new_tokens": 24, "ignore_eos": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("models")
    return str(write_checkpoint(root / "old", seed=1)), str(write_checkpoint(root / "new", seed=2))


@pytest.fixture
def engine(folders):
    with workbench.Engine(folders[0], **ARGS) as engine:
        yield engine


def ids(engine, prompts, params=GREEDY):
    return [result["output_ids"] for result in engine.generate(input_ids=prompts, sampling_params=params)]


@pytest.fixture(scope="module")
def expected(folders):
    """The outputs of engines that were opened on each checkpoint."""
    outputs = []
    for folder in folders:
        with workbench.Engine(folder, **ARGS) as engine:
            outputs.append(ids(engine, [A, B]))
    assert outputs[0] != outputs[1]
    return outputs


def test_the_engine_computes_with_the_new_weights_and_none_of_the_old_kv(engine, folders, expected):
    assert ids(engine, [A, B]) == expected[0]
    info = engine.update_weights_from_disk(folders[1])
    assert (info.model_path, info.load_format, info.num_bytes > 0) == (folders[1], "auto", True)
    result = engine.generate(input_ids=A, sampling_params=GREEDY)
    assert (result["meta_info"]["cached_tokens"], result["output_ids"]) == (0, expected[1][0])
    assert ids(engine, [A, B]) == expected[1]
    assert engine._handle.client.engine.weights() == info
    assert engine.get_server_info()["model_path"] == folders[1]


def test_a_running_request_goes_on_with_the_new_weights(engine, folders):
    """Paused between two of its tokens, so that the place of the change is known."""
    stream = engine.generate(input_ids=A, sampling_params=GREEDY, stream=True, rid="one")
    before = next(stream)["output_ids"]
    engine.pause_generation()
    before = _last_before_the_pause(engine, stream, before)
    engine.update_weights_from_disk(folders[1])
    assert engine._handle.client.engine.get_load().tokens_tree == 0
    engine.continue_generation()
    whole = list(stream)[-1]["output_ids"]
    with workbench.Engine(folders[1], **ARGS) as other:
        left = GREEDY | {"max_new_tokens": GREEDY["max_new_tokens"] - len(before)}
        assert whole == before + ids(other, [A + before], left)[0]
    (event,) = (event for event in engine.log.read()[1] if isinstance(event, RequestRetracted))
    assert event.cause == "the weights were replaced"
    assert "given up when the weights were replaced" in str(engine.explain("one"))


def _last_before_the_pause(engine, stream, seen):
    num_output = sum(1 for event in engine.log.read()[1] if type(event).__name__ == "TokenSampled")
    while len(seen) < num_output:
        seen = next(stream)["output_ids"]
    return seen


def failing(folders, tmp_path, case):
    """Returns the path of a checkpoint that must be refused."""
    folder = tmp_path / "broken"
    match case:
        case "missing":
            return str(tmp_path / "nowhere")
        case "another family":
            return str(write_checkpoint(folder, TINY_GEMMA3))
        case "another size":
            return str(write_checkpoint(folder, intermediate_size=96))
        case "a tensor short":
            shutil.copytree(folders[1], folder)
            tensors = tensors_of(TINY_LLAMA)
            del tensors["model.norm.weight"]
            save_file(tensors, folder / "model.safetensors")
        case "cut":
            shutil.copytree(folders[1], folder)
            data = (folder / "model.safetensors").read_bytes()
            (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    return str(folder)


CASES = {
    "missing": (ModelNotFound, "nowhere"),
    "another family": (InvalidRequest, "of Gemma3ForCausalLM, the engine runs LlamaForCausalLM"),
    "another size": (InvalidRequest, "intermediate_size = 96, the engine runs 64"),
    "a tensor short": (ModelCorrupt, "norm.weight"),
    "cut": (ModelCorrupt, "model.safetensors"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_that_does_not_fit_changes_nothing(engine, folders, expected, tmp_path, case):
    kind, words = CASES[case]
    assert ids(engine, [A, B]) == expected[0]
    info = engine._handle.client.engine.weights()
    with pytest.raises(kind) as caught:
        engine.update_weights_from_disk(failing(folders, tmp_path, case))
    assert words in str(caught.value)
    assert ids(engine, [A, B]) == expected[0]
    assert engine.generate(input_ids=A, sampling_params=GREEDY)["meta_info"]["cached_tokens"] == len(A) - 1, "the cache stays"
    assert (engine._handle.client.engine.weights(), engine.get_server_info()["model_path"]) == (info, folders[0])


def test_both_weights_must_fit_the_memory_at_once(engine, folders, monkeypatch):
    monkeypatch.setattr(weights.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with pytest.raises(WorkbenchError, match="1,000 are free"):
        engine.update_weights_from_disk(folders[1])


def test_values_of_a_gguf_file_are_rounded_to_float32():
    assert weights._is_same(9.999999747378752e-06, 1e-5)
    assert not weights._is_same(1e-6, 1e-5)
    assert not weights._is_same(None, 1e-5)


def test_streams_never_repeat_a_token_over_a_change(engine, folders):
    """Weights change several times under load, at any moment; every stream still grows token by token."""
    params = GREEDY | {"max_new_tokens": 60}
    streams = engine.generate(input_ids=[A, B, A + B, B + A], sampling_params=params, stream=True)
    seen: dict[int, list[list[int]]] = {}
    for count, chunk in enumerate(streams):
        seen.setdefault(chunk["index"], []).append(chunk["output_ids"])
        if count % 40 == 20:
            engine.update_weights_from_disk(folders[count // 40 % 2])
    for chunks in seen.values():
        assert len(chunks[-1]) == 60
        assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(chunks))


def test_vectors_come_from_the_new_weights(tmp_path: Path):
    config = {**TINY_LLAMA, "architectures": ["LlamaModel"]}
    old, new = (str(write_checkpoint(tmp_path / name, config, seed)) for name, seed in (("old", 1), ("new", 2)))
    with workbench.Engine(old, is_embedding=True, **ARGS) as engine, workbench.Engine(new, is_embedding=True, **ARGS) as other:
        before, wanted = engine.encode(input_ids=A)["embedding"], other.encode(input_ids=A)["embedding"]
        engine.update_weights_from_disk(new)
        after = engine.encode(input_ids=A)["embedding"]
    assert (list(after) == list(wanted), list(before) == list(wanted)) == (True, False)


def test_a_scheme_holds_for_new_dense_weights_and_refuses_quantised_ones(tmp_path):
    quantised, dense = write_both(tmp_path, "gptq-4")
    with workbench.Engine(str(dense), **ARGS, quantization="int8wo") as engine:
        before, info = ids(engine, [B]), engine.get_server_info()
        assert engine.update_weights_from_disk(str(dense)).num_bytes == info["weights_bytes"]
        with pytest.raises(InvalidRequest, match=r"are quantised already, by gptq \(4 bits\)"):
            engine.update_weights_from_disk(str(quantised))
        assert ids(engine, [B]) == before


def test_sizes_and_method_are_those_of_the_new_weights(tmp_path):
    quantised, dense = write_both(tmp_path, "gptq-4")
    names = ("weights_bytes", "decode_weights_bytes", "quantization")
    with workbench.Engine(str(dense), **ARGS) as engine, workbench.Engine(str(quantised), **ARGS) as other:
        wanted = {name: other.get_server_info()[name] for name in names}
        assert wanted["decode_weights_bytes"] < engine.get_server_info()["decode_weights_bytes"]
        engine.update_weights_from_disk(str(quantised))
        assert {name: engine.get_server_info()[name] for name in names} == wanted


@pytest.mark.parametrize("process", [False, True])
def test_tensors_replace_those_of_the_same_names(folders, expected, process):
    new = load_file(f"{folders[1]}/model.safetensors")
    first, rest = dict(list(new.items())[:7]), dict(list(new.items())[7:])
    with workbench.Engine(folders[0], process=process, **ARGS) as engine:
        assert ids(engine, [A, B]) == expected[0]
        engine.update_weights_from_tensor(first)
        result = engine.generate(input_ids=A, sampling_params=GREEDY)
        assert result["meta_info"]["cached_tokens"] == 0
        assert result["output_ids"] not in (expected[0][0], expected[1][0]), "some are new, the others old"
        engine.update_weights_from_tensor([(name, tensor.requires_grad_()) for name, tensor in rest.items()])
        assert ids(engine, [A, B]) == expected[1]
        engine.update_weights_from_disk(folders[0])
        engine.update_weights_from_tensor(first)
        assert engine.generate(input_ids=A, sampling_params=GREEDY)["output_ids"] == result["output_ids"], (
            "the rest is of the disk"
        )


def test_tensors_that_do_not_fit_change_nothing(engine, folders, expected):
    name = "model.layers.0.self_attn.q_proj.weight"
    tensor = load_file(f"{folders[1]}/model.safetensors")[name]
    for wrong, kind, message in (
        ({name: tensor[:5]}, ModelCorrupt, "its configuration wants"),
        ({"model.layers.9.weight": tensor}, ModelUnsupported, "which Llama does not read"),
        ({name: tensor.int()}, ModelUnsupported, "stored as int32"),
        ({}, InvalidRequest, "at least one tensor"),
    ):
        with pytest.raises(kind, match=message):
            engine.update_weights_from_tensor(wrong)
    assert ids(engine, [A, B]) == expected[0]


def test_tensors_need_a_folder_below_them(folders):
    with workbench.Engine(folders[0], load_format="dummy", **ARGS) as engine, pytest.raises(NotSupported, match="of a folder"):
        engine.update_weights_from_tensor(load_file(f"{folders[1]}/model.safetensors"))
