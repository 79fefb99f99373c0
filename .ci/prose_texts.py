"""Takes the texts that people read out of files: docstrings, comments, messages, pages and the markdown of notebooks."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["function", "value", "other", "comment", "message", "page", "notebook"]
"""`value`: the docstring of a property, a field, a constant or a fixture. `other`: that of a module, a class or a test."""

PROPERTIES = re.compile(r"(?:^|\.)(?:property|cached_property|fixture|setter|hookimpl)\b")
MESSAGE_CALLS = {"warn", "warning", "error", "info"}
MESSAGE_KEYWORDS = {"hint", "help", "description", "epilog"}
NO_PROSE = re.compile(r"\s*(?:type:|noqa|fmt:|pragma|mypy:|ruff:|!|-\*-|%)")
"""Comments for tools."""

HTML = re.compile(r"<[^<>\n]+>|!?\[([^\]]*)\]\([^)\s]*\)")


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a file."""

    line: int
    kind: Kind
    text: str


def read_texts(path: Path) -> list[Text]:
    """Returns the texts of a file in the order of its lines."""
    source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            found = [*docstrings(ast.parse(source)), *messages(ast.parse(source)), *python_comments(source)]
        case ".md":
            found = list(page(source))
        case ".ipynb":
            found = list(notebook(source))
        case _:
            found = list(c_comments(source))
    return sorted(found, key=lambda text: text.line)


def is_text(node: ast.AST) -> bool:
    """Returns whether a statement is a string alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def docstrings(tree: ast.Module) -> Iterator[Text]:
    """Yields docstrings, those of fields and constants too."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for i, statement in enumerate(body):
            if not is_text(statement):
                continue
            is_value = i > 0 and isinstance(body[i - 1], ast.Assign | ast.AnnAssign) and not isinstance(node, ast.FunctionDef)
            if i == 0 or is_value:
                yield Text(statement.value.lineno, "value" if is_value else kind_of(node), statement.value.value)


def kind_of(node: ast.AST) -> Kind:
    """Returns the rule for the docstring of a definition. Tests and programs (`@function`) describe a case."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "other"
    if any(PROPERTIES.search(ast.unparse(decorator)) for decorator in node.decorator_list):
        return "value"
    is_free = node.name.startswith("test") or any("function" in ast.unparse(decorator) for decorator in node.decorator_list)
    return "other" if is_free else "function"


def messages(tree: ast.Module) -> Iterator[Text]:
    """Yields the texts of errors, warnings, hints and help, each once."""
    found = dict[int, Text]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            roots: list[ast.expr] = [node.exc]
        elif isinstance(node, ast.keyword) and node.arg in MESSAGE_KEYWORDS:
            roots = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MESSAGE_CALLS:
            roots = node.args
        else:
            continue
        for root in roots:
            found |= {id(part): Text(part.lineno, "message", text) for part, text in strings(root) if " " in text}
    yield from found.values()


def strings(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yields the strings in an expression; a backquote stands for each value of an f-string."""
    if isinstance(node, ast.JoinedStr):
        yield node, "".join(str(part.value) if isinstance(part, ast.Constant) else "`" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def python_comments(source: str) -> Iterator[Text]:
    """Yields comments; those on neighbouring lines of their own are one."""
    found: list[Text] = []
    joined_to = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or NO_PROSE.match(token.string.lstrip("#")):
            continue
        line, text = token.start[0], token.string.lstrip("# ")
        is_alone = not token.line[: token.start[1]].strip()
        if is_alone and joined_to == line - 1:
            found[-1] = Text(found[-1].line, "comment", found[-1].text + "\n" + text)
        else:
            found.append(Text(line, "comment", text))
        joined_to = line if is_alone else -1
    yield from found


def c_comments(source: str) -> Iterator[Text]:
    """Yields the comments of JavaScript, CSS and C++; `//` in a string is left alone where a quote follows it."""
    for found in re.finditer(r"/\*(.*?)\*/|(?:^|(?<=[\s;{}]))//(?!/)([^\n\"'`]*)$", source, re.DOTALL | re.MULTILINE):
        text = re.sub(r"(?m)^[ \t]*\*+ ?", "", (found[1] or found[2] or "").lstrip("*"))
        text = re.sub(r"(?m)^[ \t]*@\w+.*$", "", text)  # JSDoc tags
        if re.match(r"\s*(?:eslint|prettier|global |@ts|biome)", text):
            continue
        lead = len(text) - len(text.lstrip())
        yield Text(source.count("\n", 0, found.start()) + text.count("\n", 0, lead) + 1, "comment", text.strip())


def page(source: str) -> Iterator[Text]:
    """Yields the paragraphs and list items of a page; headings, tables and code are left out but for the words in them."""
    blank = lambda found: "\n" * found[0].count("\n")  # noqa: E731
    source = re.sub(r"(?ms)^[ \t]*(```|~~~|:::).*?^[ \t]*\1[^\n]*$|<!--.*?-->", blank, source)
    source = HTML.sub(lambda found: found[1] or "", source)
    start, lines = 1, list[str]()
    for number, line in enumerate([*source.split("\n"), ""], 1):
        if re.match(r"\s*(?:#|\||\+[-=])", line) or not line.strip():
            if lines:
                yield Text(start, "page", "\n".join(lines))
            if line.strip():
                yield Text(number, "message", line.strip().strip("#|").strip())
            lines = []
        else:
            start = start if lines else number
            lines.append(line)


def notebook(source: str) -> Iterator[Text]:
    """Yields the markdown of a notebook and the comments of its cells, at the lines of the file."""
    raw = source.split("\n")
    at = 0
    for cell in json.loads(source)["cells"]:
        text = "".join(cell["source"])
        first = json.dumps(cell["source"][0], ensure_ascii=False) if cell["source"] else ""
        at = next((i for i in range(at, len(raw)) if first and raw[i].strip().rstrip(",") == first), at)
        if cell["cell_type"] == "markdown":
            yield from (Text(at + found.line, "notebook", found.text) for found in page(text))
        else:
            comments = re.finditer(r"(?m)(?:^|  )# (.*)$", text)
            yield from (Text(at + 1 + text.count("\n", 0, found.start()), "comment", found[1]) for found in comments)
