r"""The strings of a JSON grammar, where the backend's own are too wide.

Half a character (`\ud800` alone) is no text, though its escape is JSON: a reader such as Pydantic refuses it. And a key of
`additionalProperties` must not be one of `properties` once more: not in another spelling (`"\u0061"`), and not where its name
has quotes or characters beyond ASCII, which the backend compares byte by byte and writes without escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from workbench.grammar.ebnf import HALVES
from workbench.grammar.syntax import ebnf_char

_HEX = "[0-9A-Fa-f]"
_PAIR = rf'[Dd] [89ABab] {_HEX} {_HEX} "\\u" [Dd] [C-Fc-f] {_HEX} {_HEX}'
ESCAPE = rf'([\"\\/bfnrt] | "u" ([0-9A-CE-Fa-ce-f] {_HEX} {_HEX} {_HEX} | [Dd] [0-7] {_HEX} {_HEX} | {_PAIR}))'
PLAIN = r"\0-\u001f\"\\\r\n"
"""What the backend leaves out of the plain characters of a string, as `as_ebnf` writes it."""
_ESCAPE = re.compile(r"^(basic_escape ::=) .*$", re.MULTILINE)
_KEY = re.compile(r'^(\w+_addl_key) ::= \(\("\\"" (\1_\d+)\)\)(.*)\n', re.MULTILINE)
_NODE = re.compile(r"^(\w+_addl_key_\d+) ::= (.*)\n", re.MULTILINE)
_STEP = re.compile(r'\("(\\u....|\\.|[^"\\])" (\w+_addl_key_\d+)\)')
_IS_END = '(("\\"")'
Trie = dict[str, "Trie"]
END = "end"
"""Where a name ends; all other keys of a trie are characters."""


def whole_strings(ebnf: str) -> str:
    """The same grammar, as the printer writes it, with whole characters and names that are told apart."""
    ebnf = _ESCAPE.sub(lambda found: f"{found[1]} {ESCAPE}", ebnf).replace(f"[^{PLAIN}", f"[^{PLAIN}{HALVES}")
    nodes = dict(_NODE.findall(ebnf))
    keys = _KEY.findall(ebnf)
    if not keys:
        return ebnf
    rules = [rule for key, first, ahead in keys for rule in _key_rules(key, _names(nodes, first, b""), ahead)]
    return "\n".join([_NODE.sub("", _KEY.sub("", ebnf)), *rules])


def _names(nodes: dict[str, str], node: str, so_far: bytes) -> Iterator[str]:
    """The names that a key must not be: the backend's rules are a tree of their bytes."""
    body = nodes[node]
    if not body.startswith(_IS_END):
        yield so_far.decode()
    for byte, following in _STEP.findall(body):
        yield from _names(nodes, following, so_far + ebnf_char(byte).encode("latin-1"))


def _key_rules(key: str, names: Iterator[str], ahead: str) -> Iterator[str]:
    """Keys that are none of `names`. As long as they begin like one, they have no escapes."""
    trie: Trie = {}
    for name in names:
        node = trie
        for char in name:
            if char < " " or char in '"\\':  # only an escape can write it
                break
            node = node.setdefault(char, {})
        else:
            node[END] = {}
    yield f'{key} ::= ("\\"" {key}_n0){ahead}'
    todo = [trie]
    for i, node in enumerate(todo):
        steps = {char: following for char, following in node.items() if char != END}
        spelled = [f"\\U{ord(char):08x}" for char in steps]
        parts = [] if END in node else ['"\\""']
        parts.append(f"[^{PLAIN}{HALVES}{''.join(spelled)}] basic_string_sub")
        parts += [f'"{char}" {key}_n{len(todo) + number}' for number, char in enumerate(spelled)]
        todo += steps.values()
        yield f"{key}_n{i} ::= {' | '.join(parts)}"
