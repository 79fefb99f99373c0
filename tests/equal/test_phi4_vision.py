"""Phi-4-multimodal equals transformers' class, whose weights have the adapters in them for prompts with pictures. Its processor
needs a further package, so pictures are made tiles here, from its description."""

from __future__ import annotations

import copy
import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import open_core, restyled, seeded
from PIL import Image
from safetensors.torch import save_file
from seeing import Case, picture
from tiny_models import runner_of

from workbench.checkpoint.weights import WeightForm
from workbench.errors import ModelNotFound, ModelUnsupported
from workbench.kernels.products import FORMATS
from workbench.model.load import load_model
from workbench.pictures.sights.phi4_vision import tiles_of

MARK = "<|endoftext10|>"
IMAGE, SIDE, PATCH, MOST = 258, 24, 4, 6
RANK, ALPHA = 3, 12
LAYERS, HIDDEN = 2, 64
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE,
    "patch_size": PATCH, "crop_size": SIDE, "image_token_id": IMAGE,
}  # fmt: skip
SOUND: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_blocks": 1, "num_attention_heads": 2, "ext_pw_out_channel": 16,
    "depthwise_separable_out_channel": 16, "nemo_conv_channels": 8,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": HIDDEN, "intermediate_size": 96, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "original_max_position_embeddings": 512, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
CASES = (
    Case("See <|image_1|> there.", (picture(1, 60, 41),)),
    Case("See <|image_1|> there.", (picture(2, 60, 41),)),
    Case("<|image_1|> or <|image_2|>", (picture(1, 21, 17), picture(3, 20, 70))),
    Case("See no picture at all."),
)


def made() -> Any:
    config = transformers.Phi4MultimodalConfig(
        **TEXT, vision_config=transformers.Phi4MultimodalVisionConfig(**TOWER),
        audio_config=transformers.Phi4MultimodalAudioConfig(**SOUND),
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.75},
    )  # fmt: skip
    model = transformers.Phi4MultimodalForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    model = seeded(model)
    model.lm_head.weight.data[IMAGE] = 0  # no continuation has the token of pictures, which the class would count
    return model


def adapters(model: Any) -> dict[str, torch.Tensor]:
    """Returns seeded matrices A and B of each linear layer of the text half, by the layer's name."""
    found = {}
    rng = torch.Generator().manual_seed(5)
    for name, layer in model.model.layers.named_modules():
        if isinstance(layer, torch.nn.Linear):
            found[f"model.layers.{name}.lora_A"] = torch.randn(RANK, layer.in_features, generator=rng) * 0.2
            found[f"model.layers.{name}.lora_B"] = torch.randn(layer.out_features, RANK, generator=rng) * 0.2
    return found


def merged(model: Any, pairs: dict[str, torch.Tensor]) -> Any:
    """Returns the model with the adapters in its weights."""
    whole = copy.deepcopy(model)
    for name, parameter in whole.named_parameters():
        stem = name.removesuffix(".weight")
        if f"{stem}.lora_A" in pairs:
            parameter.data += ALPHA / RANK * pairs[f"{stem}.lora_B"] @ pairs[f"{stem}.lora_A"]
    return whole


def tiled(shown: Image.Image) -> tuple[torch.Tensor, torch.Tensor, list[int], int]:
    """Returns the small form and the tiles of a picture, their masks, (height, width) of the tiles together, and its tokens."""
    columns, rows = math.ceil(shown.width / SIDE), math.ceil(shown.height / SIDE)
    if columns * rows > MOST:
        grids = [(x, y) for count in range(1, MOST + 1) for x in range(1, count + 1) for y in [count // x] if x * y == count]
        far = {grid: abs(shown.width / shown.height - grid[0] / grid[1]) for grid in grids}
        first, *others = [grid for grid in grids if far[grid] == min(far.values())]
        fuller = [(x, y) for x, y in others if shown.width * shown.height > SIDE**2 * x * y / 2]
        columns, rows = (first, *fuller)[-1]
    scale = min(columns * SIDE / shown.width, rows * SIDE / shown.height)
    is_wide = columns * SIDE / shown.width < rows * SIDE / shown.height
    size = (columns * SIDE, int(shown.height * scale)) if is_wide else (int(shown.width * scale), rows * SIDE)
    canvas = Image.new("RGB", (columns * SIDE, rows * SIDE), "white")
    canvas.paste(shown.resize(size, Image.Resampling.BILINEAR))
    pixels = (torch.tensor([*canvas.tobytes()]).view(canvas.height, canvas.width, 3).permute(2, 0, 1) / 255 - 0.5) / 0.5
    mask = torch.ones(canvas.height // PATCH, canvas.width // PATCH)
    for pad, part in ((canvas.width - size[0], mask.T), (canvas.height - size[1], mask)):
        if pad >= PATCH:
            part[-(pad // PATCH) :] = 0
    small = torch.nn.functional.interpolate(pixels[None], (SIDE, SIDE), mode="bicubic")[0]
    across = SIDE // PATCH
    places = [(row, column) for row in range(rows) for column in range(columns)]
    tiles = [pixels[:, r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r, c in places]
    masks = [mask[r * across : (r + 1) * across, c * across : (c + 1) * across] for r, c in places]
    halves = [part[::2, ::2] for part in masks]
    cells = across // 2
    lines = sum(int(part[:, 0].sum()) for part, (_, column) in zip(halves, places, strict=True) if not column)
    count = cells**2 + 1 + sum(int(part.sum()) for part in halves) + lines + cells
    return torch.stack([small, *tiles]), torch.stack([torch.ones(across, across), *masks]), [canvas.height, canvas.width], count


class Wanted:
    """The oracle of one prompt: the class with the adapters in its weights, where there are pictures."""

    def __init__(self, plain: Any, adapted: Any, case: Case) -> None:
        self._model = adapted if case.pictures else plain
        parts, text = [tiled(one) for one in case.pictures], case.text
        for i, part in enumerate(parts):
            text = text.replace(f"<|image_{i + 1}|>", MARK * part[3])
        self.ids = tuple(seeing.tokenizer([MARK])(text)["input_ids"])
        self._given: dict[str, Any] = {}
        if parts:
            most = max(len(part[0]) for part in parts)
            pads = [(part[0], part[1], most - len(part[0])) for part in parts]
            self._given = {
                "image_pixel_values": torch.stack([torch.cat([x, x.new_zeros(short, *x.shape[1:])]) for x, _, short in pads]),
                "image_attention_mask": torch.stack([torch.cat([m, m.new_ones(short, *m.shape[1:])]) for _, m, short in pads]),
                "image_sizes": torch.tensor([part[2] for part in parts]),
            }

    @torch.inference_mode()
    def __call__(self, ids: torch.Tensor, **options: Any) -> Any:
        return self._model(input_ids=ids, **self._given, **options)

    @cached_property
    def logits(self) -> torch.Tensor:
        found: torch.Tensor = self(torch.tensor([self.ids])).logits[0]
        return found


RENAMED = {"img_projection_up": "img_projection.0", "img_projection_down": "img_projection.2",
           "sub_img_feature_extensor": "sub_GN", "global_img_feature_extensor": "glb_GN"}  # fmt: skip


def written(folder: Path, model: Any, pairs: dict[str, torch.Tensor], *, is_joined: bool) -> Path:
    """Writes a folder as the authors do, or as transformers does, with the adapters in a folder of their own."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    values = TEXT | {"partial_rotary_factor": 0.75, "rms_norm_eps": 1e-5, "embd_pdrop": 0.0, "vision_config": TOWER}
    lora = {"r": RANK, "lora_alpha": ALPHA}
    if is_joined:
        adapted = {name.rpartition(".")[0] for name in pairs}
        for name in [*tensors]:
            stem, _, leaf = name.rpartition(".")
            new = f"{stem}.base_layer.{leaf}" if stem in adapted else name
            for theirs, ours in RENAMED.items():
                new = new.replace(theirs, ours)
            tensors[new] = tensors.pop(name)
        for name, tensor in pairs.items():
            tensors |= {f"{name}.{kind}.weight": tensor.clone() for kind in ("vision", "speech")}
        layout = {"crop_size": SIDE, "hd_transform_order": "sub_glb", "image_token_compression_cls": "avg_pool_2d"}
        values |= {"architectures": ["Phi4MMForCausalLM"], "model_type": "phi4mm", "vision_lora": lora, "speech_lora": lora,
                   "embd_layer": {"embedding_cls": "image_audio", "image_embd_layer": layout}, "img_processor": None}  # fmt: skip
    else:
        values |= {"architectures": ["Phi4MultimodalForCausalLM"], "model_type": "phi4_multimodal", "audio_config": SOUND}
        (folder / "vision-lora").mkdir()
        stored = {f"base_model.model.{name}.weight": tensor for name, tensor in pairs.items()}
        save_file(stored, folder / "vision-lora" / "adapter_model.safetensors")
        (folder / "vision-lora" / "adapter_config.json").write_text(json.dumps(lora | {"peft_type": "LORA"}))
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"dynamic_hd": MOST, "image_processor_type": "Phi4MMImageProcessor"})
    )
    seeing.tokenizer([MARK]).save_pretrained(folder)
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("is_joined", [True, False])
def test_phi4_multimodal(tmp_path: Path, is_joined: bool):
    """A text and a prompt with a picture begin alike, in one batch and one cache: their K/V is not the same."""
    plain = made()
    pairs = adapters(plain)
    whole = merged(plain, pairs)
    folder = written(tmp_path, plain, pairs, is_joined=is_joined)
    wanted = [Wanted(plain, whole, case) for case in CASES]
    prompts = seeing.looked(folder, CASES)
    assert [seen.ids for seen in prompts] == [one.ids for one in wanted]
    seeing.hold_prompts(folder, prompts, wanted)
    without = Wanted(plain, plain, CASES[0])
    assert (without.logits - wanted[0].logits).abs().max() > 1e-2, "the adapters make no difference"


@pytest.mark.parametrize("size", [(11, 60), (60, 11), (33, 34), (57, 41), (24, 24), (100, 110), (95, 30)])
def test_pictures_of_every_shape(tmp_path: Path, size: tuple[int, int]):
    plain = made()
    pairs = adapters(plain)
    folder = written(tmp_path, plain, pairs, is_joined=True)
    case = Case("<|image_1|>?", (picture(1, *size),))
    seen, wanted = seeing.looked(folder, [case])[0], Wanted(plain, merged(plain, pairs), case)
    assert seen.ids == wanted.ids
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), wanted.logits, rtol=1e-4, atol=1e-4)


def test_a_text_and_a_prompt_with_a_picture_share_no_kv(tmp_path: Path):
    plain = made()
    folder = written(tmp_path, plain, adapters(plain), is_joined=True)
    core = open_core(load_model(folder, dtype=torch.float32, device=torch.device("cpu")), sees=True)
    first, _, _, text = seeing.looked(folder, CASES)
    cached = []
    for rid, seen in enumerate((text, first, first, text)):
        core.add(seeing.request(f"{rid}", seen))
        outs = []
        while core.has_work:
            outs += core.step()
        cached.append(max(out.num_cached for out in outs))
    assert cached[:2] == [0, 0], "a picture's prompt had the K/V of a text"
    assert min(cached[2:]) > len("See ")


def test_a_model_in_8_bits_has_its_adapters(tmp_path: Path):
    plain = made()
    folder = written(tmp_path, plain, adapters(plain), is_joined=True)
    prompts = seeing.looked(folder, [CASES[0], CASES[3]])
    small = load_model(folder, dtype=torch.float32, device=torch.device("cpu"), form=WeightForm(FORMATS, "int8wo"))
    assert small.has_blocks()
    for seen in prompts:
        coarse = seeing.prefill_logits(folder, seen, "torch", runner_of(small, "torch"))
        dense = seeing.prefill_logits(folder, seen, "torch")
        assert torch.nn.functional.cosine_similarity(coarse, dense, -1).mean() > 0.99
    together = seeing.run(open_core(small, sees=True), prompts)
    assert together == [seeing.run(open_core(small, sees=True), [seen])[0] for seen in prompts]


def test_a_folder_without_adapters_is_refused(tmp_path: Path):
    plain = made()
    folder = written(tmp_path, plain, adapters(plain), is_joined=False)
    (folder / "vision-lora" / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"no vision-lora/adapter_model\.safetensors"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


def test_another_layout_is_refused(tmp_path: Path):
    plain = made()
    folder = written(tmp_path, plain, adapters(plain), is_joined=True)
    restyled(folder, embd_layer={"image_embd_layer": {"hd_transform_order": "glb_sub"}})
    with pytest.raises(ModelUnsupported, match="hd_transform_order"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


def test_tiles_of_large_pictures():
    assert tiles_of((1344, 896), 448, 36) == (3, 2)
    assert tiles_of((10_000, 10_000), 448, 36) == (6, 6)
    assert tiles_of((9000, 1000), 448, 36) == (18, 2), "of one shape, the more"
