"""Ids in the places of pictures, for models whose tokenizer has no token of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from workbench.errors import InvalidRequest, ModelUnsupported
from workbench.pictures.reader import FIELD
from workbench.pictures.sight import Words

Encode = Callable[[str], tuple[int, ...]]
UNKNOWN = "<unk>"
NUMBERED = re.compile(r"<\|image_(\d+)\|>")
"""The placeholder in prompts for the models of the Phi family, numbered from 1 on in the order of the pictures."""


def without_numbers(prompt: str, mark: str) -> str:
    """Returns a prompt with `mark` in the place of numbered placeholders. Raises InvalidRequest for numbers out of order."""
    stated = [int(number) for number in NUMBERED.findall(prompt)]
    if stated != [*range(1, len(stated) + 1)]:
        message = f"the placeholders of pictures have the numbers {', '.join(map(str, stated))}"
        raise InvalidRequest.because(FIELD, message, hint="number them 1, 2, 3 in the order in which they stand")
    return NUMBERED.sub(mark, prompt)


def free_ids(words: Words, vocab_size: int, count: int) -> tuple[int, ...]:
    """Returns `count` ids of a model's vocabulary that its tokenizer lacks, -1 for each further one. The first is that of unknown
    words where none is left. Raises ModelUnsupported."""
    free = list(range(words.vocab_size, min(vocab_size, words.vocab_size + count)))
    if not free:
        unknown = words.encode(UNKNOWN, add_special_tokens=False)
        if len(unknown) != 1:
            message = f"all {vocab_size:,} ids of the vocabulary are tokens: none is left for pictures"
            raise ModelUnsupported(message, hint="give a tokenizer with <unk>, or the same model as transformers saves it")
        free = [*unknown]
    return (*free, *[-1] * (count - len(free)))


def is_unknown(words: Words, token_id: int) -> bool:
    """Returns whether an id is that of unknown words, which a text may have too."""
    return words.encode(UNKNOWN, add_special_tokens=False) == (token_id,)


def encode_between(prompt: str, marks: Mapping[str, int], first: Encode, further: Encode) -> tuple[int, ...]:
    """Returns the ids of a prompt whose marks become their ids; the text before them goes through `first`, each further one
    through `further`."""
    runs = "|".join(f"(?:{re.escape(mark)})+" for mark in marks if mark)
    ids: list[int] = []
    for i, part in enumerate(re.split(f"({runs})", prompt)):
        if i % 2:
            mark = next(mark for mark in marks if mark and part.startswith(mark))
            ids += [marks[mark]] * (len(part) // len(mark))
        else:
            ids += (further if i else first)(type(prompt)(part))
    return tuple(ids)
