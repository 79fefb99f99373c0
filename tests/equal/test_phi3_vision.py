"""Phi-3-Vision equals an oracle of plain torch, written from the published description: text half and tower are transformers'
classes, pictures become tiles and tokens in loops."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import restyled, seeded
from PIL import Image
from safetensors.torch import save_file
from seeing import Case, Placed, picture
from test_llava import CLIP
from tokenizers.processors import TemplateProcessing

from workbench.errors import InvalidRequest, ModelUnsupported
from workbench.model.load import load_model

SPECIAL = ("<|image|>", "<|user|>", "<|end|>", "<|assistant|>")
IMAGE, MOST, SIDE = 258, 4, 28
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    "sliding_window": 64, "tie_word_embeddings": False,
}  # fmt: skip
LAYOUT = {"embedding_cls": "image", "hd_transform_order": "sub_glb", "projection_cls": "mlp", "use_hd_transform": True,
          "with_learnable_separator": True}  # fmt: skip
TAKEN = {"image_dim_out": 32, "model_name": "openai/clip-vit-large-patch14-336", "name": "clip_vision_model", "num_img_tokens": 4}
CASES = (
    Case("<|user|>\n<|image_1|>\nWhat?<|end|>", (picture(1, 60, 40),)),
    Case("<|user|>\n<|image_1|>\nWhat?<|end|>", (picture(2, 60, 40),)),
    Case("<|image_1|> or <|image_2|>", (picture(1, 20, 25), picture(3, 20, 70))),
    Case("No picture at all."),
)
MEANS, DEVIATIONS = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])


class Oracle(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = transformers.Phi3Config(**TEXT)
        self.text = transformers.Phi3ForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
        tower = transformers.CLIPVisionConfig(**{key: value for key, value in CLIP.items() if key != "model_type"})
        self.tower = transformers.CLIPVisionModel._from_config(tower, attn_implementation="eager", dtype=torch.float32)
        width, size = 4 * CLIP["hidden_size"], TEXT["hidden_size"]
        self.img_projection = torch.nn.Sequential(torch.nn.Linear(width, size), torch.nn.GELU(), torch.nn.Linear(size, size))
        self.sub_GN, self.glb_GN = (torch.nn.Parameter(torch.zeros(*[1] * ones, width)) for ones in (3, 2))

    def vectors(self, shown: Image.Image) -> torch.Tensor:
        whole = self.fitted(shown)  # [height, width, 3]
        rows, columns = whole.shape[0] // SIDE, whole.shape[1] // SIDE
        pixels = ((whole / 255 - MEANS) / DEVIATIONS).permute(2, 0, 1)
        small = torch.nn.functional.interpolate(pixels[None], (SIDE, SIDE), mode="bicubic")
        tiles = [
            pixels[None, :, r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r in range(rows) for c in range(columns)
        ]
        found = self.tower(torch.cat([*tiles, small]), output_hidden_states=True).hidden_states[-2][:, 1:]
        features = found.unflatten(1, (4, 4))  # patches of each tile by row and column
        made = []
        for row in range(2 * rows):
            for column in range(2 * columns):
                tile = features[row // 2 * columns + column // 2]
                made.append(self.four(tile, row % 2, column % 2))
            made.append(self.sub_GN.flatten())
        made.append(self.glb_GN.flatten())
        for row in range(2):
            made += [self.four(features[-1], row, column) for column in range(2)] + [self.sub_GN.flatten()]
        return self.img_projection(torch.stack(made))

    def four(self, tile: torch.Tensor, row: int, column: int) -> torch.Tensor:
        return torch.cat([tile[2 * row + down, 2 * column + right] for down in (0, 1) for right in (0, 1)])

    def fitted(self, shown: Image.Image) -> torch.Tensor:
        pixels = torch.tensor([*shown.tobytes()], dtype=torch.uint8).view(shown.height, shown.width, 3)
        if shown.width < shown.height:
            return self.fitted(Image.fromarray(pixels.transpose(0, 1).contiguous().numpy())).transpose(0, 1)
        ratio = shown.width / shown.height
        columns = max(count for count in range(1, 50) if count * math.ceil(count / ratio) <= MOST)
        wide = shown.resize((columns * SIDE, int(columns * SIDE / ratio)), Image.Resampling.BILINEAR)
        short = -wide.height % SIDE
        canvas = torch.full((wide.height + short, wide.width, 3), 255.0)
        canvas[short // 2 : short // 2 + wide.height] = torch.tensor([*wide.tobytes()]).view(wide.height, wide.width, 3).float()
        return canvas

    def wanted(self, case: Case, encode: Any) -> Placed:
        ids, vectors = [], [torch.empty(0, TEXT["hidden_size"])]
        for i, text in enumerate(re.split(r"<\|image_\d+\|>", case.text)):
            if i:
                with torch.inference_mode():
                    vectors.append(self.vectors(case.pictures[i - 1]))
                ids += [IMAGE] * len(vectors[-1])
            ids += encode(text)["input_ids"]
        return Placed(self.text, ids, [i for i, token in enumerate(ids) if token == IMAGE], torch.cat(vectors))


def words() -> Any:
    """Returns a tokenizer that puts <s> before each text, so that it stands behind each picture."""
    made = seeing.tokenizer(SPECIAL)
    made.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    return made


def written(folder: Path, oracle: Oracle, **values: Any) -> Path:
    tensors = dict(oracle.text.state_dict())
    place = "model.vision_embed_tokens"
    for name, tensor in oracle.state_dict().items():
        if name.startswith("tower."):
            tensors[f"{place}.img_processor.vision_model.{name.removeprefix('tower.').removeprefix('vision_model.')}"] = tensor
        elif not name.startswith("text."):
            tensors[f"{place}.{name}"] = tensor
    tensors[f"{place}.wte.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = TEXT | {
        "architectures": ["Phi3VForCausalLM"], "model_type": "phi3_v", "embd_layer": LAYOUT, "img_processor": TAKEN,
        "vision_config": CLIP, "embd_pdrop": 0.0, "rms_norm_eps": 1e-5, "original_max_position_embeddings": 512,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | values))
    processor = {"image_processor_type": "Phi3VImageProcessor", "num_crops": MOST, "num_img_tokens": 4,
                 "image_mean": MEANS.tolist(), "image_std": DEVIATIONS.tolist()}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    words().save_pretrained(folder)
    return folder


@pytest.mark.heavy
def test_phi3_vision(tmp_path: Path):
    oracle = seeded(Oracle())
    folder = written(tmp_path, oracle)
    wanted = [oracle.wanted(case, words()) for case in CASES]
    prompts = seeing.looked(folder, CASES)
    assert [seen.ids for seen in prompts] == [one.ids for one in wanted]
    assert prompts[0].ids.count(256) == 2
    seeing.hold_prompts(folder, prompts, wanted)


@pytest.mark.parametrize("size", [(5, 80), (80, 5), (33, 34), (57, 41), (20, 20), (40, 60)])
def test_pictures_of_every_shape(tmp_path: Path, size: tuple[int, int]):
    oracle = seeded(Oracle())
    case = Case("<|image_1|>?", (picture(1, *size),))
    seen, wanted = seeing.looked(written(tmp_path, oracle), [case])[0], oracle.wanted(case, words())
    assert seen.ids == wanted.ids
    torch.testing.assert_close(seeing.prefill_logits(tmp_path, seen, "torch"), wanted.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("embedding", ["model.embed_tokens.weight", "model.vision_embed_tokens.wte.weight"])
def test_the_embedding_may_stand_in_either_place(tmp_path: Path, embedding: str):
    from safetensors.torch import load_file

    folder = written(tmp_path, seeded(Oracle()))
    stored = load_file(folder / "model.safetensors")
    other = {"model.embed_tokens.weight", "model.vision_embed_tokens.wte.weight"} - {embedding}
    save_file({name: tensor for name, tensor in stored.items() if name not in other}, folder / "model.safetensors")
    loaded = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    assert torch.equal(loaded.text.embed_tokens.weight, stored[embedding])


def test_numbers_of_placeholders_are_in_order(tmp_path: Path):
    folder = written(tmp_path, seeded(Oracle()))
    both = (picture(1), picture(2))
    generic, numbered = seeing.looked(folder, [Case(f"a{one}b{two}", both) for one, two in
                                               (("<|image|>", "<|image|>"), ("<|image_1|>", "<|image_2|>"))])  # fmt: skip
    assert generic.ids == numbered.ids
    for text in ("<|image_2|><|image_1|>", "<|image_0|><|image_1|>"):
        with pytest.raises(InvalidRequest, match="placeholders of pictures have the numbers"):
            seeing.looked(folder, [Case(text, both)])


@pytest.mark.parametrize(
    ("key", "values"),
    [("embd_layer", LAYOUT | {"hd_transform_order": "glb_sub"}), ("img_processor", TAKEN | {"type_feature": "cls_patch"})],
)  # fmt: skip
def test_other_layouts_are_refused(tmp_path: Path, key: str, values: dict[str, Any]):
    folder = restyled(written(tmp_path, seeded(Oracle())), **{key: values})
    with pytest.raises(ModelUnsupported, match=key):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
