"""Installs the project into .venv and prints its progress. Does nothing if the same was installed before.

    python3 .ci/setup.py EXTRA... [--model NAME] [-- COMMAND...]

`--model` fetches a model afterwards; the command runs last, with .venv first on its PATH. uv installs where it can be had,
pip elsewhere. Standard library only.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")
STAMP = VENV / ".installed"
CONSTRAINTS = ".ci/constraints.txt"
NEEDS = "about 450 MB to download, 2 GB of disk, 1 to 3 minutes"
NEEDS_XGRAMMAR = ["apache-tvm-ffi>=0.1.11", "pydantic"]
"""The requirements of xgrammar that no other package here has, without triton (1 GB), which comes with a torch that uses it."""
SILENCE_S = 3.0
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "no-index": "UV_NO_INDEX",
}
"""The variables of uv that correspond to pip's options."""


class Failed(Exception):
    """A command failed; the message is the end of what it printed."""


def main(argv: list[str]) -> int:
    own, command = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="+", metavar="EXTRA")
    parser.add_argument("--model")
    args = parser.parse_args(own)
    began, stages = time.time(), []
    try:
        if not is_installed(args.extras):
            print(f"Setting up .venv with {', '.join(args.extras)}: {NEEDS}.", flush=True)
            install(args.extras, stages)
            begin_imports()
    except Failed as error:
        print(f"{error}\nThe setup stopped here; what is done is kept, and `make` goes on from there.", file=sys.stderr)
        return 1
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "WORKBENCH_BEGAN": str(began)}
    if args.model:
        with timed("model", stages):
            fetched = subprocess.run([PYTHON, "-m", "workbench", "models", "fetch", args.model], env=env)
        if fetched.returncode:
            return fetched.returncode
    if len(stages) > 1:
        took = sum(seconds for _, seconds in stages)
        print(f"Setup took {took:.0f} s: {', '.join(f'{name} {seconds:.0f} s' for name, seconds in stages)}.", flush=True)
    if command:
        os.execvpe(command[0], command, env)  # takes this process's place: interrupts are the command's own
    return 0


# -- what to install


def is_installed(extras: list[str]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        stamp = json.loads(STAMP.read_text())
        return stamp["of"] == fingerprint() and set(extras) <= set(stamp["extras"])
    return False


def fingerprint() -> str:
    """Changes when there may be something else to install."""
    files = (ROOT / name for name in ("pyproject.toml", CONSTRAINTS, ".ci/setup.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def requirements(extras: list[str]) -> tuple[list[str], list[str]]:
    """Returns the packages to install with their requirements, and those to install alone, for the project with these extras."""
    import tomllib  # not at the top: an older Python should get as far as the message about its version

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, todo = list(project["dependencies"]), list(extras)
    for extra in todo:  # grows while it is read
        for line in project["optional-dependencies"][extra]:
            inner = re.fullmatch(rf"{project['name']}\[(.*)\]", line)
            (found.append(line) if inner is None else todo.extend(inner[1].split(",")))
    alone = [line for line in found if line.startswith("xgrammar")]
    whole = [line for line in dict.fromkeys(found) if line not in alone]
    return [*whole, *(NEEDS_XGRAMMAR if alone else [])], alone


# -- installing


def install(extras: list[str], stages: list[tuple[str, float]]) -> None:
    """Creates .venv, installs and leaves the stamp. Raises `Failed`."""
    with timed("venv", stages):
        make_venv()
        uv = find_uv()
    with timed("packages", stages):
        install_packages(extras, uv)
    with timed("settings", stages):
        settle(extras)
    STAMP.write_text(json.dumps({"of": fingerprint(), "extras": extras}))


def begin_imports() -> None:
    """Starts a process that imports the engine, whose bytecode is then there for the first one: packages come without."""
    code = "import workbench; workbench.Engine; import workbench.launch.engine"
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.Popen(
        [PYTHON, "-c", code], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def make_venv() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036  # it is read by whatever Python there is
        raise Failed(
            f"workbench needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}.\n"
            "Install one and say which: make lab PYTHON=python3.12"
        )
    STAMP.unlink(missing_ok=True)
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode:
        call("creating .venv", [sys.executable, "-m", "venv", str(VENV)])


def find_uv() -> str | None:
    """Returns the path of uv, installed into .venv if the machine has none; None if it cannot be installed."""
    if found := shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"):
        return found
    with contextlib.suppress(Failed):
        call("installing uv", [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary=uv", "uv"])
    return shutil.which("uv", path=str(BIN))


def install_packages(extras: list[str], uv: str | None) -> None:
    """Installs with the first way that works. Raises `Failed` with pip's output if none does."""
    whole, alone = requirements(extras)
    for i, (name, installer, env) in enumerate(ways := installers(uv)):
        try:
            call(f"{name}: {len(whole)} packages and what they need", [*installer, "-c", CONSTRAINTS, *whole], env)
            call(f"{name}: workbench", [*installer, "--no-deps", *alone, "-e", str(ROOT)], env)
            return
        except Failed as error:
            if i + 1 == len(ways):
                raise
            print(f"{error}\n{name} could not; now {ways[i + 1][0]}", flush=True)


def installers(uv: str | None) -> list[tuple[str, list[str], dict[str, str]]]:
    """Returns (name, command, environment) of each way to install, the best first.

    On Linux the public index has torch with several GB of CUDA libraries. uv chooses the build that fits the machine,
    unless pip's settings name a source of packages: then torch comes from there too.
    """
    env = dict(os.environ)
    pip = ("pip", [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", "--no-compile"], env)
    if uv is None:
        return [pip]
    settings = pip_settings()
    translated = uv_settings(settings)
    command = [uv, "pip", "install", "--python", PYTHON]
    for path in settings.get("constraint", "").split():
        command += ["-c", path]
    env = {**translated, **env}
    chosen = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_TORCH_BACKEND"} & set(env)
    if sys.platform != "linux" or chosen:
        return [("uv", command, env), pip]
    fitting = ("uv with the torch for this machine", command, {**env, "UV_TORCH_BACKEND": "auto"})
    return [fitting, ("uv with the torch of the package index, 3 GB more", command, env), pip]


def pip_settings() -> dict[str, str]:
    """Returns pip's options by name, from all places; an environment variable takes precedence over a file."""
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        section, _, rest = line.partition(".")
        name, _, value = rest.partition("=")
        if section in ("global", "install", ":env:") and value:
            found[name] = str(ast.literal_eval(value))
    return found


def uv_settings(pip: dict[str, str]) -> dict[str, str]:
    """Returns the same options for uv, as environment variables."""
    env = {variable: " ".join(pip[name].split()) for name, variable in UV_NAMES.items() if name in pip}
    if "UV_FIND_LINKS" in env:
        env["UV_FIND_LINKS"] = env["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in env:
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the best version of all of them
    return env


def settle(extras: list[str]) -> None:
    """JupyterLab's question about news would lie over the first page. git leaves outputs of notebooks out of commits."""
    if "notebook" in extras:
        overrides = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
        overrides.parent.mkdir(parents=True, exist_ok=True)
        overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}))
    is_checkout = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=ROOT, capture_output=True).returncode == 0
    if "test" in extras and is_checkout:
        strip = f"{BIN.relative_to(ROOT).as_posix()}/nbstripout"
        filters = {
            "filter.nbstripout.clean": strip,
            "filter.nbstripout.smudge": "cat",
            "filter.nbstripout.extrakeys": "metadata.language_info.version",
            "diff.ipynb.textconv": f"{strip} -t",
        }
        for name, value in filters.items():
            subprocess.run(["git", "config", name, value], cwd=ROOT, check=True)


# -- saying how it goes


@contextlib.contextmanager
def timed(name: str, stages: list[tuple[str, float]]):
    began = time.monotonic()
    yield
    stages.append((name, time.monotonic() - began))


def call(what: str, command: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a command. Prints its time and its newest line of output every few seconds. Raises `Failed`."""
    began = time.monotonic()
    print(f"{what} ...", flush=True)
    words = deque([what], maxlen=20)
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=lambda: [*map(said.put, child.stdout), said.put(None)], daemon=True)
        reader.start()
        due = began + SILENCE_S
        while True:
            try:
                line = said.get(timeout=max(0.0, due - time.monotonic()))
                if line is None:
                    break
                words.append(line.strip())
            except queue.Empty:
                print(f"{time.monotonic() - began:6.0f} s  {words[-1][:100]}", flush=True)
                due = time.monotonic() + SILENCE_S
        reader.join()
    if child.returncode:
        raise Failed("\n".join([*words, f"{what}: {' '.join(command[:4])} ... ended with status {child.returncode}"]))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
