"""Vision towers equal transformers' modules, on tiny seeded weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from family import seeded
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.idefics3 import modeling_idefics3 as idefics3
from transformers.models.mllama import modeling_mllama as mllama
from transformers.models.pixtral import modeling_pixtral as pixtral
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen25
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2
from transformers.models.siglip import modeling_siglip as siglip

from workbench.checkpoint.names import Names
from workbench.checkpoint.safetensors_files import open_safetensors
from workbench.checkpoint.sources import StoredSource, Survey
from workbench.checkpoint.weights import Weights
from workbench.model.layer import Layer
from workbench.model.vision import mllama as our_mllama
from workbench.model.vision import pixtral as our_pixtral
from workbench.model.vision import qwen_vl
from workbench.model.vision import siglip as our_siglip
from workbench.model.vision.config import MllamaTowerConfig, PixtralConfig, Qwen2Tower, Qwen25Tower, SiglipConfig

CPU = torch.device("cpu")


def loaded(layer: Layer, module: torch.nn.Module, names: Mapping[str, str], folder: Path, leftovers: str = r"(?!)") -> Layer:
    """Returns the layer with the weights of a module of transformers, all of which it must read."""
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / "model.safetensors")
    rules = Names(names, ("", "vision_model."), leftovers)
    with open_safetensors(folder) as checkpoint:
        survey = Survey(checkpoint, rules)
        layer.load(Weights(survey, torch.float32, CPU))
        survey.settle("the tower")
        layer.load(Weights(StoredSource(checkpoint, rules), torch.float32, CPU))
    return layer


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


SIGLIP: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
                          "image_size": 20, "patch_size": 4}  # fmt: skip


@torch.inference_mode()
def test_siglip(tmp_path: Path):
    config = siglip.SiglipVisionConfig(**SIGLIP, vision_use_head=False, hidden_act="gelu")
    reference = seeded(siglip.SiglipVisionModel(config))
    ours = loaded(our_siglip.SiglipTower(SiglipConfig(**SIGLIP, hidden_act="gelu")), reference, our_siglip.NAMES, tmp_path)
    pictures = pixels(2, 3, 20, 20)
    close(ours(pictures), reference(pictures).last_hidden_state)


@torch.inference_mode()
def test_features_of_an_earlier_layer_of_siglip(tmp_path: Path):
    reference = seeded(siglip.SiglipVisionModel(siglip.SiglipVisionConfig(**SIGLIP, vision_use_head=False)))
    tower = our_siglip.SiglipTower(SiglipConfig(**SIGLIP), num_layers=2, normed=False)
    ours = loaded(tower, reference, our_siglip.NAMES, tmp_path, leftovers=r"layers\.2\.|post_layernorm")
    pictures = pixels(2, 3, 20, 20)
    close(ours(pictures), reference(pictures, output_hidden_states=True).hidden_states[2])


@torch.inference_mode()
@pytest.mark.parametrize("size", [(20, 20), (12, 20), (16, 8)])
def test_siglip_of_idefics_sees_parts_of_a_square(tmp_path: Path, size: tuple[int, int]):
    reference = seeded(idefics3.Idefics3VisionTransformer(idefics3.Idefics3VisionConfig(**SIGLIP)))
    ours = loaded(our_siglip.SiglipTower(SiglipConfig(**SIGLIP)), reference, our_siglip.NAMES, tmp_path)
    pictures = pixels(2, 3, *size)
    close(ours(pictures), reference(pictures).last_hidden_state)


@torch.inference_mode()
def test_pixtral(tmp_path: Path):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 4}
    reference = seeded(pixtral.PixtralVisionModel(pixtral.PixtralVisionConfig(**sizes, image_size=40)))
    ours = loaded(our_pixtral.PixtralTower(PixtralConfig(**sizes)), reference, our_pixtral.NAMES, tmp_path)
    canvas = pixels(2, 3, 24, 20)
    expected = reference(canvas, image_sizes=torch.tensor([[24, 12], [16, 20]])).last_hidden_state[0]
    close(ours([canvas[0, :, :24, :12], canvas[1, :, :16, :20]]), expected)


MLLAMA: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_global_layers": 2, "attention_heads": 4,
    "image_size": 20, "patch_size": 4, "max_num_tiles": 3, "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [2, 1], [3, 1]],
    "vision_output_dim": 96, "intermediate_layers_indices": [2, 0], "norm_eps": 1e-3,
}  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("num_tiles", [1, 2, 3])
def test_tower_of_llama_vision(tmp_path: Path, num_tiles: int):
    reference = seeded(mllama.MllamaVisionModel(mllama.MllamaVisionConfig(**MLLAMA)))
    tower = our_mllama.MllamaTower(msgspec.convert(MLLAMA, MllamaTowerConfig))
    ours = loaded(tower, reference, our_mllama.NAMES, tmp_path)
    tiles = torch.cat((pixels(num_tiles, 3, 20, 20), torch.zeros(3 - num_tiles, 3, 20, 20)))
    mask = torch.tensor([[[at < num_tiles for at in range(3)]]]).long()
    expected = reference(tiles[None, None], torch.tensor([[num_tiles]]), mask).last_hidden_state[0, 0, :num_tiles]
    close(ours(tiles[:num_tiles], torch.tensor([num_tiles])), expected.flatten(0, 1))


GRIDS = [(1, 4, 6), (2, 10, 4), (1, 4, 6)]
QWEN: dict[str, Any] = {"depth": 3, "num_heads": 4, "patch_size": 4}


@torch.inference_mode()
def test_tower_of_qwen2(tmp_path: Path):
    sizes = QWEN | {"embed_dim": 32, "hidden_size": 24}
    reference = seeded(qwen2.Qwen2VisionTransformerPretrainedModel(qwen2.Qwen2VLVisionConfig(**sizes)))
    ours = loaded(qwen_vl.QwenTower(Qwen2Tower(**sizes)), reference, qwen_vl.NAMES_OF_2, tmp_path)
    patches = pixels(24 + 80 + 24, 3 * 2 * 4 * 4)
    close(ours(patches, GRIDS), reference(patches, torch.tensor(GRIDS)).pooler_output)


@torch.inference_mode()
@pytest.mark.parametrize("full", [(1,), (0, 1, 2)])
def test_tower_of_qwen25(tmp_path: Path, full: tuple[int, ...]):
    """The windows have 2 * 2 tokens, so some are cut off at the edges of the frames."""
    sizes = QWEN | {
        "hidden_size": 32,
        "out_hidden_size": 24,
        "intermediate_size": 40,
        "window_size": 16,
        "fullatt_block_indexes": full,
    }
    reference = seeded(qwen25.Qwen2_5_VisionTransformerPretrainedModel(qwen25.Qwen2_5_VLVisionConfig(**sizes)))
    ours = loaded(qwen_vl.QwenTower(Qwen25Tower(**sizes)), reference, qwen_vl.NAMES, tmp_path)
    patches = pixels(24 + 80 + 24, 3 * 2 * 4 * 4)
    close(ours(patches, GRIDS), reference(patches, torch.tensor(GRIDS)).pooler_output)
