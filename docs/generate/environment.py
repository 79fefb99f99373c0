"""The page of the environment variables. A test holds the table to the sources."""

from __future__ import annotations

from generate.markdown import code, page, table

ABOUT = """
Everything that matters to a result is a [setting](configuration.md). These variables are about the machine: where files are,
what is compiled, what a check may do.
"""
USERS = {
    "WORKBENCH_HOME": "Folder of models, compiled kernels, bytecode and caches. Default: `~/.cache/workbench`.",
    "WORKBENCH_KERNELS": "`auto` (default) compiles the CPU kernels while torch already computes; `wait` waits for them, "
    "so that speeds compare; `torch` uses none.",
    "WORKBENCH_ISA": "Instruction set to compile for, lower than the processor's own: `avx2`, `avx_vnni`, `avx512`, `neon`, ...",
    "WORKBENCH_CHECK": "`1` has the engine balance its accounts of pages after every step, and fail at the first difference.",
    "WORKBENCH_TORCH_PROFILER_DIR": "Folder for traces of torch (`/start_profile`, `engine.start_profile`), which are refused "
    "without it. `SGLANG_TORCH_PROFILER_DIR` is read too.",
    "WORKBENCH_USE_MODELSCOPE": "`true` fetches hub ids from ModelScope in place of Hugging Face. "
    "`SGLANG_USE_MODELSCOPE` is read too.",
}
"""Those that a user may want."""
DEPLOYED = {
    "WORKBENCH_API_KEY": "Key of the shared engine, in the notebooks of the users of a JupyterHub.",
    "WORKBENCH_URL": "Address of that engine.",
}
"""Those that the files in `docs/deploy` set."""
WORK = {
    "WORKBENCH_CHROMIUM": "Chromium for the browser tests, in the place of the one on PATH.",
    "WORKBENCH_DOCS_EXECUTE": "`off` builds this site without running the notebooks.",
    "WORKBENCH_BEGAN": "Time at which `make demo` began, for its sum; set by it.",
    "WORKBENCH_OPENAPI_CASES": "Number of cases that the tests of the routes make.",
    "WORKBENCH_PEER_LLAMACPP": "Python with llama-cpp-python, for `make bench-peers`.",
    "WORKBENCH_PEER_OPENVINO": "Python with openvino-genai, for `make bench-peers`.",
    "WORKBENCH_PEER_VLLM": "Python with vLLM, for `make bench-peers`.",
    "WORKBENCH_RECORD_VIEWS": "`1` has live views leave recordings in a notebook's outputs, which play without a kernel.",
    "WORKBENCH_REFERENCE_PYTHON": "Python with the reference's package, for the tests of its frontend.",
    "WORKBENCH_REQUIRE_BROWSER": "`1` fails the browser tests where there is no Chromium; else they are skipped.",
    "WORKBENCH_REQUIRE_NODE": "`1` fails the checks of JavaScript where there is no Node.",
    "WORKBENCH_SCREENSHOTS": "Folder into which the browser tests write pictures.",
    "WORKBENCH_SITE": "Folder of a built site that the tests of the site read; they build one where it is not set.",
    "WORKBENCH_SOAK_S": "Seconds of `make soak`.",
    "WORKBENCH_TEST_FAST": "`1` fails a test of `make test-fast` that starts a process.",
}
"""Those of the tests, benchmarks and builds."""


def environment_page() -> str:
    """Writes one row per variable."""
    parts = []
    for title, variables in (("For users", USERS), ("In the files for deployment", DEPLOYED), ("For work on the package", WORK)):
        parts += [f"## {title}", table(("variable", "meaning"), ((code(name), says) for name, says in variables.items()))]
    return page("Environment variables", ABOUT, *parts)
