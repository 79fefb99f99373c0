"""Small tokenizers of the kinds that models use: byte-level BPE, and SentencePiece with byte tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from workbench.text.tokenizer import Tokenizer

CORPUS = ["the cat sat on the mat. the dog ate the cat; naïve café, 漢字かな 😀👩‍🔬 привет\n\n  def f(x):\n    return x\n"] * 3
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level() -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken("<tool>", special=False), AddedToken("\ufffd", special=False)])
    return backend


def sentencepiece(*, prefix_space: bool) -> Backend:
    """Makes a tokenizer in Llama 2's form (a space before the text, stripped when decoding) or, without `prefix_space`, in
    Gemma's."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghijklmnopqrstuvwxyz.,:;()\ufffd€"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "▁"), ("c", "a"), ("ca", "t"), ("▁", "cat")]
    vocab = {piece: i for i, piece in enumerate([*pieces, *("".join(pair) for pair in merges)])}
    backend = Backend(models.BPE(vocab=vocab, merges=merges, unk_token="<s>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix_space:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), backend.normalizer])
        decoder.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(decoder)
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    return backend


KINDS: dict[str, Callable[[], Backend]] = {
    "byte level": byte_level,
    "llama 2": lambda: sentencepiece(prefix_space=True),
    "gemma": lambda: sentencepiece(prefix_space=False),
}


def wrap(backend: Backend, **more: Any) -> Tokenizer:
    from transformers import PreTrainedTokenizerFast

    hf = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", chat_template=CHAT, **more)
    return Tokenizer(hf, frozenset({hf.eos_token_id}))
