"""An engine without a model, with the native dicts: one token per character, answers by a function, a prefix cache."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

FACTS = {
    "chat_template": "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}",
    "bos_token": "^", "adds_bos": True, "start_id": ord("^"),
}  # fmt: skip


class ScriptedEngine:
    """The engine. `answer(text)` gives the output, `logprob(before, character)` the score of a character."""

    def __init__(self, answer=lambda text: f"<{len(text)}>", logprob=lambda before, character: -1.0, pause_s=0.0):
        self.server_args = SimpleNamespace(model_path="scripted")
        self.answer, self.logprob, self.pause_s = answer, logprob, pause_s
        self.prompts, self.closed = [], threading.Event()

    def generate(self, prompt=None, *, input_ids=None, sampling_params=None, stream=False, rid=None, **options):
        items = prompt if prompt is not None else input_ids
        is_one = isinstance(items, str) or isinstance(items[0], int)
        texts = [one if isinstance(one, str) else "".join(map(chr, one)) for one in ([items] if is_one else items)]
        if any("refuse" in text for text in texts):
            raise ValueError("prompt is refused, it must be something else")
        limit = (sampling_params or {}).get("max_new_tokens", 128)
        if stream:
            return self._stream(texts[0], limit, options)
        results = [self._result(text, self.answer(text)[:limit] if limit else "", options) for text in texts]
        return results[0] if is_one else results

    def _stream(self, text, limit, options):
        try:
            answer = self.answer(text)[:limit]
            for end in range(1, len(answer) + 1):
                time.sleep(self.pause_s)
                yield self._result(text, answer[:end], options, is_last=end == len(answer))
        finally:
            self.closed.set()

    def _result(self, text, output, options, is_last=True):
        cached = max((common(text, old) for old in self.prompts), default=0)
        if is_last:
            self.prompts.append(text + output)
        meta = {
            "id": "r",
            "prompt_tokens": len(text),
            "completion_tokens": len(output),
            "cached_tokens": min(cached, len(text) - 1),
        }
        meta["finish_reason"] = {"type": "stop", "matched": None} if is_last else None
        if options.get("return_logprob"):
            start = options.get("logprob_start_len", -1)
            positions = range(start, len(text)) if start >= 0 else ()
            meta["input_token_logprobs"] = [
                [self.logprob(text[:i], text[i]) if i else None, ord(text[i]), None] for i in positions
            ]
        return {"text": output, "meta_info": meta}

    def flush_cache(self):
        self.prompts.clear()
        return 0

    def get_server_info(self):
        return {"model_path": "scripted"}


def common(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
