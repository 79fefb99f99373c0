"""Llama 3.2 Vision in an engine: all ways to give its pictures, little memory, and what is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import family
import pytest
import seeing
import test_mllama as mllama
import torch
from seeing import Case, opened, picture, png
from test_mllama import IMAGE, MARK
from tokenizers.processors import TemplateProcessing

import workbench
from workbench.attention import merge
from workbench.checkpoint.weights import WeightForm
from workbench.engine.features import Features
from workbench.errors import InvalidRequest
from workbench.eval.check import compare
from workbench.events import RequestWaiting
from workbench.kernels.build import find_compiler
from workbench.kernels.compiled import kernels
from workbench.kernels.cores import num_processors
from workbench.kernels.ops import attend_all
from workbench.kernels.products import FORMATS
from workbench.model.decode import AtOnce
from workbench.model.load import load_model
from workbench.pictures.eyes import Eyes
from workbench.testing import events_of

PROMPT = f"What is {MARK} this?"
GREEDY = {"max_new_tokens": 12, "temperature": 0, "ignore_eos": True}
WIDE = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1}
"""A text half whose heads are as long as those that compiled kernels know."""
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}<|image|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def reference() -> Any:
    return mllama.as_published(mllama.made())


@pytest.fixture(scope="module")
def folder(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeing.saved(reference, mllama.processor(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[workbench.Engine]:
    with opened(folder) as engine:
        yield engine


def expected(reference: Any, *cases: Case) -> list[list[int]]:
    return seeing.expected(reference, mllama.processor(), *cases, count=GREEDY["max_new_tokens"])


def begun(prompt: str) -> str:
    """Returns a prompt as the processor writes it: texts without a picture go to the tokenizer as they are."""
    return f"<s>{prompt}"


@pytest.mark.heavy
@pytest.mark.parametrize("options", [{}, {"chunked_prefill_size": 7, "page_size": 4}, {"attention_backend": "reference"}])
def test_pictures_are_continued_as_by_the_class(reference: Any, folder: Path, options: dict[str, Any]):
    one, other = picture(1), picture(2, 70, 20)
    both = f"{MARK} or {MARK}?"
    wanted = expected(reference, Case(PROMPT, (one,)), Case(PROMPT, (other,)), Case(both, (one, other)), Case("x"))
    with opened(folder, **options) as engine:
        shown = [png(one), [png(other)], [png(one), png(other)], None]
        results = engine.generate([PROMPT, PROMPT, both, begun("x")], GREEDY, image_data=shown)
        assert [result["output_ids"] for result in results] == wanted
        again = engine.generate(PROMPT, GREEDY, image_data=png(one))
        assert again["output_ids"] == wanted[0]
        assert again["meta_info"]["prompt_tokens"] == len("What is  this?") + 2
        assert again["meta_info"]["cached_tokens"] >= len("What is  this?") + 1 - options.get("page_size", 1)


@pytest.mark.process
@pytest.mark.heavy
def test_an_engine_in_another_process(reference: Any, folder: Path):
    (wanted,) = expected(reference, Case(PROMPT, (picture(1),)))
    with opened(folder, process=True) as engine:
        assert engine.generate(PROMPT, GREEDY, image_data=png(picture(1)))["output_ids"] == wanted


def test_conversations_begin_once(reference: Any, tmp_path: Path):
    """A tokenizer that begins every text, and a template that writes the beginning: it stands there once."""
    words = mllama.processor()
    words.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    words.tokenizer.chat_template = TEMPLATE
    folder = seeing.saved(reference, words, tmp_path)
    url = "data:image/png;base64," + base64.b64encode(png(picture(1))).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Who?"}]
    with opened(folder) as engine:
        result = engine.chat([{"role": "user", "content": parts}], GREEDY)
    assert [result["output_ids"]] == expected(reference, Case(f"<s>user: {MARK}Who?assistant: ", (picture(1),)))
    assert result["meta_info"]["prompt_tokens"] == len("user: Who?assistant: ") + 2


@pytest.mark.heavy
def test_retracted_requests_go_on_as_before(reference: Any, folder: Path):
    cases = [Case(PROMPT, (picture(seed),)) for seed in range(6)]
    wanted = expected(reference, *cases)
    with opened(folder, max_total_tokens=64, schedule_conservativeness=0.01) as engine:
        results = engine.generate([PROMPT] * 6, GREEDY, image_data=[png(case.pictures[0]) for case in cases])
        retracted = [event for event in engine.log.read(0)[1] if type(event).__name__ == "RequestRetracted"]
    assert retracted
    assert [result["output_ids"] for result in results] == wanted


def test_the_token_of_pictures_has_no_logit_and_does_no_harm(engine: workbench.Engine):
    one = png(picture(1))
    options = {**GREEDY, "repetition_penalty": 1.3, "frequency_penalty": 0.5}
    assert len(engine.generate(PROMPT, options, image_data=one)["output_ids"]) == 12
    with pytest.raises(InvalidRequest, match="for 0 pictures"):
        engine.generate(PROMPT, GREEDY)
    place = len("What is ") + 1
    with pytest.raises(InvalidRequest, match=f"above {place}: the token there stands for a picture"):
        engine.generate(PROMPT, GREEDY, image_data=one, return_logprob=True, logprob_start_len=0)
    result = engine.generate(PROMPT, GREEDY, image_data=one, return_logprob=True, logprob_start_len=place + 1)
    assert len(result["meta_info"]["input_token_logprobs"]) == len(" this?")
    for ids in ([IMAGE + 8], [-1]):
        with pytest.raises(InvalidRequest):
            engine.generate(input_ids=ids, sampling_params=GREEDY)


def core_of(folder: Path, **options: Any) -> Any:
    return family.open_core(load_model(folder, dtype=torch.float32, device=torch.device("cpu")), sees=True, **options)


def test_pictures_that_have_no_room_wait_and_are_seen_once(folder: Path):
    prompts = seeing.looked(folder, [Case(PROMPT, (picture(seed, 16, 16),)) for seed in (1, 2, 3, 1)])
    rows = prompts[0].pictures[0].num_crossed
    free = [seeing.run(core_of(folder), [one])[0] for one in prompts]
    core = core_of(folder, num_picture_rows=2 * rows)
    row_bytes = core.runner.model.picture_row_bytes()
    core.runner.features = Features(2 * rows * row_bytes)
    assert seeing.run(core, prompts) == free
    waits = [event for event in events_of(core, RequestWaiting) if event.reason == "picture memory"]
    assert {(event.rid, event.num_needed, event.num_available) for event in waits} == {("2", rows, 0)}
    assert core.runner.features.num_seen == 3
    (three,) = seeing.looked(folder, [Case(MARK * 3, tuple(picture(seed, 16, 16) for seed in (1, 2, 3)))])
    with pytest.raises(InvalidRequest, match=f"have {3 * rows} rows of keys and values, there is room for {2 * rows}"):
        core.add(seeing.request("big", three))


def test_the_room_for_pictures_is_a_setting(folder: Path):
    (seen,) = seeing.looked(folder, [Case(PROMPT, (picture(1, 16, 16),))])
    with opened(folder, picture_memory_mb=1) as engine:
        assert engine.get_server_info()["picture_memory_bytes"] == 1 << 20
        engine.generate(PROMPT, GREEDY, image_data=png(picture(1, 16, 16)))
        one = engine.get_server_info()["picture_bytes"]
        assert one == seen.pictures[0].num_crossed * core_of(folder).runner.model.picture_row_bytes()
        count = (1 << 20) // one + 1
        with pytest.raises(InvalidRequest, match=r"there is room for [0-9,]+\n.*a larger picture_memory_mb"):
            engine.generate(MARK * count, GREEDY, image_data=[png(picture(seed, 16, 16)) for seed in range(count)])
        assert engine.generate(PROMPT, GREEDY, image_data=png(picture(2, 16, 16)))["output_ids"]
        assert engine.get_server_info()["picture_bytes"] == 2 * one


def test_models_check(folder: Path):
    from workbench.config import ServerArgs

    found = compare(ServerArgs.make(model_path=str(folder), dtype="float32", device="cpu"), folder, 8)
    assert found.is_equal, found.to_text()
    names = [stage.name for stage in found.stages]
    assert names[:5] == ["embedding", "layer 0", "layer 2", "layer 4", "logits"]
    assert all(name.startswith("picture: ") for name in names[5:])


def test_a_gguf_of_it_is_refused_with_what_would_do(tmp_path: Path):
    import gguf

    from workbench.errors import ModelUnsupported
    from workbench.model.check import check_model

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "mllama")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelUnsupported, match="has the architecture 'mllama'") as refused:
        check_model(path)
    assert refused.value.hint == "Llama 3.2 Vision runs from a folder of safetensors"


def test_a_processor_of_another_number_of_tiles_is_refused(folder: Path, tmp_path: Path):
    import json
    import shutil

    from workbench.errors import ModelCorrupt

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for path in (other / "preprocessor_config.json", other / "processor_config.json"):
        if path.exists():
            path.write_text(path.read_text().replace('"max_image_tiles": 4', '"max_image_tiles": 2'))
    assert json.loads((other / "preprocessor_config.json").read_text())["max_image_tiles"] == 2
    with pytest.raises(ModelCorrupt, match="cuts pictures into 2 tiles"):
        seeing.eyes_of(other)
    assert isinstance(seeing.eyes_of(folder)[0], Eyes)


@pytest.mark.process
@pytest.mark.heavy
def test_compiled_attention_looks_at_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if find_compiler() is None:
        pytest.skip("no compiler, so no kernels")
    kernels.begin()
    kernels.wait()
    reference = mllama.as_published(mllama.made(WIDE))
    folder = seeing.saved(reference, mllama.processor(), tmp_path)
    used: list[bool] = []

    def noting(*args: Any, **options: Any) -> Any:
        done = attend_all(*args, **options)
        used.append(done is not None)
        return done

    monkeypatch.setattr(merge, "attend_all", noting)
    cases = [Case(PROMPT, (picture(1),)), Case(f"{MARK}{MARK}Who?", (picture(2), picture(3, 20, 60)))]
    with opened(folder) as engine:
        shown = [[png(one) for one in case.pictures] for case in cases]
        results = engine.generate([case.text for case in cases], GREEDY, image_data=shown)
    assert [result["output_ids"] for result in results] == expected(reference, *cases)
    assert len(used) >= 2 * 2 * 12
    assert all(used)


@pytest.mark.process
@pytest.mark.heavy
def test_layers_between_those_that_look_decode_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Quantised weights decode through all layers of a stretch in one call, with the tokens of one layer after the other."""
    if find_compiler() is None:
        pytest.skip("no compiler, so no kernels")
    kernels.begin()
    kernels.wait()
    folder = seeing.saved(mllama.made(WIDE), mllama.processor(), tmp_path)
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(FORMATS, "int8wo"))
    prompts = seeing.looked(folder, [Case(PROMPT, (picture(1),)), Case(PROMPT, (picture(2),)), Case("x")])
    used: list[bool] = []
    at_once = AtOnce.__call__

    def noting(self: AtOnce, *args: Any) -> torch.Tensor | None:
        done = at_once(self, *args)
        used.append(done is not None)
        return done

    monkeypatch.setattr(AtOnce, "__call__", noting)
    found = [seeing.run(family.open_core(model, sees=True), some) for some in (prompts, prompts[2:])]
    assert sum(used) >= 4 * (family.NUM_NEW - 1)
    monkeypatch.setattr(AtOnce, "__call__", lambda *args: None)
    assert found == [seeing.run(family.open_core(model, sees=True), some) for some in (prompts, prompts[2:])]


@pytest.mark.heavy
def test_steps_that_overlap_look_at_the_same_pictures(reference: Any, folder: Path):
    cases = [Case(PROMPT, (picture(seed),)) for seed in (1, 2)]
    threads = torch.get_num_threads()
    try:
        with opened(folder, num_threads=1) as engine:
            assert engine.get_server_info()["overlap_schedule"] is (num_processors() > 1)
            results = engine.generate([PROMPT] * 2, GREEDY, image_data=[png(case.pictures[0]) for case in cases])
    finally:
        torch.set_num_threads(threads)
    assert [result["output_ids"] for result in results] == expected(reference, *cases)


def test_a_conversation_grows_by_pictures_and_computes_only_these(reference: Any, folder: Path):
    first, second, third = f"<s>See {MARK}. ", f"A stop sign. And {MARK}?", " A cat. Both?"
    one, other = picture(1), picture(2)
    with opened(folder) as engine:
        prompts = {first: [one], first + second: [one, other], first + second + third: [one, other]}
        for done, (prompt, shown) in zip(("", first, first + second), prompts.items(), strict=True):
            result = engine.generate(prompt, GREEDY, image_data=[png(image) for image in shown])
            assert [result["output_ids"]] == expected(reference, Case(prompt, tuple(shown)))
            ids = engine.tokenizer(done, add_special_tokens=False)["input_ids"]
            assert result["meta_info"]["cached_tokens"] == len(ids)


def test_the_built_in_template_of_the_reference(reference: Any, folder: Path):
    parts = [{"type": "image", "image": png(picture(1))}, {"type": "text", "text": "Who?"}]
    with opened(folder, chat_template="llama_3_vision") as engine:
        result = engine.chat([{"role": "user", "content": parts}], GREEDY)
    user, model = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
    wanted = f"<s>{user}{MARK}\nWho?<|eot_id|>{model}"
    assert [result["output_ids"]] == expected(reference, Case(wanted, (picture(1),)))
