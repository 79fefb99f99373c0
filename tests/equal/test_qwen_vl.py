"""Qwen2-VL and Qwen2.5-VL equal transformers' classes, from pictures and videos to tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from PIL import Image
from safetensors.torch import load_file, save_file
from seeing import Case, picture
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import workbench
from workbench.checkpoint.weights import DENSE, WeightForm
from workbench.engine.features import tensor_of
from workbench.errors import ModelCorrupt
from workbench.kernels.products import FORMATS
from workbench.model.linear import BlockWeight
from workbench.model.load import load_model
from workbench.native.media import Shown
from workbench.pictures.video import Length, Wish

SPECIAL = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
IDS = {"image_token_id": 258, "video_token_id": 259, "vision_start_token_id": 260, "vision_end_token_id": 261}
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 3, 3]},
}  # fmt: skip
TOWER: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": 4}
TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_vl": TOWER | {"embed_dim": 32, "hidden_size": 64},
    "qwen2_5_vl": TOWER | {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "window_size": 16,
                           "fullatt_block_indexes": [1], "tokens_per_second": 2},
}  # fmt: skip
CASES = (
    Case("See <|vision_start|><|image_pad|><|vision_end|> there.", (picture(1),)),
    Case("See <|vision_start|><|image_pad|><|vision_end|> there.", (picture(2),)),
    Case("<|image_pad|> and <|image_pad|>", (picture(1), picture(3, 20, 60))),
    Case("No picture at all."),
)


class Pictures(transformers.Qwen2VLProcessor):
    """The processor without its part for videos, which needs a further package."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **_: Any) -> None:
        super().__init__(image_processor, tokenizer, None)

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def processor() -> Any:
    images = Qwen2VLImageProcessorPil(patch_size=4, size={"shortest_edge": 64, "longest_edge": 800})
    return Pictures(images, seeing.tokenizer(SPECIAL))


def made(kind: str, **values: Any) -> Any:
    """Returns a seeded model; `values` replace keys of its text half."""
    config = transformers.AutoConfig.for_model(kind, text_config=TEXT | values, vision_config=TOWERS[kind], **IDS)
    classes = {"qwen2_vl": transformers.Qwen2VLForConditionalGeneration,
               "qwen2_5_vl": transformers.Qwen2_5_VLForConditionalGeneration}  # fmt: skip
    return seeded(classes[kind]._from_config(config, attn_implementation="eager", dtype=torch.float32))


@pytest.mark.heavy
@pytest.mark.parametrize("kind", TOWERS)
def test_qwen_vl(tmp_path: Path, kind: str):
    reference = made(kind)
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), CASES)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", TOWERS)
def test_a_folder_of_older_files(tmp_path: Path, kind: str):
    """The text half's keys stand beside `vision_config`, and names have no level for it."""
    reference = made(kind)
    folder = seeing.saved(reference, processor(), tmp_path)
    stored = load_file(folder / "model.safetensors")
    older = {name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): x for name, x in stored.items()}
    save_file(older, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    kept = {key: config["text_config"][key] for key in TEXT if config["text_config"].get(key) is not None}
    vision = TOWERS[kind] | {"in_chans": 3, "spatial_patch_size": 14, "hidden_act": config["vision_config"]["hidden_act"]}
    flat = {key: value for key, value in config.items() if key not in ("text_config", "vision_config")} | kept
    flat |= {
        "vision_config": vision,
        "rope_theta": 500.0,
        "vision_token_id": 262,
        "sliding_window": 32,
        "use_sliding_window": False,
    }
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": [2, 3, 3]}
    del flat["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(flat | {"tie_word_embeddings": False}))
    seeing.hold(folder, reference, processor(), CASES[:2])


@pytest.mark.parametrize(("kind", "steps"), [("qwen2_vl", 1), ("qwen2_5_vl", 2)])
def test_a_video_has_patches_of_two_frames_and_positions_in_time(tmp_path: Path, kind: str, steps: int):
    """Its patches, made of the frames' own, go through the class of transformers; the last frame stands twice."""
    reference, frames = made(kind), [picture(seed) for seed in (1, 2, 3)]
    folder = seeing.saved(reference, processor(), tmp_path)
    text = "A <|vision_start|><|video_pad|><|vision_end|> and <|vision_start|><|image_pad|><|vision_end|> then?"
    case = Case(text, (picture(4),), tuple(frames))
    seen = seeing.looked(folder, [case])[0]
    alone = [processor().image_processor([frame], return_tensors="pt") for frame in (*frames, frames[-1])]
    rows, columns = alone[0]["image_grid_thw"][0, 1:].tolist()
    parts = [one["pixel_values"].view(-1, 3, 2, 16)[:, :, 0] for one in alone]  # [N, C, P * P] of each frame
    patches = torch.cat([torch.stack(parts[i : i + 2], 2).flatten(1) for i in (0, 2)])
    still = processor().image_processor([picture(4)], return_tensors="pt")
    ids = torch.tensor([seen.ids])
    kinds = torch.where(ids == 258, 1, torch.where(ids == 259, 2, 0))
    with torch.inference_mode():
        expected = reference(
            input_ids=ids, pixel_values=still["pixel_values"], image_grid_thw=still["image_grid_thw"], mm_token_type_ids=kinds,
            pixel_values_videos=patches, video_grid_thw=torch.tensor([[2, rows, columns]]),
        ).logits[0]  # fmt: skip
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), expected, rtol=1e-4, atol=1e-4)
    first = next(one for one in seen.pictures if one.kind == "video").start
    axes = torch.frombuffer(bytearray(seen.axes.data), dtype=torch.int32).view(3, -1)
    assert axes[0, first : first + rows * columns // 2].unique().tolist() == [first, first + steps]


def test_axes_and_windows_matter():
    plain = {kind: seeing.Seen(made(kind), processor(), CASES[0]).logits for kind in TOWERS}
    flat = made("qwen2_vl", rope_parameters=TEXT["rope_parameters"] | {"mrope_section": [8, 0, 0]})
    whole = made("qwen2_5_vl")
    whole.model.visual.window_size = 64
    for kind, other in (("qwen2_vl", flat), ("qwen2_5_vl", whole)):
        assert (seeing.Seen(other, processor(), CASES[0]).logits - plain[kind]).abs().max() > 1e-3


def test_a_config_without_sections_is_refused(tmp_path: Path):
    folder = seeing.saved(made("qwen2_vl"), processor(), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]["rope_parameters"]["mrope_section"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelCorrupt, match="no mrope_section"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_in_8_bits_and_in_bfloat16_sees_about_the_same(tmp_path: Path, kind: str):
    folder = seeing.saved(made(kind), processor(), tmp_path)
    picture_ = seeing.looked(folder, CASES[:1])[0].pictures[0]
    arrays = {name: tensor_of(array) for name, array in picture_.arrays.items()}
    dense, small, coarse = (
        load_model(folder, dtype=dtype, device=torch.device("cpu"), form=form)
        for dtype, form in ((torch.float32, DENSE), (torch.float32, WeightForm(FORMATS, "int8wo")), (torch.bfloat16, DENSE))
    )
    assert isinstance(small.visual.blocks[0].attn.qkv.weight, BlockWeight)
    with torch.inference_mode():
        expected = dense.see(**arrays)
        for other in (small, coarse):
            alike = torch.nn.functional.cosine_similarity(other.see(**arrays).float(), expected, -1)
            assert alike.min() > 0.99


@pytest.mark.parametrize(
    ("length", "wish", "count"),
    [(Length(100, 25), Wish(), 8), (Length(100, 25), Wish(fps=7), 28), (Length(9, 30), Wish(), 4), (Length(5000, 5), Wish(), 768),
     (Length(77, 10), Wish(num_frames=8), 8), (Length(77, 10), Wish(num_frames=5), 4), (Length(3, 10), Wish(), 2),
     (Length(1, 10), Wish(), 1)],
)  # fmt: skip
def test_frames_of_a_video(tmp_path: Path, length: Length, wish: Wish, count: int):
    """Two a second, an even number between 4 and 768, at the places where transformers' processor of videos takes them."""
    folder = seeing.saved(made("qwen2_5_vl"), processor(), tmp_path)
    expected = torch.arange(0, length.num_frames, length.num_frames / count).int()
    assert seeing.eyes_of(folder)[0].sight.choose_frames(length, wish) == expected.tolist()


@pytest.mark.parametrize(("fps", "steps"), [(None, 2), (1.0, 4), (4.0, 1), (8.0, 0)])
def test_positions_in_time_follow_the_rate_of_a_video(tmp_path: Path, fps: float | None, steps: int):
    """A patch has two frames, and `tokens_per_second` is 2: so many positions are between two patches."""
    folder = seeing.saved(made("qwen2_5_vl"), processor(), tmp_path)
    eyes, words = seeing.eyes_of(folder)
    shown = Shown("video", [seeing.png(picture(seed)) for seed in (1, 2, 3, 4)], fps)
    seen = eyes.prompt("<|video_pad|>", [shown], words.encode, is_local=True)
    axes = torch.frombuffer(bytearray(seen.axes.data), dtype=torch.int32).view(3, -1)
    assert axes[0].unique().tolist() == sorted({0, steps})
    others = eyes.prompt("<|video_pad|>", [Shown("video", shown.source, 3.0)], words.encode, is_local=True)
    assert seen.pictures[0].digest != others.pictures[0].digest, "K/V of other positions is not shared"


def test_an_animated_picture_is_the_video_of_its_frames(tmp_path: Path):
    """It gives the tokens and the K/V of the list, in every form, and a program takes as many frames as it names."""
    folder, path = seeing.saved(made("qwen2_5_vl"), processor(), tmp_path), tmp_path / "fade.gif"
    frames = [Image.new("RGB", (40, 40), (50 * i, 0, 90)) for i in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=500)
    greedy = {"max_new_tokens": 8, "temperature": 0, "ignore_eos": True}
    text, whole = "See <|video_pad|> then?", [[seeing.png(frame) for frame in frames]]
    videos = (whole, path, {"url": str(path)}, {"url": path, "fps": 2}, {"url": path, "num_frames": 4})

    @workbench.function
    def asked(s, num_frames):
        s += "See " + workbench.video(str(path), num_frames) + " then?"
        s += workbench.gen("says", max_tokens=8, temperature=0, ignore_eos=True)

    with workbench.Engine(str(folder), dtype="float32", max_total_tokens=1024) as engine:
        results = [engine.generate(text, greedy, image_data=video, modalities=["video"]) for video in videos]
        assert len({tuple(one["output_ids"]) for one in results}) == 1
        assert all(one["meta_info"]["cached_tokens"] == one["meta_info"]["prompt_tokens"] - 1 for one in results[1:])
        whole, half = (asked.run(num_frames, backend=engine) for num_frames in (4, 2))
        counts = [state.get_meta_info("says")["prompt_tokens"] for state in (whole, half)]
        num_tokens = results[0]["meta_info"]["prompt_tokens"] - len("See  then?")
        assert counts == [len("See  then?") + num_tokens, len("See  then?") + num_tokens // 2]
        assert whole["says"] == results[0]["text"]
