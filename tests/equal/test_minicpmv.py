"""MiniCPM-V 2.0 to 2.6 equal an oracle of plain torch, written from the published description: the text half and the layers of
the tower are transformers' classes; the sizes of slices are those of transformers' processor of a later model of this kind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import seeing
import torch
import transformers
from family import seeded
from PIL import Image
from safetensors.torch import save_file
from seeing import Case, Placed, picture
from test_families_renamed import renamed
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

from workbench.errors import ModelUnsupported
from workbench.model.load import load_model
from workbench.pictures.slices import sliced_into, sliced_size, whole_size

SPECIAL = ("<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>")
UNKNOWN = 258
SIDE, PATCH, QUERIES, MOST = 28, 7, 3, 6
TEXT: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 256, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    "tie_word_embeddings": False,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70,
    "patch_size": PATCH,
}  # fmt: skip
MARK = "(<image>./</image>)"
CASES = (
    Case(f"What is {MARK} this?", (picture(1, 60, 40),)),
    Case(f"What is {MARK} this?", (picture(2, 60, 40),)),
    Case(f"{MARK} or {MARK}", (picture(1, 20, 25), picture(3, 20, 60))),
    Case("No picture at all."),
)
SCALES = {"scale_emb": 6.0, "scale_depth": 1.4, "dim_model_base": 64}
GRANITE = {
    "embedding_multiplier": 6.0, "residual_multiplier": 1.4 / 2**0.5, "logits_scaling": 256 / 64,
    "attention_multiplier": 64**-0.5,
}  # fmt: skip
"""The factors of MiniCPM, in its own words and in those of the class that computes the same."""
PROCESSOR = MiniCPMV4_6ImageProcessorPil()


class Resampler(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        size = TEXT["hidden_size"]
        self.query = torch.nn.Parameter(torch.zeros(QUERIES, size))
        self.kv_proj = torch.nn.Linear(TOWER["hidden_size"], size, bias=False)
        self.attn = torch.nn.MultiheadAttention(size, size // 128)
        self.ln_q, self.ln_kv, self.ln_post = (torch.nn.LayerNorm(size, eps=1e-6) for _ in range(3))
        self.proj = torch.nn.Parameter(torch.zeros(size, size))

    def forward(self, x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        values = self.ln_kv(self.kv_proj(x))
        queries = self.ln_q(self.query) + getattr(self, "pos_embed", 0)
        return self.ln_post(self.attn(queries, values + self.places(rows, columns), values)[0]) @ self.proj

    def places(self, rows: int, columns: int) -> torch.Tensor:
        size = self.query.shape[1]
        made = torch.zeros(rows * columns, size)
        for at in range(rows * columns):
            for which, place in enumerate((at % columns, at // columns)):
                for i in range(size // 4):
                    angle = place / 10_000 ** (i / (size / 4))
                    made[at, which * size // 2 + i] = math.sin(angle)
                    made[at, which * size // 2 + size // 4 + i] = math.cos(angle)
        return made


class Oracle(torch.nn.Module):
    """Its tensors have the names of the published files."""

    def __init__(self, version: float) -> None:
        super().__init__()
        self.version = version
        kinds = {2.0: "granite", 2.5: "llama", 2.6: "qwen2"}
        text = transformers.AutoConfig.for_model(kinds[version], **TEXT, **(GRANITE if version == 2.0 else {}))
        self.llm = transformers.AutoModelForCausalLM.from_config(text, attn_implementation="eager", dtype=torch.float32)
        activation = "gelu" if version == 2.0 else "gelu_pytorch_tanh"
        tower = transformers.SiglipVisionConfig(**TOWER, vision_use_head=False, hidden_act=activation)
        self.vpm = transformers.SiglipVisionModel._from_config(tower, attn_implementation="eager", dtype=torch.float32)
        self.resampler = Resampler()
        if version == 2.0:
            self.resampler.pos_embed = torch.nn.Parameter(torch.zeros_like(self.resampler.query))

    def vectors(self, shown: Image.Image) -> torch.Tensor:
        """Returns the vectors of a picture or slice."""
        values = torch.tensor([*shown.tobytes()]).view(shown.height, shown.width, 3) / 255
        pixels = ((values - 0.5) / 0.5).permute(2, 0, 1)[None]
        features = self.vpm.embeddings.patch_embedding(pixels)
        rows, columns = features.shape[2:]
        across = TOWER["image_size"] // PATCH
        if self.version == 2.6:
            places = [
                row * across // rows * across + column * across // columns for row in range(rows) for column in range(columns)
            ]
        else:
            places = [i * across // (rows * columns) for i in range(rows * columns)]
        table = self.vpm.embeddings.position_embedding
        taken = table(torch.tensor(places))
        if self.version == 2.0:
            square = table.weight.view(1, across, across, -1).permute(0, 3, 1, 2)
            resized = torch.nn.functional.interpolate(square, (rows, columns), mode="bicubic", antialias=True)
            taken = resized.permute(0, 2, 3, 1).flatten(1, 2)
        x = features.flatten(2).transpose(1, 2) + taken
        seen = self.vpm.post_layernorm(self.vpm.encoder(inputs_embeds=x).last_hidden_state)
        return self.resampler(seen[0], rows, columns)

    def wanted(self, case: Case) -> Placed:
        text, vectors = case.text, [torch.empty(0, TEXT["hidden_size"])]
        for i, shown in enumerate(case.pictures):
            parts, written = self.parts(shown, i)
            text = text.replace(MARK, written, 1)
            with torch.inference_mode():
                vectors += map(self.vectors, parts)
        ids = seeing.tokenizer(SPECIAL)(text)["input_ids"]
        scale = GRANITE["embedding_multiplier"] if self.version == 2.0 else 1.0  # the class scales vectors with the tokens
        places = [i for i, token in enumerate(ids) if token == UNKNOWN]
        return Placed(self.llm, ids, places, torch.cat(vectors) / scale)

    def parts(self, shown: Image.Image, index: int) -> tuple[list[Image.Image], str]:
        """Returns the whole and the slices of a picture, and the text that stands for it."""
        width, height = shown.size
        grid = PROCESSOR.get_sliced_grid((height, width), MOST, SIDE)
        one = "<unk>" * QUERIES
        text = (f"<image_id>{index}</image_id>" if self.version == 2.6 else "") + f"<image>{one}</image>"
        sizes = {"scale_resolution": SIDE, "patch_size": PATCH / 4, "downsample_mode": "16x"}
        high, wide = PROCESSOR.find_best_resize((height, width), **sizes, allow_upscale=grid is None)
        parts = [shown.resize((int(wide), int(high)), Image.Resampling.BICUBIC)]
        if grid is None:
            return parts, text
        rows, columns = grid
        high, wide = (int(size) for size in PROCESSOR.get_refine_size((height, width), grid, **sizes, allow_upscale=True))
        large = shown.resize((wide, high), Image.Resampling.BICUBIC)
        for top in range(0, high, high // rows):
            for left in range(0, wide, wide // columns):
                parts.append(large.crop((left, top, left + wide // columns, top + high // rows)))
        name = "slice" if self.version == 2.6 else "image"
        slices = "\n".join("".join(f"<{name}>{one}</{name}>" for _ in range(columns)) for _ in range(rows))
        return parts, text + (slices if self.version == 2.6 else f"<slice>{slices}</slice>")


def first_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the tensors by the names of 2.0, whose tower has queries, keys and values in one."""
    tensors = renamed(
        tensors, (r"^vpm\.embeddings\.patch_embedding", "vpm.patch_embed.proj"), (r"^vpm\.post_layernorm", "vpm.norm"),
        (r"^vpm\.embeddings\.position_embedding\.weight", "vpm.pos_embed"), (r"^vpm\.encoder\.layers", "vpm.blocks"),
        (r"(vpm.*)layer_norm", r"\1norm"), (r"(vpm.*)self_attn\.out_proj", r"\1attn.proj"), (r"(vpm.*)self_attn", r"\1attn"),
    )  # fmt: skip
    for layer in range(TOWER["num_hidden_layers"]):
        for leaf in ("weight", "bias"):
            parts = [tensors.pop(f"vpm.blocks.{layer}.attn.{part}_proj.{leaf}") for part in "qkv"]
            tensors[f"vpm.blocks.{layer}.attn.qkv.{leaf}"] = torch.cat(parts)
    tensors["vpm.pos_embed"] = tensors["vpm.pos_embed"][None]
    return tensors


def written(folder: Path, oracle: Oracle, **values: Any) -> Path:
    tensors = {name: tensor.contiguous() for name, tensor in oracle.state_dict().items()}
    if oracle.version == 2.0:
        tensors, values = first_names(tensors), SCALES | values
    save_file(tensors, folder / "model.safetensors")
    tower = TOWER | {"model_type": "siglip"} | ({"hidden_act": "gelu"} if oracle.version == 2.0 else {})
    config = TEXT | {
        "architectures": ["MiniCPMV"], "model_type": "minicpmv", "version": oracle.version, "query_num": QUERIES,
        "vision_config": tower, "drop_vision_last_layer": False, "batch_vision_input": True,
        "slice_mode": True, "image_size": 448, "patch_size": 14, "use_image_id": True, "vision_batch_size": 16,
        "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "slice_config": {"max_slice_nums": 9, "patch_size": 14, "model_type": "minicpmv"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | values))
    processor = {
        "image_processor_type": "MiniCPMVImageProcessor", "max_slice_nums": MOST, "scale_resolution": SIDE, "patch_size": PATCH,
        "use_image_id": oracle.version == 2.6, "slice_mode": True, "norm_mean": [0.5] * 3, "norm_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    seeing.tokenizer(SPECIAL).save_pretrained(folder)
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("version", [2.0, 2.5, 2.6])
def test_minicpmv(tmp_path: Path, version: float):
    oracle = seeded(Oracle(version))
    folder = written(tmp_path, oracle)
    wanted = [oracle.wanted(case) for case in CASES]
    prompts = seeing.looked(folder, CASES)
    assert [seen.ids for seen in prompts] == [one.ids for one in wanted]
    assert [len(seen.pictures) for seen in prompts] == [1, 1, 2, 0]
    assert prompts[0].pictures[0].num_tokens > 2 * QUERIES, "the first picture has no slices"
    seeing.hold_prompts(folder, prompts, wanted)


def test_an_unknown_word_is_no_picture(tmp_path: Path):
    folder = written(tmp_path, seeded(Oracle(2.6)))
    case = Case(f"<unk>{MARK}<unk>{MARK} <unk>", (picture(1, 20, 25), picture(3, 20, 60)))
    eyes, words = seeing.eyes_of(folder)
    seen = eyes.prompt(case.text, case.shown, words.encode, is_local=True)
    runs = [run for one in seen.pictures for run in one.places]
    marks = [(words.decode(seen.ids[a - 1 : a], False), words.decode(seen.ids[a + n : a + n + 1], False)) for a, n in runs]
    assert set(marks) == {("<image>", "</image>"), ("<slice>", "</slice>")}
    assert {n for _, n in runs} == {QUERIES}
    assert seen.ids.count(UNKNOWN) == QUERIES * len(runs) + 3
    assert eyes.prompt(seen.ids, case.shown, words.encode, is_local=True) == seen
    eyes.check_plain("<unk> alone", words.encode("<unk> alone"))


def test_the_last_layer_of_the_tower_may_be_dropped(tmp_path: Path):
    oracle = seeded(Oracle(2.6))
    folder = written(tmp_path, oracle, drop_vision_last_layer=True)
    whole = oracle.wanted(CASES[0])
    oracle.vpm.encoder.layers = oracle.vpm.encoder.layers[:-1]
    wanted = oracle.wanted(CASES[0])
    seen = seeing.looked(folder, CASES[:1])[0]
    torch.testing.assert_close(seeing.prefill_logits(folder, seen, "torch"), wanted.logits, rtol=1e-4, atol=1e-4)
    assert (whole.logits - wanted.logits).abs().max() > 1e-3


@pytest.mark.parametrize("version", ["1.0", 4.5])
def test_other_versions_are_refused(tmp_path: Path, version: Any):
    folder = written(tmp_path, seeded(Oracle(2.6)), version=version)
    with pytest.raises(ModelUnsupported, match=f"MiniCPM-V {version}, which is not computed"):
        load_model(folder, dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize("seed", range(30))
def test_sizes_of_slices_are_those_of_transformers(seed: int):
    width, height = torch.randint(1, 200, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    sizes = {"scale_resolution": 56, "patch_size": PATCH / 4, "downsample_mode": "16x"}
    grid = sliced_into((width, height), 9, 56)
    expected = PROCESSOR.get_sliced_grid((height, width), 9, 56)
    assert (None if grid is None else [grid[1], grid[0]]) == expected
    whole = whole_size((width, height), 56, PATCH, grows=grid is None)
    assert whole[::-1] == PROCESSOR.find_best_resize((height, width), **sizes, allow_upscale=grid is None)
    if grid is not None:
        large = sliced_size((width, height), grid, 56, PATCH)
        assert large[::-1] == PROCESSOR.get_refine_size((height, width), expected, **sizes, allow_upscale=True)


def test_a_large_square_has_nine_slices():
    """As the published processor cuts it: 64 tokens of each, and of the whole."""
    assert sliced_into((1344, 1344), 9, 448) == (3, 3)
    assert sliced_size((1344, 1344), (3, 3), 448, 14) == (1344, 1344)
    assert whole_size((1344, 1344), 448, 14, grows=False) == (448, 448)
