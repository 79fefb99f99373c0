"""The page of the errors: what each class means, and what to do."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import workbench
from generate.markdown import code, page, table, words
from workbench.errors import WorkbenchError
from workbench.server.problem import problem_of

ABOUT = """
Every error that is raised on purpose extends `workbench.WorkbenchError`. `message` has what happened, with the numbers, and
`hint` the next step; a notebook shows these two lines and no traceback. Over HTTP the message is the answer's, in the form
of the API that was called, with the status below. Errors of Python's own, such as a `TypeError` from inside the package, are
bugs.

```python
try:
    engine.generate("Once", temperature=-1)
except workbench.WorkbenchError as error:
    print(error.message, "|", error.hint)
```
"""
WHAT_TO_DO = {
    "WorkbenchError": "Catch this one to catch them all.",
    "InvalidRequest": "Correct the named field; the message has its value and its limit.",
    "UnknownParameter": "Take the name that the hint suggests, or one of the [parameters](sampling.md) and "
    "[settings](configuration.md).",
    "ProgramMistake": "Change the program at the line in the message.",
    "PromptTooLong": "Shorten the prompt, lower `max_new_tokens`, raise `context_length` up to the model's own, or make the "
    "pool larger (`max_total_tokens`, `mem_fraction_static`). A server with `--allow-auto-truncate` cuts instead.",
    "NotSupported": "Do what the hint proposes; [](../how-to/move.md) lists what is not there.",
    "BackendLacks": "Run the program on an engine, or leave the feature out: [](backends.md) has the table.",
    "BackendFailed": "Read the backend's own words in the message: key, address, limit. `status` has the HTTP status.",
    "Aborted": "Nothing, if the abort was intended: by a stop button, a client that left, or `abort`.",
    "UnknownVariable": "Read a name that a `gen` or `select` of the program sets; the message lists them.",
    "QueueFull": "Send later (`Retry-After`), or raise `max_queued_requests`.",
    "ModelNotFound": "Take an alias of `workbench models`, or check path, hub id and network.",
    "ModelUnsupported": "Take a model of [the list](../supported_models.md), or [add its architecture](../add-a-model.md).",
    "ModelCorrupt": "Fetch the file again (`workbench models verify` names the files that differ).",
    "DiskFull": "Free the megabytes in the message, or point `WORKBENCH_HOME` or `--download-dir` elsewhere.",
    "EngineDead": "Load the engine again. A server does that itself; the request may be sent again.",
    "CacheCorrupt": "Report it: a bug.",
    "TokenRejected": "Report it: a bug, unless a matcher of your own drew the token.",
    "NoBackend": "Call `set_default_backend(engine)`, or give `backend=` to `run`.",
    "NoEngine": "`%wb load`, or name one with `--engine`.",
    "NothingYet": "Run a request first; the hint names the call.",
    "MagicUsage": "`%wb?` and [](magics.md) list the options.",
    "PeerFailed": "Read the other engine's words in the message; only benchmarks raise it.",
}


def every_error() -> list[type[WorkbenchError]]:
    """Returns all classes of errors, those of `workbench.errors` first."""
    for module in pkgutil.walk_packages(workbench.__path__, "workbench."):
        if not module.name.endswith("__main__") and ".peer_scripts" not in module.name:
            importlib.import_module(module.name)
    return list(dict.fromkeys(below(WorkbenchError)))


def below(cls: type[WorkbenchError]) -> Iterator[type[WorkbenchError]]:
    yield cls
    for each in cls.__subclasses__():
        if each.__module__.startswith("workbench."):
            yield from below(each)


def errors_page() -> str:
    """Writes one row per class."""
    rows = []
    for cls in every_error():
        base = cls.__mro__[1].__name__
        is_local = cls is WorkbenchError or cls.__module__.startswith(("workbench.magics", "workbench.bench"))
        status = "" if is_local else str(problem_of(blank(cls)).status)
        says = words(vars(cls)["__doc__"].partition("\n\n")[0])
        rows.append((code(cls.__name__), code(base), status, says, WHAT_TO_DO[cls.__name__]))
    return page("Errors", ABOUT, table(("class", "a", "HTTP", "what it means", "what to do"), rows))


def blank(cls: type[WorkbenchError]) -> WorkbenchError:
    """Returns an error of a class, made without its constructor, which differs from class to class."""
    error = cls.__new__(cls)
    error.__dict__.update(dict.fromkeys(("field", "message", "hint"), ""))
    return error
