"""The numbers of a model and of transformers' at the same places: before the first layer, after each, and the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import NotSupported
from workbench.model.base import Model

TEXT_HALVES = ("text", "language_model", "text_model")
"""Names of the text half in models that see, here and in transformers."""
CLOSE = 1e-3
"""Largest relative difference that counts as equal: sums in another order, in float32."""


@dataclass(frozen=True)
class Stage:
    """The numbers at one place of the model."""

    name: str
    difference: float
    """Largest difference of two numbers."""
    relative: float
    """Largest difference as a part of the number and of a usual one, so that one huge number hides no other."""

    @property
    def is_close(self) -> bool:
        """True if the difference is what another order of sums makes."""
        return self.relative <= CLOSE


@torch.inference_mode()
def compare_stages(model: Model, ours: Callable[[], Tensor], theirs: Any, others: Callable[[], Tensor]) -> list[Stage]:
    """Returns the stages of one prompt, whose logits the two functions return: those of ours [V] and of transformers' [V]."""
    with noted(layers_of(model, model.config.num_hidden_layers)) as our_rows:
        our_logits = ours()
    layers = layers_of(theirs, theirs.config.get_text_config().num_hidden_layers)
    with noted(layers) as their_rows:
        their_logits = others()
    return [*stages_of(our_rows, their_rows), stage_of("logits", our_logits, their_logits)]


def stage_of(name: str, ours: Tensor, theirs: Tensor) -> Stage:
    apart, size = (ours - theirs).abs(), theirs.abs()
    return Stage(name, float(apart.max()), float((apart / (size + size.median() + 1e-9)).max()))


def stages_of(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Iterator[Stage]:
    """Yields the stages that both have: transformers leaves out layers that look at pictures where there is none."""
    assert theirs.keys() <= ours.keys()
    yield from (stage_of(name, ours[name], rows) for name, rows in theirs.items())


@contextmanager
def noted(layers: nn.ModuleList) -> Iterator[dict[str, Tensor]]:
    """Notes what goes into the first layer and what comes out of each that is called, [T, H], while the block runs."""
    found: dict[str, Tensor] = {}

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found["embedding"] = _rows(inputs[0])

    def after(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found[name] = _rows(output)

    each = (layer.register_forward_hook(partial(after, f"layer {i}")) for i, layer in enumerate(layers))
    hooks = [layers[0].register_forward_pre_hook(before), *each]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _rows(output: Any) -> Tensor:
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden.reshape(-1, hidden.shape[-1]).float().clone()


def layers_of(model: nn.Module, count: int) -> nn.ModuleList:
    """Returns the list of a model's layers: the first list that has so many modules, in the text half of one that sees."""
    halves = (part for name, part in model.named_modules() if name.rpartition(".")[2] in TEXT_HALVES)
    found = (module for module in next(halves, model).modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    layers = next(found, None)
    if layers is None:
        raise NotSupported(
            f"{type(model).__name__} of transformers has no list of {count} layers", hint="compare its texts alone"
        )
    return layers
