"""Folders whose files contradict each other are refused in two lines; what that does not concern still runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import seeing
import test_gemma3_vision as gemma3
import test_llava as llava
import test_mllama as mllama
import torch
from seeing import opened, picture, png
from test_encoder_ggufs import bert
from test_families_pooled import opened as encoder

from workbench.errors import ModelCorrupt, ModelUnsupported
from workbench.model.load import load_model

SEEING: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "text_config": ({"text_config": [1]}, ModelCorrupt, r"text_config = \[1\], it must be an object"),
    "heads": ({"vision_config": llava.CLIP | {"num_attention_heads": 3}}, ModelCorrupt, "3 attention heads for the 32 numbers"),
    "layer": ({"vision_feature_layer": 77}, ModelUnsupported, "vision_feature_layer = 77, and a tower of 3 layers"),
    "no layer": ({"vision_feature_layer": []}, ModelCorrupt, r"vision_feature_layer = \[\], it must name a layer"),
    "architectures": ({"architectures": "Llava"}, ModelUnsupported, "^Llava is not supported"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return seeing.saved(llava.made(), llava.processor(), tmp_path)


def changed(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize("case", SEEING)
def test_a_model_that_sees(folder: Path, case: str):
    values, error, message = SEEING[case]
    with pytest.raises(error, match=message) as refused:
        load_model(changed(folder, values), dtype=torch.float32, device=torch.device("cpu"))
    assert len(str(refused.value).splitlines()) == 2


MAKERS = {
    "llava": (llava.made, llava.processor, {"crop_size": {"height": 14, "width": 14}}, "squares of 14 pixels.*takes 28"),
    "llava as of old": (llava.made, llava.processor, {"crop_size": 35, "size": 35}, "squares of 35 pixels.*takes 28"),
    "gemma3": (gemma3.made, gemma3.processor, {"size": {"height": 12, "width": 12}}, "squares of 12 pixels.*takes 24"),
    "mllama": (mllama.made, mllama.processor, {"size": {"height": 32, "width": 32}}, "squares of 32 pixels.*takes 16"),
}  # fmt: skip


@pytest.mark.parametrize("case", MAKERS)
def test_a_processor_for_another_tower(tmp_path: Path, case: str):
    made, processor, values, message = MAKERS[case]
    folder = seeing.saved(made(), processor(), tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelCorrupt, match=message) as refused:
        opened(folder)
    assert len(str(refused.value).splitlines()) == 2


def test_a_tokenizer_without_the_token_of_pictures_is_enough_for_text(folder: Path):
    seeing.tokenizer(()).save_pretrained(folder)
    with opened(folder) as engine:
        with pytest.raises(ModelCorrupt, match=r"lacks the token of pictures.*\n.*tokenizer_path="):
            engine.generate("What?", {"max_new_tokens": 2}, image_data=png(picture(1)))
        assert len(engine.generate("What?", {"max_new_tokens": 2, "ignore_eos": True})["output_ids"]) == 2


@pytest.mark.parametrize(
    "files, message",
    [({"modules.json": [1]}, r"modules\.json holds no list of modules"), ({"modules.json": {}}, "no list of modules"),
     ({"modules.json": [], "sentence_bert_config.json": {"max_seq_length": "x"}}, "max_seq_length = 'x', it must be a whole")],
)  # fmt: skip
def test_files_beside_an_encoder(tmp_path: Path, files: dict[str, Any], message: str):
    bert().save_pretrained(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ModelCorrupt, match=message) as refused:
        encoder(tmp_path)
    assert len(str(refused.value).splitlines()) == 2
