"""Parts a model's reasoning from its answer, whole or while it streams."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """The marks around a model's reasoning."""

    name: str
    start: str
    end: str
    starts_inside: bool = False
    """True if the chat template writes the start mark, so that the output begins with reasoning."""


REASONING_FORMATS = {
    format.name: format
    for format in (
        ReasoningFormat("deepseek-r1", "<think>", "</think>", starts_inside=True),
        ReasoningFormat("qwen3", "<think>", "</think>"),
        ReasoningFormat("mistral", "[THINK]", "[/THINK]"),
    )
}
"""Format by the name that `--reasoning-parser` takes."""


class ReasoningParser:
    """Splits one output into reasoning and the rest. `push` and `finish` return (reasoning, rest) that became final.

    White space around the reasoning belongs to neither. Reasoning that is cut off stays reasoning.
    """

    def __init__(self, name: str, starts_inside: bool | None = None) -> None:
        """Starts an output. `starts_inside`: the prompt ended with the start mark; None takes the format's default.

        Raises InvalidRequest for an unknown format.
        """
        if name not in REASONING_FORMATS:
            raise InvalidRequest("reasoning_parser", name, f"one of {', '.join(REASONING_FORMATS)}")
        self._format = REASONING_FORMATS[name]
        self._is_inside = self._format.starts_inside if starts_inside is None else starts_inside
        self._is_start = True
        self._held = ""

    @property
    def is_inside(self) -> bool:
        """True while the output is reasoning."""
        return self._is_inside

    def push(self, text: str) -> tuple[str, str]:
        """Takes the next piece of the output."""
        self._held += text
        return self._split(is_end=False)

    def finish(self) -> tuple[str, str]:
        """Ends the output."""
        return self._split(is_end=True)

    def _split(self, is_end: bool) -> tuple[str, str]:
        if self._is_start and not self._begin(is_end):
            return "", ""
        if not self._is_inside:
            rest, self._held = self._held, ""
            return "", rest
        reasoning, end, rest = self._held.partition(self._format.end)
        if end:
            rest = rest.lstrip()
            self._held = ""
            if rest or is_end:
                self._is_inside = False
            else:
                self._held = end  # white space behind the mark may go on
            return reasoning.rstrip(), rest
        keep = 0 if is_end else self._num_unsure(reasoning)
        certain = reasoning[: len(reasoning) - keep]
        self._held = reasoning[len(certain) :]
        return certain.rstrip() if is_end else certain, ""

    def _begin(self, is_end: bool) -> bool:
        """Drops the start mark; returns False if more text is needed to find it."""
        text = self._held.lstrip()
        mark = self._format.start
        if not is_end and len(text) < len(mark) and mark.startswith(text):
            return False
        if text.startswith(mark):
            self._is_inside = True
            text = text[len(mark) :].lstrip()
            if not text and not is_end:
                return False
            self._held = text
        elif self._is_inside:
            self._held = text
        self._is_start = False
        return True

    def _num_unsure(self, text: str) -> int:
        """Returns the length of the end that may be the beginning of the end mark, with the white space before it."""
        mark = self._format.end
        partial = max((n for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
        body = text[: len(text) - partial]
        return len(text) - len(body.rstrip())
