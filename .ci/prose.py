"""Checks docstrings, comments, messages and pages against the prose rule: subject and verb first, plain words, no people in code.

    python .ci/prose.py [--counts] [PATH ...]

Without paths it reads all files that git tracks. Prints `file:line: finding`; exits with 1 if there is one. The word lists are in
`prose_words.py`; `prose_texts.py` takes the texts out of files and `prose_api.py` checks that the public API is documented.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from prose_api import api_findings
from prose_texts import Kind, Text, read_texts
from prose_words import (
    AFTER_NOUNS,
    DOCUMENTS,
    FIELD_VERBS,
    HUMANS,
    NOT_VERBS,
    NOUNS,
    NOUNS_OR_VERBS,
    OLD,
    OPENERS,
    PAGE_OPENERS,
    PEOPLE,
    RIDDLES,
)

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = ("tests/data/", "docs/_build/", "docs/tutorials/", "docs/reference/", ".ci/prose", "docs/images/")
SUFFIXES = {".py", ".md", ".ipynb", ".js", ".css", ".cpp", ".h"}

CODE = re.compile(r"``[^`]*``|`[^`]*`|https?://\S+")
QUOTED = re.compile(r"\"[^\"\n]{1,80}\"|“[^”]{1,80}”")
WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|`|\d+|[.,:;!?()\[\]]")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|approx)\.", re.IGNORECASE)


def plain(text: str) -> str:
    """Returns the text with code as a bare backquote and quotations left out."""
    return QUOTED.sub("`", CODE.sub("`", ABBREVIATION.sub(r"\1", text)))


def sentences(text: Text) -> Iterator[tuple[int, str]]:
    """Yields (line, sentence). Paragraphs and list items end sentences too."""
    paragraphs = re.split(r"(\n[ \t]*\n|\n(?=[ \t]*(?:[-*+]|\d+\.)[ \t]))", plain(text.text))
    line = text.line
    for paragraph in paragraphs:
        offset = 0
        for part in re.split(r"(?<=[.!?])(?=\s)", paragraph):
            stripped = re.sub(r"^[\s>*+#-]*(?:\d+\.\s+)?(?:\[[ x]\])?\s*", "", part)
            lead = len(part) - len(stripped)
            if stripped.strip():
                yield line + paragraph.count("\n", 0, offset + lead), stripped.strip()
            offset += len(part)
        line += paragraph.count("\n")


def is_noun(words: list[str]) -> bool:
    """Returns whether a plural noun stands first, and no verb of the same form."""
    first, second = words[0].lower(), words[1].lower() if len(words) > 1 else ""
    return first in NOUNS or (first in NOUNS_OR_VERBS and second in AFTER_NOUNS)


def begins_with_verb(words: list[str]) -> bool:
    """Returns whether the first word can be a verb in the third person."""
    first = words[0]
    return (
        first.endswith("s")
        and first[0].isupper()
        and first.lower() not in NOT_VERBS
        and not first.endswith("ss")
        and not is_noun(words)
    )


def opening(kind: Kind, words: list[str]) -> str | None:
    """Returns the finding about the first words of a text, or of a sentence of a page."""
    first, second = words[0].lower(), words[1].lower() if len(words) > 1 else ""
    if kind == "page":
        is_opener = first in PAGE_OPENERS and second not in HUMANS
    else:
        is_opener = first in OPENERS and second != "course" and (kind != "comment" or words[0][0].isupper())
    if is_opener:
        return f"opens with {words[0]!r}: subject and verb first"
    if kind == "function" and not begins_with_verb(words):
        return f"a function's docstring begins with a verb (Returns, Raises, Reads ...), not {' '.join(words[:3])!r}"
    if kind == "value" and first in FIELD_VERBS and not is_noun(words):
        return f"a field's or property's docstring begins with its noun, not {words[0]!r}"
    return None


def people(words: list[str]) -> Iterator[str]:
    """Yields the findings about words that treat a program as a person."""
    for i, word in enumerate(words):
        lowered = word.lower()
        before = next((w.lower() for w in reversed(words[:i]) if w != ","), "")
        if lowered not in PEOPLE or before in HUMANS:
            continue
        if (lowered == "says" and before in DOCUMENTS) or (lowered == "told" and words[i + 1 : i + 2] == ["apart"]):
            continue
        yield f"{word!r} makes a person of a program: {PEOPLE[lowered]}"


def findings_of(text: Text) -> Iterator[tuple[int, str]]:
    """Yields (line, finding) for one text."""
    for number, (line, sentence) in enumerate(sentences(text)):
        words = WORD.findall(sentence)
        is_first = number == 0 or text.kind == "page"
        is_free = text.kind in ("message", "notebook") or (sentence.endswith("?") and text.kind != "function")
        if words and is_first and not is_free and (finding := opening(text.kind, words)):
            yield line, finding
        yield from ((line, finding) for finding in people(words))
        yield from ((line, f"{word!r} is rare: {OLD[word.lower()]!r}") for word in words if word.lower() in OLD)
        yield from (
            (line, f"riddle {found[0]!r}: {advice}") for pattern, advice in RIDDLES if (found := pattern.search(sentence))
        )


def tracked(paths: list[str]) -> list[Path]:
    """Returns the files that git tracks, or has not seen yet, below `paths`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    found = {name for name in names if Path(name).suffix in SUFFIXES and not name.startswith(SKIPPED)}
    return [ROOT / name for name in sorted(found) if (ROOT / name).is_file()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks the prose of code and pages.")
    parser.add_argument("paths", nargs="*", help="files and folders, from here (default: all of the repository)")
    parser.add_argument(
        "--counts", action="store_true", help="print the number of findings of each folder in place of the findings"
    )
    args = parser.parse_args()
    paths = [str(Path(path).resolve()) for path in args.paths] or ["."]
    files = tracked(paths)
    found = [(path, line, finding) for path in files for text in read_texts(path) for line, finding in findings_of(text)]
    found += [entry for entry in api_findings(ROOT) if entry[0] in files]
    found.sort(key=lambda entry: entry[:2])
    if args.counts:
        for folder, count in Counter(str(path.relative_to(ROOT).parent) for path, *_ in found).most_common():
            print(f"{count:6} {folder}")
    else:
        for path, line, finding in found:
            print(f"{path.relative_to(ROOT)}:{line}: {finding}")
    print(f"{len(found)} findings in {len(files)} files", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
