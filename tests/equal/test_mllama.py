"""Llama 3.2 Vision equals transformers' class: text that looks at pictures by cross attention.

In one thing the class differs from the code that was published with the weights: there, text in front of the first picture passes
through the layers of cross attention unchanged; in the class it attends to all rows of all pictures, the filling of a batch too.
So its answer depends on what stands beside a prompt in a batch. `as_published` takes that out; prompts that begin with their
pictures are compared with the class as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import family
import oracle
import pytest
import seeing
import torch
import transformers
from family import seeded
from seeing import Case, picture
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from workbench import cli
from workbench.model.load import load_model

ARCHITECTURE = "MllamaForConditionalGeneration"
IMAGE = 320
"""The id of the picture's token, the first behind the vocabulary."""
MARK = "<|image|>"
TEXT: dict[str, Any] = {
    "vocab_size": IMAGE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "cross_attention_layers": [1, 3], "bos_token_id": 256,
    "eos_token_id": None, "pad_token_id": 257, "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_global_layers": 2, "attention_heads": 2,
    "image_size": 16, "patch_size": 4, "vision_output_dim": 96, "intermediate_layers_indices": [0, 2],
}  # fmt: skip
CASES = (
    Case(f"See {MARK} there.", (picture(1),)),
    Case(f"See {MARK} there.", (picture(2),)),
    Case(f"One {MARK}, two {MARK}{MARK}, three {MARK}", (picture(1), picture(3, 20, 60), picture(1), picture(4, 90, 9))),
    Case("<s>No picture at all."),
)
PICTURES_FIRST = (
    Case(f"{MARK}What is this?", (picture(1),)),
    Case(f"{MARK}What is this?", (picture(2),)),
    Case(f"{MARK}{MARK}Compare both. {MARK}", (picture(1), picture(3, 20, 60), picture(5))),
)


def made(text: dict[str, Any] | None = None, tower: dict[str, Any] | None = None) -> Any:
    config = transformers.MllamaConfig(
        text_config=TEXT | (text or {}), vision_config=TOWER | (tower or {}), image_token_index=IMAGE
    )
    return seeded(getattr(transformers, ARCHITECTURE)._from_config(config, attn_implementation="eager", dtype=torch.float32))


def as_published(reference: Any) -> Any:
    """Changes: a row without a picture takes nothing from cross attention."""
    for layer in reference.model.language_model.layers:
        if hasattr(layer, "cross_attn"):
            seen: dict[str, Any] = {}

            def note(module: Any, args: Any, given: dict[str, Any], seen: dict[str, Any] = seen) -> None:
                seen["rows"] = given["full_text_row_masked_out_mask"]

            def leave_out(module: Any, args: Any, output: Any, seen: dict[str, Any] = seen) -> Any:
                return output[0] * seen["rows"][:, 0], *output[1:]

            layer.register_forward_pre_hook(note, with_kwargs=True)
            layer.cross_attn.register_forward_hook(leave_out)
    return reference


def processor() -> Any:
    reserved = [f"<|reserved_{i}|>" for i in range(IMAGE - 258)]
    images = MllamaImageProcessorPil(size={"height": 16, "width": 16})
    return transformers.MllamaProcessor(images, seeing.tokenizer((*reserved, MARK)))


def logits_of(reference: Any, case: Case) -> torch.Tensor:
    return seeing.Seen(reference, processor(), case).logits


@pytest.mark.heavy
def test_pictures_before_all_text(tmp_path: Path):
    reference = made()
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), PICTURES_FIRST)


@pytest.mark.heavy
def test_pictures_within_a_text(tmp_path: Path):
    reference = as_published(made())
    seeing.hold(seeing.saved(reference, processor(), tmp_path), reference, processor(), CASES)


def test_the_class_lets_text_before_a_picture_look_at_the_filling_of_a_batch():
    reference, case = made(), CASES[0]
    inputs = seeing.Seen(reference, processor(), case).inputs
    more = {name: torch.cat((inputs[name], torch.zeros_like(inputs[name])), 1) for name in ("pixel_values", "aspect_ratio_ids")}
    tiles = torch.tensor([[[1, 0, 0, 0]]])  # as transformers' processor fills up a prompt with fewer pictures than another
    more["aspect_ratio_mask"] = torch.cat((inputs["aspect_ratio_mask"], tiles), 1)
    looks = inputs["cross_attention_mask"]
    more["cross_attention_mask"] = torch.cat((looks, torch.zeros_like(looks)), 2)

    def answer(model: Any, **changed: Any) -> torch.Tensor:
        seen = seeing.Seen(model, processor(), case)
        seen.inputs |= changed
        return seen.logits

    assert (answer(reference) - answer(reference, **more)).abs().max() > 1e-2
    published = as_published(made())
    torch.testing.assert_close(answer(published), answer(published, **more), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "tensor",
    [
        "language_model.layers.1.cross_attn_attn_gate", "language_model.layers.3.cross_attn_mlp_gate",
        "language_model.layers.1.cross_attn.q_norm.weight", "language_model.layers.3.cross_attn.k_norm.weight",
        "vision_model.gated_positional_embedding.gate", "vision_model.pre_tile_positional_embedding.gate",
        "vision_model.post_tile_positional_embedding.gate", "vision_model.global_transformer.layers.1.gate_attn",
        "vision_model.global_transformer.layers.0.gate_ffn", "vision_model.layernorm_post.weight",
    ],
)  # fmt: skip
def test_each_part_matters(tensor: str):
    reference = made()
    before = logits_of(reference, PICTURES_FIRST[2])
    reference.model.get_parameter(tensor).data.fill_(0.5)
    assert (logits_of(reference, PICTURES_FIRST[2]) - before).abs().max() > 1e-3


def test_who_sees_which_picture_matters():
    reference = as_published(made())
    seen = seeing.Seen(reference, processor(), CASES[2])
    seen.inputs["cross_attention_mask"] = torch.ones_like(seen.inputs["cross_attention_mask"])
    assert (seen.logits - logits_of(reference, CASES[2])).abs().max() > 1e-2


@pytest.mark.parametrize("size", [(5, 80), (80, 5), (33, 34), (57, 41), (10, 10), (300, 7), (30, 65), (16, 48)])
def test_pictures_of_every_shape(tmp_path: Path, size: tuple[int, int]):
    reference, case = made(), Case(f"{MARK}Who?", (picture(1, *size),))
    (seen,) = seeing.looked(seeing.saved(reference, processor(), tmp_path), [case])
    wanted = seeing.Seen(reference, processor(), case)
    assert seen.ids == wanted.ids
    torch.testing.assert_close(seeing.prefill_logits(tmp_path, seen, "torch"), wanted.logits, rtol=1e-4, atol=1e-4)


def test_the_text_half_alone(tmp_path: Path):
    text = transformers.MllamaTextConfig(**TEXT)
    reference = seeded(transformers.MllamaForCausalLM._from_config(text, attn_implementation="eager", dtype=torch.float32))
    family.hold(family.written(reference, tmp_path, "MllamaForCausalLM"), reference)


@pytest.mark.heavy
def test_a_folder_as_published(tmp_path: Path):
    """Names of transformers 4: all of the text below `language_model.`, the towers beside it."""
    from safetensors.torch import load_file, save_file

    reference = as_published(made())
    folder = seeing.saved(reference, processor(), tmp_path)
    stored = load_file(folder / "model.safetensors")
    older = {_older(name): tensor for name, tensor in stored.items()}
    assert "language_model.model.layers.1.cross_attn_attn_gate" in older
    assert {"language_model.lm_head.weight", "vision_model.class_embedding", "multi_modal_projector.weight"} <= older.keys()
    save_file(older, folder / "model.safetensors")
    seeing.hold(folder, reference, processor(), CASES[:2])


def _older(name: str) -> str:
    name = name.removeprefix("model.")
    if name.endswith("lm_head.weight"):
        return "language_model.lm_head.weight"
    parts = ("vision_model.", "multi_modal_projector.", "language_model.model.")
    return name if name.startswith(parts) else f"language_model.model.{name.removeprefix('language_model.')}"


@pytest.mark.heavy
@pytest.mark.parametrize("options", [{}, {"page_size": 4, "chunked_prefill_size": 8}, {"disable_radix_cache": True}])
def test_prompts_share_what_is_before_a_picture(tmp_path: Path, options: dict[str, Any]):
    reference = as_published(made())
    folder = seeing.saved(reference, processor(), tmp_path)
    cases = [Case(f"A long text stands before {MARK}.", (picture(seed),)) for seed in (1, 2, 1)]
    cases.append(Case("<s>A long text stands before nothing."))
    prompts = seeing.looked(folder, cases)
    core = family.open_core(load_model(folder, dtype=torch.float32, device=torch.device("cpu")), sees=True, **options)
    shared = prompts[0].ids.index(IMAGE)
    for i, seen in enumerate(prompts):
        core.add(seeing.request("a", seen))
        outs = []
        while core.has_work:
            outs += core.step()
        wanted = seeing.Seen(reference, processor(), cases[i])
        output = tuple(token for out in outs for token in out.token_ids)
        assert oracle.differences([output], [oracle.greedy(wanted, seen.ids, family.NUM_NEW)]) == 0
        reused = [0, shared, len(seen.ids) - 1, shared][i]
        page = options.get("page_size", 1)
        assert outs[-1].num_cached == (0 if "disable_radix_cache" in options else reused - reused % page)


def test_models_check_compares_the_layers_of_cross_attention_with_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = seeing.saved(made(), processor(), tmp_path)
    assert cli.main(["models", "check", str(folder), "--tokens", "2"]) == 0
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "picture: layer 1" in rows
    assert "layer 1" not in rows, "without a picture transformers leaves it out"
