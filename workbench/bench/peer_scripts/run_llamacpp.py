"""llama.cpp through its Python binding, from the GGUF file: its low-level batch call, all prompts at once as parallel sequences.

What all prompts begin with is computed once and shared by their sequences. Records are done one by one, by the binding's call.
"""

from __future__ import annotations

import json
from typing import Any

from protocol import Do, Generate, serve

BATCH = 512
MAX_SEQUENCES = 64


def load(settings: dict[str, Any]) -> tuple[str, Generate, Do]:
    import llama_cpp

    threads = settings["threads"]
    sequences = Sequences(settings["gguf"], threads)
    one_by_one: list[Any] = []

    def records(work: dict[str, Any]) -> dict[str, Any]:
        if not one_by_one:
            one_by_one.append(
                llama_cpp.Llama(settings["gguf"], n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
            )
        grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(work["schema"]), verbose=False)
        how = {"max_tokens": work["new_tokens"], "temperature": 0.0, "grammar": grammar}
        return {"texts": [one_by_one[0].create_completion(item, **how)["choices"][0]["text"] for item in work["items"]]}

    return f"llama-cpp-python {llama_cpp.__version__}", sequences.generate, records


class Sequences:
    """A model and one context, in which sequences are decoded together."""

    def __init__(self, path: str, threads: int) -> None:
        import llama_cpp

        self._lib = lib = llama_cpp
        self._log = lib.llama_log_callback(lambda level, text, data: None)  # the library calls it for as long as it lives
        lib.llama_log_set(self._log, None)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 20_480, BATCH, BATCH, MAX_SEQUENCES
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self._context = lib.llama_init_from_model(self._model, params)
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(BATCH, 0, MAX_SEQUENCES)
        self._num_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))

    def generate(self, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        """Returns `new_tokens` greedy tokens for each prompt."""
        self._lib.llama_memory_clear(self._memory, True)
        everyone = range(len(prompts))
        shared = min(_common(prompts), *(len(prompt) - 1 for prompt in prompts)) if len(prompts) > 1 else 0
        self._decode([(prompts[0][at], at, [0], False) for at in range(shared)])
        for number in everyone[1:] if shared else ():
            self._lib.llama_memory_seq_cp(self._memory, 0, number, 0, shared)
        rest = [
            (token, at, [number], at == len(prompt) - 1)
            for number, prompt in enumerate(prompts)
            for at, token in enumerate(prompt)
            if at >= shared
        ]
        found = [[token] for token in self._decode(rest)]
        for step in range(new_tokens - 1):
            last = [(found[number][-1], len(prompts[number]) + step, [number], True) for number in everyone]
            for number, token in enumerate(self._decode(last)):
                found[number].append(token)
        return found

    def _decode(self, entries: list[tuple[int, int, list[int], bool]]) -> list[int]:
        """Computes tokens (id, position, sequences, whether its next token is wanted); returns the wanted ones in order."""
        import numpy as np

        batch, found = self._batch, []
        for start in range(0, len(entries), BATCH):
            part = entries[start : start + BATCH]
            batch.n_tokens = len(part)
            for i, (token, at, sequences, wanted) in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, at, len(sequences), wanted
                for j, sequence in enumerate(sequences):
                    batch.seq_id[i][j] = sequence
            if self._lib.llama_decode(self._context, batch):
                raise RuntimeError("llama_decode failed")
            for i, (*_, wanted) in enumerate(part):
                if wanted:
                    logits = np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, i), (self._num_vocab,))
                    found.append(int(logits.argmax()))
        return found


def _common(prompts: list[list[int]]) -> int:
    """Returns the number of tokens with which all prompts begin."""
    return next((at for at, tokens in enumerate(zip(*prompts, strict=False)) if len(set(tokens)) > 1), min(map(len, prompts)))


if __name__ == "__main__":
    serve(load)
