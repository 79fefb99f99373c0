"""The result of one generation: text, tokens, what the cache saved, and how long each stage took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

from workbench.events import Event, RequestArrived, RequestFinished, RequestScheduled, TokenSampled
from workbench.html.escape import to_html, visible
from workbench.html.parts import BarPart, View, bar, duration, plural
from workbench.views.tokens.marks import legend, marked_token
from workbench.views.tokens.state import Kind

TOKENS = Path(__file__).with_name("tokens") / "view.css"
"""Rules of the marks on tokens."""
MAX_MARKED = 3000
"""Tokens that are drawn one by one; of a longer prompt only the numbers are shown."""
FREE: Kind = "free"
MAX_OPEN = 160
"""Most prompt tokens with which the prompt is shown unfolded."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds on the engine's clock. Prefill ends with the first token that was not forced."""

    queue_s: float
    prefill_s: float
    decode_s: float

    @property
    def total_s(self) -> float:
        return self.queue_s + self.prefill_s + self.decode_s

    @classmethod
    def of(cls, events: Iterable[Event], rid: str) -> Timings | None:
        """Returns a request's timings, folded from its events; None where they are not all there."""
        arrived = scheduled = first = None
        for event in events:
            match event:
                case RequestArrived(rid=r, time=t) if r == rid:
                    arrived = t
                case RequestScheduled(rid=r, time=t, resumed=False) if r == rid:
                    scheduled = t
                case TokenSampled(rid=r, time=t, forced=False) if r == rid and first is None:
                    first = t
                case RequestFinished(rid=r, time=end) if r == rid and arrived is not None:
                    start = end if scheduled is None else scheduled
                    middle = end if first is None else first
                    return cls(start - arrived, middle - start, end - middle)
        return None


@dataclass(frozen=True, repr=False)
class Completion(View):
    """One finished generation. `str(completion)` is its text; in a notebook it draws itself."""

    style = TOKENS
    text: str
    prompt: str
    """Raw prompt, or last message of a conversation."""
    prompt_tokens: int
    cached_tokens: int
    output_ids: tuple[int, ...]
    finish_reason: Mapping[str, Any]
    rid: str
    model: str = ""
    kind: Literal["completion", "chat"] = "completion"
    prompt_pieces: tuple[str, ...] = ()
    """Text of each prompt token, in order; a token that completes no character has ""."""
    output_pieces: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    """Kinds of the output tokens; empty where the log does not hold them."""
    notes: tuple[str, ...] = ()
    """Token detail of each output token, in words."""
    detail_s: float | None = None
    """Seconds that token detail took; None where it was off."""
    stop_text: str = ""
    """Token that ended the output, in words; empty where none did."""
    timings: Timings | None = None
    meta_info: Mapping[str, Any] = field(default_factory=dict)
    echoed: bool = field(default=False, compare=False)
    """True where the terminal shows the text already, so that the plain repr does not repeat it."""

    def __str__(self) -> str:
        return self.text

    @property
    def finish(self) -> str:
        """Why it ended, in words."""
        reason = self.finish_reason
        match reason.get("type"):
            case "stop" if isinstance(reason.get("matched"), str):
                return f"stopped at {visible(reason['matched'])!r}"
            case "stop":
                return f"the model ended it with {visible(self.stop_text)}" if self.stop_text else "the model ended it"
            case "length":
                limit = f"reached its limit of {plural(reason['length'], 'token')}"
                cut = f" inside its constraint: {visible(str(reason['message']))}" if reason.get("message") else ""
                return limit + cut
            case "abort":
                return f"aborted: {visible(str(reason.get('message') or 'no reason given'))}"
        return "unfinished"

    @property
    def made(self) -> str:
        """Number of tokens, and of those that were forced or overruled."""
        forced, overruled = self.kinds.count("forced"), self.kinds.count("overruled")
        told = [f"{forced:,} forced"] * bool(forced) + [f"{overruled:,} overruled"] * bool(overruled)
        return plural(len(self.output_ids), "token") + (f" ({', '.join(told)})" if told else "")

    def summary(self) -> str:
        """Returns one line without any time in it, so that the same run prints the same."""
        made = f"{self.made}, {self.finish}"
        return f"{self.kind.capitalize()}: {made}; prompt {plural(self.prompt_tokens, 'token')}, {self.cached_tokens:,} reused"

    def to_text(self) -> str:
        return self.summary() if self.echoed else f"{self.summary()}\n{visible(self.text)}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "output_ids": list(self.output_ids),
            "prompt": self.prompt,
            "meta_info": {**self.meta_info, "id": self.rid, "finish_reason": dict(self.finish_reason)},
            "timings": asdict(self.timings) if self.timings else None,
            "kinds": list(self.kinds),
            "detail_s": self.detail_s,
        }

    def body(self) -> str:
        model = f' <span class="wb-soft">{to_html(self.model)}</span>' if self.model else ""
        answer = self._output() or to_html(self.text) or '<span class="wb-soft">(no text)</span>'
        said, source = "", "Output"
        if self.kind == "chat":
            said, source = f'<p class="wb-soft">You</p><div class="wb-text">{to_html(self.prompt)}</div>', "Model"
        blocks = [
            f"<p><b>{self.kind.capitalize()}</b>{model}</p>",
            said,
            f'<p class="wb-soft">{source}: {self.made}, {to_html(self.finish)}</p>',
            f'<div class="wb-text wb-out wb-tok">{answer}</div>',
            legend(self.kinds),
            self._prompt(),
            self._times(),
        ]
        return "".join(blocks)

    def _output(self) -> str:
        """Returns all tokens as HTML. Those that are not in the text, a stop string or an end token, are grey."""
        num_kept = len(self.output_pieces)
        if "".join(self.output_pieces).startswith(self.text):
            starts = accumulate(map(len, self.output_pieces), initial=0)
            num_kept = sum(start < len(self.text) for start in islice(starts, num_kept))
        kept, cut = self.output_pieces[:num_kept], self.output_pieces[num_kept:]
        kinds = self.kinds or (FREE,) * len(kept)
        notes = self.notes or ("",) * len(kept)
        drawn = "".join(marked_token(text, kind, note) for text, kind, note in zip(kept, kinds, notes, strict=False) if text)
        return drawn + (f'<span class="wb-soft">{to_html("".join(cut))}</span>' if cut else "")

    def _prompt(self) -> str:
        """Returns the prompt as the model read it, with the part from the cache underlined and hatched."""
        computed = self.prompt_tokens - self.cached_tokens
        reused = f"{self.cached_tokens:,} reused"
        if self.cached_tokens:
            reused = f'<span class="wb-reused">{reused}</span>'
        says = f"Prompt: {plural(self.prompt_tokens, 'token')}, {reused} from the cache, {computed:,} computed"
        drawn = _tokens(self.prompt_pieces, self.cached_tokens)
        if not drawn:
            return f'<p class="wb-soft">{says}</p>'
        is_open = " open" if self.kind == "completion" and self.prompt_tokens <= MAX_OPEN else ""
        return f'<details{is_open}><summary>{says}</summary><div class="wb-text wb-tok">{drawn}</div></details>'

    def _times(self) -> str:
        if self.timings is None:
            return ""
        t = self.timings
        steps = len(self.output_ids) - 1 - self.kinds.count("forced")
        rate = f" ({steps / t.decode_s:.1f} tokens/s)" if steps > 0 and t.decode_s > 0 else ""
        drawn = bar(
            [
                BarPart("queue", t.queue_s, duration(t.queue_s), "wait"),
                BarPart("prefill", t.prefill_s, duration(t.prefill_s), "prefill"),
                BarPart("decode", t.decode_s, duration(t.decode_s) + rate, "decode"),
            ]
        )
        if self.detail_s is None:
            return drawn
        return f'{drawn}<p class="wb-soft">Of that, token detail took {duration(self.detail_s)}.</p>'


def _tokens(pieces: Sequence[str], num_reused: int) -> str:
    """Returns one element a token: `<u>` for a reused one, `<span>` for the rest."""
    tags = ("u" if i < num_reused else "span" for i in range(len(pieces)))
    return "".join(f"<{tag}>{to_html(piece)}</{tag}>" for tag, piece in zip(tags, pieces, strict=True) if piece)
