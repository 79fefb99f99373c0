"""`workbench doctor`: what this machine has, and what is missing, on one screen. Imports no torch and compiles nothing."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from typing import Any

import workbench
from workbench.errors import install
from workbench.hub.disk import MB, free_bytes
from workbench.hub.find import models_dir
from workbench.hub.manage import list_models
from workbench.kernels import compiled as kernels
from workbench.kernels.cores import busy, num_cores

# Extra -> the distributions that are listed. An extra that no feature needs yet is left out.
EXTRAS = {
    "engine": ("torch", "transformers", "tokenizers", "safetensors", "gguf", "xgrammar", "numpy", "filelock"),
    "notebook": ("jupyterlab", "ipykernel", "ipywidgets", "anywidget"),
}
GPU_ANSWER_S = 1.0


def report() -> dict[str, str]:
    """Returns the findings by name, in the order in which they are printed."""
    home = models_dir()
    chosen = "set" if os.environ.get("WORKBENCH_HOME") else "the default"
    return {
        "workbench": workbench.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "gpu": gpus(),
        "kernels": kernels.outlook(),
        "memory": free_memory(),
        "WORKBENCH_HOME": f"{home.parent} ({chosen}), {free_bytes(home) / MB:,.0f} MB free",
        "models": ", ".join(f"{row.name} ({row.state})" for row in list_models()),
        **{f"extra {name}": extra(name) for name in EXTRAS},
    }


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("doctor", help=__doc__, description=__doc__)
    return parser


def main(args: argparse.Namespace) -> int:
    findings = report()
    width = max(map(len, findings))
    for name, finding in findings.items():
        print(f"{name.ljust(width)}  {finding}")
    return 0


def extra(name: str) -> str:
    """Returns the packages of an extra with their versions, the missing ones, and the command that installs these."""
    versions = {package: version(package) for package in EXTRAS[name]}
    present = [f"{package} {found}" for package, found in versions.items() if found]
    missing = [package for package, found in versions.items() if not found]
    if not present:
        return f"not installed; {install(name)}"
    return "; ".join([", ".join(present), *([f"missing: {', '.join(missing)}; {install(name)}"] if missing else [])])


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu() -> str:
    return "; ".join(filter(None, (f"{num_cores()} cores", busy())))


def gpus() -> str:
    """Returns the GPUs by the driver's names. Torch uses them only if it is a CUDA build (2.13.0+cpu is not)."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        names = subprocess.run(command, capture_output=True, text=True, timeout=GPU_ANSWER_S, check=True).stdout.splitlines()
        return f"{', '.join(names)}; used where torch is a CUDA build (torch {version('torch') or 'is not installed'})"
    return "none that answers"


def free_memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown (psutil is not installed)"
    memory = psutil.virtual_memory()
    return f"{memory.available / MB:,.0f} MB free of {memory.total / MB:,.0f} MB"
