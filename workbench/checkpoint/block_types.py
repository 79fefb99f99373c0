"""The number formats of quantised weights: name, numbers in a block and bytes of a block, by the type's number."""

from __future__ import annotations

from typing import NamedTuple


class BlockType(NamedTuple):
    name: str
    block_len: int
    """Numbers in one block; 1 for a type that is not quantised."""
    block_bytes: int


GGUF_TYPES = {
    0: BlockType("F32", 1, 4), 1: BlockType("F16", 1, 2), 30: BlockType("BF16", 1, 2), 28: BlockType("F64", 1, 8),
    24: BlockType("I8", 1, 1), 25: BlockType("I16", 1, 2), 26: BlockType("I32", 1, 4), 27: BlockType("I64", 1, 8),
    2: BlockType("Q4_0", 32, 18), 3: BlockType("Q4_1", 32, 20), 6: BlockType("Q5_0", 32, 22), 7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34), 9: BlockType("Q8_1", 32, 40),
    10: BlockType("Q2_K", 256, 84), 11: BlockType("Q3_K", 256, 110), 12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176), 14: BlockType("Q6_K", 256, 210), 15: BlockType("Q8_K", 256, 292),
    16: BlockType("IQ2_XXS", 256, 66), 17: BlockType("IQ2_XS", 256, 74), 18: BlockType("IQ3_XXS", 256, 98),
    19: BlockType("IQ1_S", 256, 50), 20: BlockType("IQ4_NL", 32, 18), 21: BlockType("IQ3_S", 256, 110),
    22: BlockType("IQ2_S", 256, 82), 23: BlockType("IQ4_XS", 256, 136), 29: BlockType("IQ1_M", 256, 56),
    34: BlockType("TQ1_0", 256, 54), 35: BlockType("TQ2_0", 256, 66), 39: BlockType("MXFP4", 32, 17),
    40: BlockType("NVFP4", 64, 36), 41: BlockType("Q1_0", 128, 18),
}  # fmt: skip
"""Types of GGUF files."""
OWN_TYPES = {
    1000: BlockType("INT4_32", 32, 20), 1001: BlockType("INT4_128", 128, 68),
    1002: BlockType("INT8_32", 32, 36), 1003: BlockType("INT8_128", 128, 132),
    1004: BlockType("F8_E4M3_32", 32, 36), 1005: BlockType("F8_E4M3_128", 128, 132), 1006: BlockType("NF4", 64, 36),
}  # fmt: skip
"""Types that hold the matrices of quantised folders, see `packing`. INT4: a float16 scale and zero point, two numbers a byte.
Others: a float32 scale."""
SCALES = {
    "Q4_0": slice(0, 2), "Q4_1": slice(0, 4), "Q5_0": slice(0, 2), "Q5_1": slice(0, 4), "Q8_0": slice(0, 2),
    "Q2_K": slice(80, 84), "Q3_K": slice(108, 110), "Q4_K": slice(0, 4), "Q5_K": slice(0, 4), "Q6_K": slice(208, 210),
    "IQ4_NL": slice(0, 2), "IQ4_XS": slice(0, 2), "IQ3_S": slice(0, 2), "IQ3_XXS": slice(0, 2), "IQ2_S": slice(0, 2),
    "IQ2_XS": slice(0, 2), "IQ2_XXS": slice(0, 2), "IQ1_S": slice(0, 2), "TQ1_0": slice(52, 54), "TQ2_0": slice(64, 66),
}  # fmt: skip
"""Bytes of a block of a GGUF file that hold its float16 scale, and its float16 offset behind it if it has one."""
NF4_NUMBERS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Numbers of the sixteen codes of NF4, times the scale."""
