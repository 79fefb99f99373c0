"""Tiny models with seeded weights, written by transformers, and a step of our engine over them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from workbench.attention.registry import create_backend, create_store
from workbench.engine.plan import PlannedSeq, StepPlan
from workbench.engine.runner import TorchRunner, step_tensors
from workbench.model.base import CausalLM
from workbench.model.load import load_model
from workbench.model.tiny import write_config
from workbench.types import Segment


def stored(folder: Path, config: dict) -> Path:
    """Returns a folder with seeded weights, written by transformers."""
    torch.manual_seed(0)
    write_config(folder, config)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def open_runner(folder: Path, backend: str, num_slots: int = 1024) -> TorchRunner:
    return runner_of(load_model(folder, dtype=torch.float32, device=torch.device("cpu")), backend, num_slots)


def runner_of(model: CausalLM, backend: str, num_slots: int = 1024) -> TorchRunner:
    kv = create_store(model.attention_specs(), num_slots, torch.float32, torch.device("cpu"))
    return TorchRunner(model, kv, create_backend(backend, kv), sampler=None)


@torch.inference_mode()
def logits_of(runner: TorchRunner, *seqs: PlannedSeq, page_size: int = 1) -> torch.Tensor:
    plan = StepPlan(1, seqs, page_size)
    return runner.model.logits(runner.forward(step_tensors(plan, runner.device, runner.kv))).float()


def planned(seq_id: int, tokens: list[int], start: int, end: int, segments: list[Segment]) -> PlannedSeq:
    return PlannedSeq(seq_id, f"r{seq_id}", tuple(tokens[start:end]), start, tuple(segments))
