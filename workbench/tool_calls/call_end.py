"""Finds the ends of a call's arguments and of the call, in text that arrives in pieces."""

from __future__ import annotations


class CallEnd:
    """The rest of a call from its arguments on."""

    def __init__(self, is_object: bool) -> None:
        """Starts at the arguments. `is_object`: they stand in an object, which ends behind them."""
        self._arguments = _ObjectEnd()
        self._rest = _ObjectEnd(depth=1) if is_object else None

    @property
    def is_whole(self) -> bool:
        """True if the call has ended."""
        return self._arguments.is_whole and (self._rest is None or self._rest.is_whole)

    def read(self, text: str) -> tuple[str, int]:
        """Returns the text of the arguments in the next piece, and how many characters belong to the call."""
        num = 0 if self._arguments.is_whole else self._arguments.advance(text)
        arguments = text[:num]
        if self._arguments.is_whole and self._rest is not None and not self._rest.is_whole:
            num += self._rest.advance(text[num:])
        return arguments, num


class _ObjectEnd:
    """The state of a JSON object between two pieces of its text."""

    def __init__(self, depth: int = 0) -> None:
        """Starts with `depth` open brackets."""
        self.is_whole = False
        self._depth = depth
        self._is_in_string = self._is_escaped = False

    def advance(self, text: str) -> int:
        """Returns how many characters of `text` belong to the object."""
        for at, char in enumerate(text):
            if self._is_in_string:
                self._step_in_string(char)
            elif char == '"':
                self._is_in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.is_whole = True
                    return at + 1
        return len(text)

    def _step_in_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._is_in_string = False
