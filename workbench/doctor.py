"""`workbench doctor`: what this machine has, and what is missing, on one screen."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

import workbench
from workbench.kernels import compiled as kernels
from workbench.model.disk import MB, free_bytes
from workbench.model.hub import models_dir
from workbench.model.models_cli import list_models

# Extra -> the modules that it brings, by the names of their distributions.
EXTRAS = {
    "engine": ("torch", "transformers", "tokenizers", "safetensors", "gguf", "xgrammar", "numpy", "filelock"),
    "notebook": ("jupyterlab", "ipykernel", "ipywidgets", "anywidget"),
    "server": ("fastapi", "uvicorn", "httpx"),
}


def report() -> dict[str, str]:
    """Name -> finding, in the order in which it is printed. Imports torch when it is installed."""
    home = models_dir()
    chosen = "set" if os.environ.get("WORKBENCH_HOME") else "the default"
    found = {
        "workbench": workbench.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cpu": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
        "device": _device(),
        "kernels": kernels.outlook(),
        "memory": _free_memory(),
        "WORKBENCH_HOME": f"{home.parent} ({chosen}), {free_bytes(home) / MB:,.0f} MB free",
        "models": ", ".join(f"{row.name} ({row.state})" for row in list_models()),
    }
    for extra, names in EXTRAS.items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        advice = f'missing: {", ".join(missing)}; pip install "radix-workbench[{extra}]"' if missing else ""
        found[f"extra {extra}"] = "; ".join(filter(None, (present, advice)))
    return found


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("doctor", help=__doc__, description=__doc__)
    return parser


def main(args: argparse.Namespace) -> int:
    findings = report()
    width = max(map(len, findings))
    for name, finding in findings.items():
        print(f"{name.ljust(width)}  {finding}")
    return 0


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "cpu (torch is not installed)"
    import torch

    if torch.cuda.is_available():
        return ", ".join(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count()))
    return f"cpu, {torch.get_num_threads()} threads ({torch.backends.cpu.get_cpu_capability()})"


def _free_memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown (psutil is not installed)"
    memory = psutil.virtual_memory()
    return f"{memory.available / MB:,.0f} MB free of {memory.total / MB:,.0f} MB"
