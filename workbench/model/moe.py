"""Mixture of experts: a router chooses a few experts for each row, and their weighted results are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.checkpoint.base import Blocks
from workbench.checkpoint.weights import PLAIN_GROUP, Weights
from workbench.kernels.products import Experts as AllExperts
from workbench.model.block_matrix import BlockMatrix
from workbench.model.blocks import MLP
from workbench.model.config import Activation
from workbench.model.layer import Gathered, Layer
from workbench.model.linear import BlockWeight, DenseWeight, Linear, LinearWeight
from workbench.model.routing import Choice, Chooser


class Router(Layer):
    """Logits of the experts, computed in float32, and the choice that they lead to."""

    weight: LinearWeight

    def __init__(
        self, hidden_size: int, num_experts: int, choose: Chooser, *, bias: bool = False, corrects: bool = False
    ) -> None:
        """Makes a router; one that `corrects` has a number for each expert that counts in the choice alone."""
        super().__init__()
        choose.check(num_experts)
        self.hidden_size, self.num_experts, self.choose = hidden_size, num_experts, choose
        self.has_bias, self.corrects = bias, corrects
        self.bias: Tensor | None = None
        self.correction: Tensor | None = None

    def load(self, weights: Weights) -> None:
        weight = weights.tensor("weight", self.num_experts, self.hidden_size).float()
        self.num_bytes = weight.nbytes
        # Blocks of plain numbers: a product with them does not depend on the other rows, so neither does the choice.
        are_blocks = bool(weights.form.keeps) and not self.hidden_size % PLAIN_GROUP and weight.numel()
        self.weight = BlockWeight(BlockMatrix([_plain(weight)])) if are_blocks else DenseWeight(weight)
        if self.has_bias:
            self.bias = weights.tensor("bias", self.num_experts).float()
        if self.corrects:
            self.correction = weights.tensor("e_score_correction_bias", self.num_experts, neutral=0.0).float()

    def forward(self, x: Tensor) -> Choice:  # [T, H]
        return self.choose(self.weight.multiply(x.float(), self.bias), self.correction)


def _plain(weight: Tensor) -> Blocks:
    return Blocks("F32", weight.contiguous().view(torch.uint8), tuple(weight.shape))


def plain_mlp(activation: Activation) -> Callable[[int, int], MLP]:
    """Returns the function that makes an MLP of this activation, from its two sizes."""
    return lambda hidden_size, intermediate_size: MLP(hidden_size, intermediate_size, activation)


MOST_AT_ONCE = 516
"""Rows of experts, as many as are quantised at a time, up to which one call computes all of them."""
FEW = 12
"""Rows of an expert for which dense numbers are read in place. With more, a product of torch's own is faster."""
ROWS_OF_A_PRODUCT = 32
"""Rows of an expert's product are a multiple of this. oneDNN compiles a product for each number of rows that it meets, and an
expert has another number in every step: that took most of the time. What the rows behind its own give is dropped."""


class Experts(Layer):
    """MLPs of one form. A file has a tensor for each of them, or one for all."""

    joined: AllExperts | None = None
    """All of them as the kernels compute them at once; None where one has another form."""
    has_biases = False

    def __init__(self, num: int, hidden_size: int, intermediate_size: int, make: Callable[[int, int], MLP]) -> None:
        """Makes each expert by `make`, from both sizes."""
        super().__init__()
        self.num, self.hidden_size, self.intermediate_size = num, hidden_size, intermediate_size
        self.each = nn.ModuleList(make(hidden_size, intermediate_size) for _ in range(num))

    def load(self, weights: Weights) -> None:
        for index, expert in enumerate(self.each):
            assert isinstance(expert, MLP)
            (up, down), (up_bias, down_bias) = self.matrices(weights, index), self.biases(weights, index)
            expert.gate_up.hold(up, weights.dtype, up_bias)
            expert.down_proj.hold([down], weights.dtype, down_bias)
        self._join()

    def _join(self) -> None:
        plain = [expert for expert in self.each if type(expert) is MLP]
        pairs = [(expert.gate_up.matrices(), expert.down_proj.matrices()) for expert in plain]
        found = [(up, down) for up, down in pairs if up is not None and down is not None]
        self.joined = AllExperts(found, plain[0].activation) if plain and len(found) == len(self.each) else None
        self.are_blocks = any(isinstance(expert.gate_up.weight, BlockWeight) for expert in plain)

    def biases(self, weights: Weights, index: int) -> tuple[Tensor | None, Tensor | None]:
        """Returns the biases of gate and up together, and of down. Here there are none."""
        return None, None

    def matrices(self, weights: Weights, index: int) -> tuple[list[Tensor | Blocks], Tensor | Blocks]:
        """Returns gate and up, side by side or in one, and down of one expert."""
        num, hidden, inner = self.num, self.hidden_size, self.intermediate_size
        for leaf in ("", ".weight"):
            if weights.has(f"gate_up_proj{leaf}"):
                both = weights.matrix(f"gate_up_proj{leaf}", num, 2 * inner, hidden, index=index)
                return [both], weights.matrix(f"down_proj{leaf}", num, hidden, inner, index=index)
        if weights.has("gate_proj.weight"):
            up = [weights.matrix(f"{name}.weight", num, inner, hidden, index=index) for name in ("gate_proj", "up_proj")]
            return up, weights.matrix("down_proj.weight", num, hidden, inner, index=index)
        one = weights.at(str(index))
        up = [one.matrix(f"{name}.weight", inner, hidden) for name in ("gate_proj", "up_proj")]
        return up, one.matrix("down_proj.weight", hidden, inner)

    def gathered(self, weights: Weights) -> Mapping[str, Gathered]:
        """Returns a stack of all experts for each part."""

        def matrix(index: int, part: int) -> Tensor | Blocks:
            up, down = self.matrices(weights, index)
            if part == 2:
                return down
            if len(up) == 2:
                return up[part]
            both = up[0].dense() if isinstance(up[0], Blocks) else up[0]
            return both.chunk(2)[part]

        def bias(index: int, part: int) -> Tensor:
            up, down = self.biases(weights, index)
            assert up is not None
            assert down is not None
            return down if part == 2 else up.chunk(2)[part]

        hidden, inner = self.hidden_size, self.intermediate_size
        shapes = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        found: dict[str, Gathered] = {}
        for part, (name, shape) in enumerate(shapes.items()):
            matrices = [partial(matrix, index, part) for index in range(self.num)]
            found[f"{name}.weight"] = Gathered((self.num, *shape), matrices)
            if self.has_biases:
                biases = [partial(bias, index, part) for index in range(self.num)]
                found[f"{name}.bias"] = Gathered((self.num, shape[0]), biases)
        return found

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        """Returns the sum over each row's experts of weight times result: [T, H] -> [T, H].

        Few rows go through all experts in one call; else there is one product per expert that has rows. The sum goes from a
        row's best expert to its last, so it does not depend on the rows beside it.
        """
        num_rows, top_k = choice.experts.shape
        num_places = num_rows * top_k
        is_little = num_places <= MOST_AT_ONCE and (self.are_blocks or num_places <= FEW * self.num)
        if self.joined is not None and is_little:
            out = self.joined.multiply(x, choice.experts, choice.weights)
            if out is not None:
                return out
        flat = choice.experts.flatten()
        order = flat.argsort(stable=True)  # places [row * k + rank], those of one expert together
        step = 1 if self.are_blocks else ROWS_OF_A_PRODUCT
        rows = x.index_select(0, F.pad(order // top_k, (0, step - 1)))
        results, start = x.new_empty(num_places, self.hidden_size), 0
        for expert, count in zip(self.each, flat.bincount(minlength=self.num).tolist(), strict=True):
            if count:
                results[start : start + count] = expert(rows[start : start + -(-count // step) * step])[:count]
                start += count
        results = results.index_select(0, order.argsort())
        parts = (results * choice.weights.view(-1, 1).to(x.dtype)).view(num_rows, top_k, -1).unbind(1)
        out = parts[0]
        for part in parts[1:]:
            out = out + part
        return out


class MoE(Layer):
    """Routed experts, and an expert of all rows where there is one."""

    def __init__(self, gate: Router, experts: Experts, shared: MLP | None = None, *, shared_gate: bool = False) -> None:
        """Joins the parts. With `shared_gate` the result of the shared expert has a weight of its own in each row."""
        super().__init__()
        self.gate, self.experts = gate, experts
        self.shared_experts = shared
        self.shared_expert_gate = Linear(gate.hidden_size, 1, is_head=True) if shared_gate else None

    @property
    def num_idle_bytes(self) -> int:
        """Memory of the experts that one token does not choose."""
        num, top_k = self.gate.num_experts, self.gate.choose.top_k
        whole = sum(part.num_bytes for part in self.experts.modules() if isinstance(part, Layer))
        return whole * (num - top_k) // num

    def forward(self, x: Tensor, norm: Callable[[Tensor], Tensor] | None = None, added: Tensor | None = None) -> Tensor:
        """Returns the result for norm(x) [T, H], plus `added`."""
        x = x if norm is None else norm(x)
        out: Tensor = self.experts(x, self.gate(x))
        if self.shared_experts is not None:
            shared = self.shared_experts(x)
            if self.shared_expert_gate is not None:
                shared = shared * self.shared_expert_gate(x).sigmoid()
            out = out + shared
        return out if added is None else out + added
