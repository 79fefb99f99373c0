"""Refuses a form of weights that does not suit the model that was found."""

from __future__ import annotations

from pathlib import Path

from workbench.checkpoint.folders.declared import Declared
from workbench.config import ServerArgs
from workbench.config.schemes import SAME_METHOD, SCHEMES
from workbench.errors import InvalidRequest

SCALED = frozenset({"fp8", "fbgemm_fp8", "modelopt", "compressed-tensors", "w8a8_int8", "w8a8_fp8"})
"""Methods that store int8 or float8 with scales, so that each other's names are taken for them."""


def check_scheme(args: ServerArgs, path: Path, declared: Declared | None) -> None:
    """Raises InvalidRequest for a form that the model cannot have, such as a scheme for weights that are quantised already."""
    wanted = args.form
    if wanted is None or wanted == "dequant":
        return
    is_gguf = path.is_file()
    if is_gguf and wanted != "gguf":
        hint = "leave it out; or quantise the original model: workbench models quantize"
        raise _unsuited(wanted, "a GGUF file is computed with as it is, or as dequant", hint)
    if wanted == "gguf" and not is_gguf:
        hint = "leave it out, or give a .gguf file: workbench models quantize MODEL --to q4_0 writes one"
        raise _unsuited(wanted, f"{path.name} is a folder of safetensors", hint)
    if is_gguf:
        return
    if declared is None:
        if wanted not in SCHEMES:
            raise _unsuited(
                wanted, f"the weights of {path.name} are dense", f"schemes for dense weights: {', '.join(sorted(SCHEMES))}"
            )
    elif not _is_of(wanted, declared.method):
        raise _unsuited(wanted, f"the weights of {path.name} are quantised already, by {declared.title}", "leave it out")


def _is_of(wanted: str, method: str) -> bool:
    name = SAME_METHOD.get(wanted, wanted)
    return name == method or (name in SCALED and method in SCALED)


def _unsuited(wanted: str, fact: str, hint: str) -> InvalidRequest:
    return InvalidRequest.because("quantization", f"quantization={wanted!r} does not suit this model: {fact}", hint=hint)
