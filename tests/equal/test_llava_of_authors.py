"""LLaVA and Yi-VL in their authors' own folders equal transformers' classes, whose tensors and configuration are renamed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import oracle
import pytest
import seeing
import torch
import transformers
from family import restyled, seeded
from safetensors.torch import load_file, save_file
from seeing import Case, picture
from test_llava import CLIP, TEXT
from test_llava_next import SIGLIP, Pictures
from tokenizers.processors import TemplateProcessing
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

import workbench
from workbench.errors import ModelNotFound, ModelUnsupported, NotSupported
from workbench.model.load import load_model

IMAGE = 258
"""The id of <image> in the tokenizer of the oracle; the folder's own has no such token."""
CASES = (
    Case("What is <image> this?", (picture(1),)),
    Case("What is <image> this?", (picture(2),)),
    Case("<image><image>\nCompare.", (picture(1, 50, 20), picture(3, 20, 60))),
    Case("No picture at all."),
)
PINS = [[28, 56], [56, 28], [56, 56]]
ARCHITECTURES = {"llama": "LlavaLlamaForCausalLM", "mistral": "LlavaMistralForCausalLM", "qwen2": "LlavaQwenForCausalLM"}
SIGLIP_28 = SIGLIP | {"image_size": 28, "patch_size": 7}


def made(kind: str, text_type: str, vision: dict[str, Any], **values: Any) -> Any:
    """Returns a seeded model of transformers."""
    config = transformers.AutoConfig.for_model(
        kind, text_config={"model_type": text_type, **TEXT}, vision_config=vision, image_token_index=IMAGE, **values
    )
    names = {"llava": "Llava", "llava_next": "LlavaNext", "llava_onevision": "LlavaOnevision"}
    kind_of = getattr(transformers, f"{names[kind]}ForConditionalGeneration")
    model = seeded(kind_of._from_config(config, attn_implementation="eager", dtype=torch.float32))
    model.lm_head.weight.data[IMAGE : IMAGE + 2] = 0  # no continuation has a token of pictures, which the class would count
    return model


def square(*, pad: bool) -> Any:
    images = LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_pad=pad)
    return transformers.LlavaProcessor(
        images, seeing.tokenizer(), patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def tiled() -> Any:
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=PINS
    )
    return transformers.LlavaNextProcessor(
        images, seeing.tokenizer(), patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def of_onevision(aspect: str) -> Any:
    images = LlavaOnevisionImageProcessorPil(
        image_grid_pinpoints=PINS, size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return Pictures(images, seeing.tokenizer(), num_image_tokens=16, vision_feature_select_strategy="full",
                    vision_aspect_ratio=aspect)  # fmt: skip


PROJECTOR = {"linear_1.0": "0", "linear_1.1": "1", "linear_1": "0", "linear_2.0": "3", "linear_2.1": "4", "linear_2": "2"}
"""Our oracle's layers of a projector -> the authors' numbers."""


def first(reference: Any, folder: Path, text_type: str, tower: str | None = None, special: Any = (), **values: Any) -> Path:
    """Writes a folder as the authors do: text keys beside the others, tensors below `model.`, a tokenizer without <image>.
    The tower is in its files, or in a folder of its own below it."""
    reference.save_pretrained(folder)
    stored, renamed, apart = load_file(folder / "model.safetensors"), {}, {}
    for name, tensor in stored.items():
        name = re.sub(r"^(model\.)?(language_model\.)?(model\.)?", "", name)
        if name.startswith("multi_modal_projector."):
            part, leaf = name.removeprefix("multi_modal_projector.").rsplit(".", 1)
            renamed[f"model.mm_projector.{PROJECTOR[part]}.{leaf}"] = tensor
        elif name.startswith("vision_tower."):
            kept = renamed if tower is None else apart
            inner = name.removeprefix("vision_tower.")
            kept[f"model.vision_tower.vision_tower.vision_model.{inner}" if tower is None else f"vision_model.{inner}"] = tensor
        else:
            renamed[name if name.startswith("lm_head") else f"model.{name}"] = tensor
    save_file(renamed, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    text = {key: value for key, value in config["text_config"].items() if key not in ("model_type", "architectures")}
    more: dict[str, Any] = {"vision_config": config["vision_config"]} if tower is None else {"mm_vision_tower": tower}
    if tower is not None:
        (folder / tower).mkdir(parents=True)
        save_file(apart, folder / tower / "model.safetensors")
        (folder / tower / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": config["vision_config"]}))
    stated = text | more | {
        "architectures": [ARCHITECTURES[text_type]], "model_type": "llava", "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_use_im_start_end": False, "use_mm_proj": True,
        "tune_mm_mlp_adapter": False, "freeze_mm_mlp_adapter": False, "mm_hidden_size": 32, "mm_resampler_type": None,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(stated | values))
    seeing.tokenizer(special).save_pretrained(folder)
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize(("text_type", "aspect"), [("llama", "pad"), ("mistral", "square")])
def test_llava_of_one_square(tmp_path: Path, text_type: str, aspect: str):
    reference = made("llava", text_type, CLIP)
    folder = first(reference, tmp_path, text_type, image_aspect_ratio=aspect)
    seeing.hold(folder, reference, square(pad=aspect == "pad"), CASES)


@pytest.mark.heavy
def test_llava_of_tiles(tmp_path: Path):
    reference = made("llava_next", "mistral", CLIP, image_grid_pinpoints=PINS)
    tiles = {
        "image_aspect_ratio": "anyres",
        "mm_patch_merge_type": "spatial_unpad",
        "image_grid_pinpoints": [p[::-1] for p in PINS],
    }
    seeing.hold(first(reference, tmp_path, "mistral", **tiles), reference, tiled(), CASES)


@pytest.mark.heavy
def test_llava_onevision_on_qwen(tmp_path: Path):
    """The tower's last layer is not computed, whatever config.json states."""
    aspect = "anyres_max_9"
    vision = SIGLIP_28 | {"vision_use_head": False}
    reference = made(
        "llava_onevision", "qwen2", vision, image_grid_pinpoints=PINS, video_token_index=259, vision_aspect_ratio=aspect,
        vision_feature_layer=-2,
    )  # fmt: skip
    tiles = {"image_aspect_ratio": aspect, "mm_patch_merge_type": "spatial_unpad",
             "image_grid_pinpoints": [p[::-1] for p in PINS], "mm_vision_select_layer": -1}  # fmt: skip
    folder = first(reference, tmp_path, "qwen2", **tiles)
    seeing.hold(folder, reference, of_onevision(aspect), CASES)
    video = seeing.looked(folder, [Case("See <video> there.", frames=(picture(1), picture(2)))])[0]
    assert video.pictures[0].num_tokens == 2 * 4 + 1
    restyled(folder, mm_newline_position="grid")
    with pytest.raises(NotSupported, match="videos of this model"):
        seeing.looked(folder, [Case("See <video> there.", frames=(picture(1),))])


def yi() -> Any:
    """Returns the oracle of Yi-VL: that of LLaVA with a norm behind each layer of its projector."""
    reference = made("llava", "llama", CLIP)
    projector = reference.model.multi_modal_projector
    for name in ("linear_1", "linear_2"):
        setattr(projector, name, torch.nn.Sequential(getattr(projector, name), torch.nn.LayerNorm(TEXT["hidden_size"])))
    reference = seeded(reference)
    reference.lm_head.weight.data[IMAGE] = 0
    return reference


@pytest.mark.heavy
def test_yi_vl_with_the_tower_in_a_folder_below(tmp_path: Path):
    reference = yi()
    folder = first(reference, tmp_path, "llama", "./vit/tower", mm_projector_type="mlp2x_gelu_Norm", image_aspect_ratio="pad")
    restyled(folder, architectures=["YiVLForCausalLM"])
    wanted = [seeing.Seen(reference, square(pad=True), case) for case in CASES]
    ours = [Case(case.text.replace("<image>", "<image_placeholder>"), case.pictures) for case in CASES]
    prompts = seeing.looked(folder, ours)
    assert [seen.ids for seen in prompts] == [one.ids for one in wanted]
    seeing.hold_prompts(folder, prompts, wanted)
    plain = seeing.Seen(made("llava", "llama", CLIP), square(pad=True), CASES[0])
    assert (plain.logits - wanted[0].logits).abs().max() > 1e-2, "the norms make no difference"


def test_a_folder_without_the_tower_says_whose_it_is(tmp_path: Path):
    folder = first(made("llava", "llama", CLIP), tmp_path, "llama", "tower")
    restyled(folder, mm_vision_tower="openai/clip-vit-large-patch14-336", vision_config=CLIP)
    with pytest.raises(ModelNotFound, match="those of 'openai/clip-vit-large-patch14-336'") as found:
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    assert "mm_vision_tower" in str(found.value)
    named = {"mm_vision_tower": str(folder / "tower")}
    load_model(folder, dtype=torch.float32, device=torch.device("cpu"), override=named)
    restyled(folder, mm_vision_tower="someone/tower", vision_config=None)
    with pytest.raises(ModelUnsupported, match="whose sizes are not known"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("values", "message"),
    [({"image_aspect_ratio": "crop_split"}, "image_aspect_ratio"), ({"mm_projector_type": "linear"}, "mm_projector_type"),
     ({"image_aspect_ratio": "anyres", "image_grid_pinpoints": PINS}, "mm_patch_merge_type"),
     ({"mm_use_im_start_end": True}, "mm_use_im_start_end"), ({"mm_resampler_type": "spatial_pool"}, "mm_resampler_type"),
     ({"mm_vision_select_feature": "slices"}, "mm_vision_select_feature")],
)  # fmt: skip
def test_other_ways_are_refused(tmp_path: Path, values: dict[str, Any], message: str):
    folder = first(made("llava", "llama", CLIP), tmp_path, "llama", **values)
    with pytest.raises(ModelUnsupported, match=message):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


def test_a_full_vocabulary_lends_the_id_of_unknown_words(tmp_path: Path):
    folder = first(made("llava", "llama", CLIP), tmp_path, "llama", special=["<unk>", *(f"<{i}>" for i in range(61))])
    eyes, words = seeing.eyes_of(folder)
    case = Case("<unk><image><unk>", (picture(1),))
    seen = eyes.prompt(case.text, case.shown, words.encode, is_local=True)
    assert seen.ids.count(IMAGE) == 18
    assert seen.pictures[0].places == ((seen.ids.index(IMAGE) + 1, 16),)
    eyes.check_plain("<unk> alone", words.encode("<unk> alone"))
    with pytest.raises(NotSupported, match=r"no token of pictures, so the view cannot place them\n.*leave the pictures out"):
        eyes.places(case.text, case.shown, words.places, is_local=True)
    assert eyes.places("<unk> alone", (), words.places, is_local=True)[1].ids == words.encode("<unk> alone")
    alone = eyes.prompt("<image>", case.shown, words.encode, is_local=True)
    assert alone.ids.count(IMAGE) == 16
    assert eyes.prompt(alone.ids, case.shown, words.encode, is_local=True) == alone


@pytest.mark.heavy
def test_an_engine_writes_one_start_before_a_prompt_and_none_before_a_conversation(tmp_path: Path):
    reference, template = made("llava", "llama", CLIP), "<s>" + seeing.TEMPLATE
    folder = first(reference, tmp_path, "llama", image_aspect_ratio="pad")
    words = seeing.tokenizer((), template)
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    words.save_pretrained(folder)
    one, greedy = picture(1), {"max_new_tokens": 8, "temperature": 0, "ignore_eos": True}
    parts = [{"type": "image", "image": seeing.png(one)}, {"type": "text", "text": "What?"}]
    with workbench.Engine(str(folder), dtype="float32", max_total_tokens=1024) as engine:
        results = [
            engine.generate("Is <image> it?", greedy, image_data=one),
            engine.chat([{"role": "user", "content": parts}], greedy),
        ]
    cases = Case("<s>Is <image> it?", (one,)), Case("<s>user: <image>What?assistant: ", (one,))
    wanted = [seeing.Seen(reference, square(pad=True), case) for case in cases]
    assert [one["output_ids"] for one in results] == [[*oracle.greedy(seen, seen.ids, 8).output] for seen in wanted]
