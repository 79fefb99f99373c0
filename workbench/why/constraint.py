"""`workbench.Grammar`: a constraint over a vocabulary, and answers about it. Nothing is generated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from workbench.checks import as_int
from workbench.config import DEFAULT_MODEL, ServerArgs
from workbench.errors import InvalidRequest
from workbench.grammar import CompiledGrammar, Vocabulary, compile_grammar
from workbench.hub.from_args import find_tokenizer
from workbench.types import GRAMMAR_FIELDS, GrammarSpec, SamplingParams
from workbench.why.answer import Token
from workbench.why.lint.linter import lint
from workbench.why.lint.report import Lint
from workbench.why.token.answers import Allowed, Replay, Why
from workbench.why.token.mask import CLASSES, NUM_EXAMPLES, NUM_SHOWN, ClassShare, MaskAt, classes_of
from workbench.why.token.verdict import allowed_tokens, judge, nearest


class Grammar:
    """A constraint over one model's tokens; `engine.grammar(...)` returns one for a running engine.

    Takes exactly one of `regex`, `json_schema` (text, dict or Pydantic model), `ebnf` and the other constraints of `generate`,
    or a `spec` made of one. `tokenizer` is a transformers fast tokenizer; without one, that of `model` is read, and no weights.

    It is compiled at once: raises InvalidRequest for a text that is no such constraint, NotSupported for one that cannot be
    enforced. With `check=False` the first question compiles it, and `lint` lists all that is refused.

    >>> workbench.Grammar(regex=r"[0-9]+ cm").replay("12 mm")
    """

    def __init__(
        self,
        *,
        tokenizer: Any = None,
        model: str = DEFAULT_MODEL,
        backend: str = "xgrammar",
        spec: GrammarSpec | None = None,
        check: bool = True,
        **constraint: Any,
    ) -> None:
        spec = SamplingParams.make(constraint).constraint if spec is None else spec
        if spec is None:
            raise InvalidRequest("constraint", constraint, f"one of {', '.join(GRAMMAR_FIELDS)}")
        if isinstance(tokenizer, Vocabulary):
            vocabulary = tokenizer
        elif tokenizer is not None:
            if not hasattr(tokenizer, "eos_token_id"):
                raise InvalidRequest(
                    "tokenizer", tokenizer, "a transformers fast tokenizer", hint="a name or a folder is a model="
                )
            vocabulary = Vocabulary(tokenizer, len(tokenizer), frozenset({tokenizer.eos_token_id} - {None}))
        else:
            found = find_tokenizer(ServerArgs.make(model_path=model))
            assert found is not None
            vocabulary = Vocabulary(found.hf, found.vocab_size, found.eos_token_ids)
        self.spec: GrammarSpec = spec
        self.vocabulary = vocabulary
        self.backend = backend
        if check:
            _ = self.compiled

    def __repr__(self) -> str:
        text = self.spec.text if len(self.spec.text) <= 80 else self.spec.text[:79] + "…"
        return f"Grammar({self.spec.kind}={text!r})"

    @cached_property
    def compiled(self) -> CompiledGrammar:
        """The constraint, compiled at first use. Raises InvalidRequest or NotSupported."""
        return compile_grammar(self.spec, self.vocabulary, self.backend)

    def why(self, token: int | str, text: str | Sequence[int] = "", *, at: int | None = None) -> Why:
        """Returns whether `token`, an id or a text, may come after `text`, and why not.

        `text` is the output so far, as text or as token ids; `at` cuts it there, counted in characters or tokens.
        Raises InvalidRequest if the constraint does not allow `text` itself, and for an id outside the vocabulary.
        """
        return self._why(token, self._bytes(text, at))

    def why_at_step(self, token: int | str, output_ids: Sequence[int], step: int) -> Why:
        """Returns `why` for output token number `step` of a request, with the token that came there."""
        chosen = self._token_of(output_ids[step]) if step < len(output_ids) else None
        return replace(self._why(token, self._bytes(output_ids, step)), step=step, chosen=chosen)

    def _why(self, token: int | str, before: bytes) -> Why:
        token_id, data = self._token(token)
        allowed = allowed_tokens(self.compiled, self.vocabulary, before)
        is_stop = token_id in self.vocabulary.eos_token_ids
        verdict = judge(self.spec, self.compiled, before, b"" if is_stop else data)
        is_allowed = token_id in allowed if token_id is not None else verdict.num_fit == len(data)
        near = () if is_allowed or is_stop else nearest(self.vocabulary, allowed, data)
        asked = Token(None, _text(data)) if token_id is None else self._token_of(token_id)
        return Why(
            self.spec, _text(before), asked, is_allowed, verdict.num_fit, len(data),
            verdict.words, tuple(map(self._token_of, near)), len(allowed), verdict.place, is_stop,
        )  # fmt: skip

    def allowed(self, text: str | Sequence[int] = "", *, at: int | None = None) -> Allowed:
        """Returns the tokens that may come after `text`. Raises InvalidRequest if the constraint does not allow `text` itself."""
        before = self._bytes(text, at)
        ids = sorted(allowed_tokens(self.compiled, self.vocabulary, before) - self.vocabulary.eos_token_ids)
        verdict = judge(self.spec, self.compiled, before, b"")
        tokens = tuple(map(self._token_of, ids))
        return Allowed(self.spec, _text(before), tokens, verdict.is_complete, verdict.words, verdict.place)

    def mask_at(self, output_ids: Sequence[int], step: int) -> MaskAt:
        """Returns the tokens that may come as output token number `step`, by class and by text, and the token that came."""
        before = self._bytes(output_ids, step)
        allowed = np.array(sorted(allowed_tokens(self.compiled, self.vocabulary, before)), dtype=np.int64)
        verdict = judge(self.spec, self.compiled, before, b"")
        lengths = np.array([len(data) for data in self.vocabulary.pieces])
        allowed = allowed[np.argsort(lengths[allowed], kind="stable")]
        kinds = classes_of(self.vocabulary)
        totals = np.bincount(kinds, minlength=len(CLASSES))
        by_class = [allowed[kinds[allowed] == i] for i in range(len(CLASSES))]
        classes = tuple(
            ClassShare(name, len(ids), int(total), tuple(map(self._token_of, ids[:NUM_EXAMPLES].tolist())))
            for name, ids, total in zip(CLASSES, by_class, totals, strict=True)
            if total
        )
        chosen = self._token_of(output_ids[step]) if step < len(output_ids) else None
        shown = tuple(map(self._token_of, allowed[:NUM_SHOWN].tolist()))
        return MaskAt(
            self.spec,
            _text(before),
            step,
            len(allowed),
            self.vocabulary.size,
            classes,
            shown,
            verdict.words,
            verdict.place,
            chosen,
        )

    def replay(self, text: str) -> Replay:
        """Returns how far `text` follows the constraint, and whether it may end where it ends."""
        data = text.encode("utf-8", "surrogatepass")
        verdict = judge(self.spec, self.compiled, b"", data)
        fits = verdict.num_fit == len(data)
        num_fit = len(data[: verdict.num_fit].decode("utf-8", "ignore"))
        hint = "" if fits else self._respaced(text)
        return Replay(self.spec, text, fits, verdict.is_complete, num_fit, verdict.words, verdict.place, hint)

    def lint(self, *, stop: str | Sequence[str] = (), prompt: str = "") -> Lint:
        """Returns the warnings about the constraint, together with these stop strings and after this prompt, and its cost.

        A constraint that cannot be enforced (made with `check=False`) is a warning too, no error.
        """
        stops = SamplingParams.make({"stop": stop}).stop
        return lint(self.spec, self.vocabulary, self.backend, stops, prompt)

    def _respaced(self, text: str) -> str:
        """Returns a hint for JSON that would fit if it were spaced as it is generated."""
        if self.spec.kind != "json_schema":
            return ""
        try:
            written = json.dumps(json.loads(text), ensure_ascii=False)
        except (ValueError, RecursionError):
            return ""
        if not judge(self.spec, self.compiled, b"", written.encode("utf-8", "surrogatepass")).is_complete:
            return ""
        return 'Its value fits. JSON is generated with ", " and ": " between its parts and nothing else around them.'

    def _bytes(self, text: str | Sequence[int], at: int | None) -> bytes:
        if at is not None and not 0 <= at <= len(text):
            raise InvalidRequest("at", at, f"between 0 and {len(text)}, the length of the text")
        text = text if at is None else text[:at]
        if isinstance(text, str):
            return text.encode("utf-8", "surrogatepass")
        spelled = self.vocabulary.pieces
        return b"".join(spelled[self._id(token)] for token in text if token not in self.vocabulary.eos_token_ids)

    def _token(self, token: int | str) -> tuple[int | None, bytes]:
        """Returns (its id, the bytes that it adds to a text); a text that is no token has no id."""
        if isinstance(token, str):
            added = self.vocabulary.hf.added_tokens_encoder.get(token)
            if added is None:
                data = token.encode("utf-8", "surrogatepass")
                return self._ids_by_bytes.get(data), data
            token = added
        token_id = self._id(token)
        return token_id, self.vocabulary.pieces[token_id]

    def _id(self, token: Any) -> int:
        token_id = as_int("token", token)
        if not 0 <= token_id < self.vocabulary.size:
            raise InvalidRequest("token", token_id, f"between 0 and {self.vocabulary.size - 1} (the vocabulary)")
        return token_id

    @cached_property
    def _ids_by_bytes(self) -> dict[bytes, int]:
        return {data: i for i, data in reversed([*enumerate(self.vocabulary.pieces)]) if data}

    def _token_of(self, token_id: int) -> Token:
        """Returns a token with its text: half characters as `\\xe6`, special tokens by their name."""
        data = self.vocabulary.pieces[token_id]
        return Token(token_id, _text(data) if data else str(self.vocabulary.hf.convert_ids_to_tokens(token_id) or ""))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
