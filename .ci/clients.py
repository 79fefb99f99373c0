"""Runs the contract tests with the clients that people have: `make clients`.

Installs them into environments of their own under .cache, beside those of .venv: the frameworks, and the reference's frontend.
Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
FRAMEWORKS = ("lm-eval[api]", "litellm", "langchain-openai", "instructor", "pydantic-ai-slim[openai]", "outlines", "guidellm")
REFERENCE = ("requests", "tqdm", "numpy", "ipython", "aiohttp", "pydantic", "pillow", "setproctitle")


def main() -> int:
    """Returns the exit status of pytest. Called with the Python of .venv."""
    frameworks, reference = environment("clients"), environment("reference")
    wanted, ready = repr((FRAMEWORKS, REFERENCE)), CACHE / "clients" / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        print("installing the clients, a minute or two ...", flush=True)
        (site_packages(frameworks) / "workbench.pth").write_text(sysconfig.get_paths()["purelib"])
        torch = subprocess.check_output(
            [sys.executable, "-c", "import torch; print(torch.__version__.partition('+')[0])"], text=True
        )
        (CACHE / "constraints.txt").write_text(f"torch=={torch}")  # a newer one would bring gigabytes
        install(frameworks, "-c", str(CACHE / "constraints.txt"), *FRAMEWORKS)
        install(reference, "--no-deps", "sglang==0.4.3")
        install(reference, *REFERENCE)
        ready.write_text(wanted)
    env = {**os.environ, "WORKBENCH_REFERENCE_PYTHON": str(reference), "PYTHONPATH": str(ROOT)}
    warnings = ("-W", "ignore::ResourceWarning", "-p", "no:unraisableexception")  # the frameworks' own
    command = [str(frameworks), "-m", "pytest", *warnings, "-m", "", "tests/clients", *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, env=env).returncode


def environment(name: str) -> Path:
    """Returns the Python of an environment, which is made where there is none."""
    folder = CACHE / name
    if not (folder / "bin").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    found = subprocess.check_output([str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True)
    return Path(found.strip())


def install(python: Path, *what: str) -> None:
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *what], check=True)


if __name__ == "__main__":
    raise SystemExit(main())
