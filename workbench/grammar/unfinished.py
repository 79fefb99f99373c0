"""Messages about a request that ends before its constraint is satisfied."""

from __future__ import annotations

import string

from workbench.grammar.matcher import Matcher
from workbench.types import GrammarSpec

SHOWN = 40
"""Number of characters that a message quotes from the end of the text."""
PROBED = string.ascii_letters + string.digits + string.punctuation + " \n"


def cut_short(spec: GrammarSpec, text: str, next_may_come: str) -> str:
    """Describes the place inside its constraint at which a text reached its length limit."""
    began = open_string(text) if spec.kind == "json_schema" else None
    if began is not None and len(text) - began > SHOWN:
        return (
            f"cut inside a string of {len(text) - began} characters that ends in {text[-SHOWN:]!r}: "
            "give it a maxLength in the schema, or a pattern with counts, or raise max_new_tokens"
        )
    return f"{state(text, next_may_come)}; raise max_new_tokens"


def state(text: str, next_may_come: str) -> str:
    """Describes the end of the text so far, and what the grammar accepts next."""
    quoted = f"the text so far ends in {text[-SHOWN:]!r}" if text else "there is no text yet"
    return f"{quoted}, next may come {next_may_come}"


def expected(matcher: Matcher) -> str:
    """Returns what may come next, as forced text or as characters (ASCII; others as bytes). Reads only."""
    if forced := matcher.forced():
        return repr(forced.decode("utf-8", "replace"))
    chars = [char for char in PROBED if _takes(matcher, char.encode())]
    if len(chars) == len(PROBED):
        return "any character"
    if chars:
        return "one of " + "".join(chars)[:SHOWN].replace("\n", "\\n")
    heads = [byte for byte in range(0x80, 0x100) if _takes(matcher, bytes([byte]))]
    return f"a byte of {', '.join(f'0x{byte:02X}' for byte in heads[:8])}" if heads else "nothing but the end"


def _takes(matcher: Matcher, data: bytes) -> bool:
    return bool(matcher.fork().accept_bytes(data))


def open_string(text: str) -> int | None:
    """Returns the index where the JSON string begins that is open at the end of `text`; None if none is."""
    began: int | None = None
    escaped = False
    for at, char in enumerate(text):
        if began is None:
            began = at + 1 if char == '"' else None
        elif escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            began = None
    return began
