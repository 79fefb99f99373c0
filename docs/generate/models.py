"""Pages of the models: the architectures that run, and the forms that weights may have."""

from __future__ import annotations

import re
import typing
from pathlib import Path

from generate.markdown import code, page, table, words
from workbench.checkpoint.block_types import GGUF_TYPES
from workbench.checkpoint.folders.declared import ACCEPTED
from workbench.config import ServerArgs
from workbench.config.schemes import SAME_METHOD, SCHEMES
from workbench.kernels.products import FORMATS as KERNELS
from workbench.model.registry import FAMILIES, Entry

NOTES = """
A model is given as an alias of `workbench models`, a hub id (`org/name`, `org/name@revision`, `org/name:file.gguf`), a folder
with config.json and `*.safetensors`, or a GGUF file, from which configuration and tokenizer are read too. Where the table names
an architecture of GGUF files, `workbench models quantize` writes them of a folder. The test `families_dense` is
`tests/equal/test_families_dense.py`: it holds the engine to another implementation, mostly transformers.

Every key of config.json is computed, known to change nothing, or refused with its name; so is every tensor. Refused before
weights are fetched: other architectures, other methods of quantisation and settings of them than those below, activations and
rotary embeddings that are not computed. Pickled weights (`pytorch_model*.bin`) are opened with `load_format="pt"` alone, and then
tensors are all that is read of them: a file that holds anything else is refused.

Quantised folders that are read: {methods}. Dense ones are quantised while they are read by `quantization`: {schemes}.

`json_model_override_args='{{"key": null}}'` takes a key out of config.json, where you know that it changes nothing.

`dtype="bfloat16"` runs on every processor. Where none of its instructions multiply bfloat16 (AVX2 and no more), prompts take
several times as long as in float32, and the log has a line about it.
"""


def models_page(root: Path, day: str) -> str:
    """Writes one row per architecture, with the tests that hold it to its oracle; `day` is that of the list."""
    rows = (
        (entry.title, f"`{entry.architecture}`", entry.gguf or "–", entry.models, f"`{test_of(entry, root)[5:-3]}`")
        for entry in FAMILIES.values()
    )
    methods, schemes = (", ".join(f"`{name}`" for name in names) for names in (ACCEPTED, sorted(SCHEMES)))
    head = ("family", "config.json", "GGUF", "models", "test")
    return page(
        "Models that run", f"Made from the registry on {day}.", table(head, rows), NOTES.format(methods=methods, schemes=schemes)
    )


def dated_models_page(root: Path, today: str) -> str:
    """Returns the page with today's date, or as it is where it would have the same rows."""
    path = root / "docs/supported_models.md"
    present = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"on (\d{4}-\d\d-\d\d)\.", present)
    return present if found and present == models_page(root, found[1]) else models_page(root, today)


def test_of(entry: Entry, root: Path) -> str:
    """Returns the file of the test that names an architecture, or else its family."""

    def order(path: Path) -> tuple[bool, bool, Path]:
        return not path.stem.startswith("test_families"), "transformers" not in path.stem, path

    tests = sorted((root / "tests/equal").glob("test_*.py"), key=order)
    for word in (entry.architecture, entry.model_type, entry.gguf)[: 1 if entry.form else 3]:
        for path in tests:
            if word and f'"{word}"' in path.read_text(encoding="utf-8"):
                return path.name
    raise LookupError(f"no test in tests/equal names {entry.architecture}")


FORMS = """
A quantised matrix stays as it is where the processor's kernels multiply its blocks, so it takes about the memory that the
file takes, and is read once a step. Elsewhere its numbers are made dense once, while it is loaded: the answers are the same
up to rounding, and the memory is that of `dtype`. `quantization="dequant"` asks for that, `quantization="gguf"` refuses to
load where blocks cannot stay, and `engine.get_server_info()` has the form that the weights took.

**CPU with compiled kernels** is a processor with AVX2, AVX-512 or NEON on which a C++ compiler was found, in float32 or bfloat16;
`workbench doctor` and `%wb status` show it. **CPU, torch alone** is any other processor, and float16. **CUDA** is a GPU that
torch sees.
"""
OWN = {
    "gptq": "4 bits with the group sizes 32, 64 and 128, 8 bits",
    "awq": "4 bits",
    "compressed-tensors": "packed 4 and 8 bits, int8, float8",
    "bitsandbytes": "NF4 and FP4; int8",
}
"""Words about a method beside the settings that it accepts."""


def quantisation_page() -> str:
    """Writes tables of formats and processors: blocks of GGUF files, methods of folders, schemes, and the K/V store."""
    head = ("form", "CPU with compiled kernels", "CPU, torch alone", "CUDA")
    gguf = (
        (code(kind.name), "as it is" if kind.name in KERNELS else "made dense", "made dense", "made dense")
        for kind in GGUF_TYPES.values()
        if kind.block_len > 1
    )
    methods = []
    for name, settings in ACCEPTED.items():
        values = "; ".join(f"{code(key)}: {', '.join(map(str, read))}" for key, read in settings.items())
        methods.append((code(name), values, words(OWN.get(name, "")), "as it is", "made dense", "made dense"))
    same = ", ".join(f"`{other}` for `{name}`" for other, name in SAME_METHOD.items())
    schemes = [(code(name), "as codes", "refused", "refused") for name in sorted(SCHEMES)]
    store = [
        (code(name), "yes", "yes", "yes")
        for name in typing.get_args(typing.get_type_hints(ServerArgs)["kv_cache_dtype"])
        if name != "auto"
    ]
    return page(
        "Quantisation by processor",
        FORMS,
        "## GGUF files",
        table(head, gguf),
        "## Quantised folders",
        f"Read from config.json or the file beside it. The reference's names of kernels are read as the method: {same}.",
        table(("method", "settings that are read", "in words", *head[1:]), methods),
        "## Dense folders, quantised while they are loaded",
        "`--quantization NAME`, or the reference's `--torchao-config NAME`. Where it cannot be had it is refused, never ignored.",
        table(head, schemes),
        "## Keys and values",
        "`--kv-cache-dtype`, whatever the weights are. 8 bits have a scale per token and head, or per layer from a file.",
        table(("type", *head[1:]), store),
    )
