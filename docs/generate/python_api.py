"""The page of the public Python names, from signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator

import workbench
from generate.markdown import page
from workbench.config import ServerArgs

ABOUT = """
`import workbench` has these names and loads none of them before it is used. Types are checked by mypy in strict mode
(`py.typed`). Shapes stand in brackets: T is the number of tokens, V the size of the vocabulary.
"""
ELSEWHERE = {
    "SamplingParams": "[Its fields](sampling.md).",
    "ServerArgs": "[Its fields](configuration.md).",
    "Completion": "[Its keys](results.md).",
    "MetaInfo": "[Its keys](results.md).",
    "WorkbenchError": "[Its classes](errors.md).",
}
"""Names whose fields have a page of their own."""
SETTINGS = {field.name for field in dataclasses.fields(ServerArgs)}
MOST_SETTINGS = 12
"""Most settings that a signature lists; more are one parameter, and `BY_PAGE` stands below."""
BY_PAGE = "`settings` are all names of the [configuration](configuration.md)."
TITLES = (
    ("Engines", ("workbench.api", "workbench.server")),
    ("Values", ("workbench.types", "workbench.native", "workbench.config", "workbench.errors", "workbench.why")),
    ("Backends", ("workbench.lang.backends",)),
    ("Programs", ("workbench.lang",)),
)
"""Heading -> rooms of its names; a name belongs to the first group that has its module."""
TYPES = re.compile(r"\b(?:workbench|collections|typing|numpy|torch)(?:\.\w+)*\.(?=\w)")


def python_page() -> str:
    """Writes a section per public name, and below a class its public methods."""
    groups: dict[str, list[str | list[str]]] = {title: [] for title, _ in TITLES}
    for name, module in workbench._PUBLIC.items():
        title = next(title for title, rooms in TITLES if module.startswith(rooms))
        groups[title] += of_name(name)
    return page("Python", ABOUT, *(part for title, parts in groups.items() for part in (f"## {title}", *parts)))


def of_name(name: str) -> Iterator[str | list[str]]:
    """Yields the parts of a public name: signature, docstring, and for a class its methods."""
    member = getattr(workbench, name)
    yield f"### {name}"
    if name in ELSEWHERE:
        yield f"{described(vars(member).get('__doc__') if isinstance(member, type) else member)}\n\n{ELSEWHERE[name]}"
        return
    yield (signature := fenced(name, member))
    yield described(member)
    if "    **settings," in signature:
        yield BY_PAGE
    if isinstance(member, type):
        for method in methods(member):
            yield f"#### {name}.{method}"
            value = inspect.getattr_static(member, method)
            yield fenced(method, value)
            yield described(value)


def methods(cls: type) -> list[str]:
    """Returns the public methods and properties of a class and of its bases in this package, in the order of the code."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("workbench."):
            for name, value in vars(base).items():
                if not name.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, property | staticmethod | classmethod)
                ):
                    names.setdefault(name)
    return list(names)


def fenced(name: str, member: object) -> str:
    """Returns the signature in a block of code, a line per parameter where it is long."""
    if isinstance(member, property):
        return f"```python\n{name}: {plain(str(member.fget.__annotations__.get('return', '')))}\n```"
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    try:
        found = inspect.signature(member)
    except ValueError:
        return f"```python\n{name}\n```"
    parameters = [p for key, p in found.parameters.items() if key not in ("self", "cls")]
    settings = [p for p in parameters if p.name in SETTINGS and p.kind is p.KEYWORD_ONLY]
    if len(settings) > MOST_SETTINGS:
        rest = inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)
        parameters = [*(p for p in parameters if p not in settings and p.kind is not p.VAR_KEYWORD), rest]
    found = found.replace(parameters=parameters)
    text = plain(f"{name}{found}")
    if len(text) > 100:
        lines = ["    *," if needs_star(parameters, i) else None for i in range(len(parameters))]
        shown = [
            line
            for star, p in zip(lines, parameters, strict=True)
            for line in ([star] if star else []) + [f"    {plain(str(p))},"]
        ]
        ending = plain(str(found.replace(parameters=[])).removeprefix("()"))
        text = "\n".join([f"{name}(", *shown, f"){ending}"])
    return f"```python\n{text}\n```"


def needs_star(parameters: list[inspect.Parameter], i: int) -> bool:
    """Returns whether a bare star stands before parameter `i`."""
    is_first = all(p.kind is not inspect.Parameter.KEYWORD_ONLY for p in parameters[:i])
    return (
        is_first
        and parameters[i].kind is inspect.Parameter.KEYWORD_ONLY
        and all(p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters[:i])
    )


def plain(text: str) -> str:
    """Returns a signature whose types have short names and no quotes."""
    text = TYPES.sub("", text)
    text = re.sub(r"""(: |-> )"([^"]*)\"""", r"\1\2", text)
    return re.sub(r"(: |-> )'([^']*)'(?=[,)\n]| =|$)", r"\1\2", text)


def described(member: object) -> str:
    """Returns a docstring as Markdown: an example, indented or with prompts, becomes a block of code."""
    text = inspect.cleandoc(member) if isinstance(member, str) else inspect.getdoc(member) or ""
    blocks = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if lines and all(line.startswith(("    ", ">>> ", "... ")) for line in lines if line):
            blocks.append("\n".join(["```python", *(line[4:] for line in lines), "```"]))
        else:
            blocks.append(paragraph.replace("<", "&lt;"))
    return "\n\n".join(blocks)
