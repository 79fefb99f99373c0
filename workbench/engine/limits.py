"""The settings of a core, and the requests that it can serve: each refusal names the field, the value and the limit."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cache.eviction import EVICTION
from workbench.config import CacheArgs, ScheduleArgs
from workbench.engine.policy import POLICIES
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.types import Request


@dataclass(frozen=True, kw_only=True)
class CoreConfig(ScheduleArgs, CacheArgs):
    """Settings of the core: the schedule and cache groups with no None or "auto" left, and the sizes of model and pool."""

    num_pages: int
    context_length: int
    vocab_size: int
    num_embeddings: int = 0
    """Rows of the embedding, where it has more than the vocabulary: ids of a prompt are below it. 0 is as many."""
    hidden_size: int = 0
    """Width of the model; 0 for one that takes no embeddings."""
    sees: bool = False
    """True for a model that takes pictures."""
    num_picture_rows: int = 0
    """Most rows of keys and values that the pictures of running requests have in layers of cross attention; 0 is no limit."""
    max_running_requests: int = 256
    chunked_prefill_size: int = -1
    eos_ids: frozenset[int] = frozenset()
    random_seed: int = 0
    check: bool = False
    """Verifies every invariant after every step (`WORKBENCH_CHECK=1`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("schedule_policy", POLICIES), ("eviction_policy", EVICTION)):
            if getattr(self, name) not in known:
                raise InvalidRequest(name, getattr(self, name), f"one of {', '.join(known)}")

    @property
    def prefill_budget(self) -> int:
        """Most new tokens in one prefill step, over all requests."""
        budget = max(self.max_prefill_tokens, self.context_length)
        return budget if self.chunked_prefill_size == -1 else min(budget, self.chunked_prefill_size)


def check_request(config: CoreConfig, request: Request) -> None:
    """Raises an error if an engine of this configuration can never serve the request. Reads only."""
    params = request.params
    num_prompt, num_total = len(request.input_ids), len(request.input_ids) + params.max_new_tokens
    if num_prompt == 0:
        raise InvalidRequest.because("prompt", "the prompt is empty", hint="a model continues text: write some before it")
    _check_ids("input_ids", request.input_ids, config.num_embeddings or config.vocab_size)
    embeds = request.input_embeds
    if embeds is not None and not config.hidden_size:
        raise NotSupported("this model takes no input_embeds", hint="send text or input_ids")
    if embeds is not None and embeds.width != config.hidden_size:
        raise InvalidRequest("input_embeds", f"rows of {embeds.width}", f"rows of {config.hidden_size}, the width of the model")
    _check_pictures(config, request)
    _check_ids("stop_token_ids", params.stop_token_ids, config.vocab_size)
    _check_ids("logit_bias", tuple(params.logit_bias), config.vocab_size)
    _check_ids("token_ids_logprob", request.token_ids_logprob, config.vocab_size)
    if num_prompt > config.context_length:
        raise PromptTooLong("prompt", f"{num_prompt} tokens", f"at most {config.context_length} tokens (the context)",
                            hint="shorten it, or load with allow_auto_truncate=True")  # fmt: skip
    if num_total > config.context_length:
        raise PromptTooLong(
            "max_new_tokens", params.max_new_tokens,
            f"at most {config.context_length - num_prompt} after a prompt of {num_prompt} (context {config.context_length})",
            hint="ask for fewer tokens or shorten the prompt",
        )  # fmt: skip
    capacity = config.num_pages * config.page_size
    if num_total > capacity:
        raise PromptTooLong(
            "request", f"{num_prompt} + {params.max_new_tokens} tokens", f"at most the KV pool's {capacity} tokens",
            hint="ask for fewer tokens, or load with a larger max_total_tokens",
        )  # fmt: skip
    if not 0 <= request.top_logprobs_num <= config.vocab_size:
        raise InvalidRequest("top_logprobs_num", request.top_logprobs_num, f"between 0 and {config.vocab_size}")
    if not -1 <= request.logprob_start_len <= num_prompt:
        limit = f"between -1 and {num_prompt}, the number of prompt tokens"
        raise InvalidRequest("logprob_start_len", request.logprob_start_len, limit)
    if request.return_logprob and request.logprob_start_len >= 0:
        scored = enumerate(request.input_ids[request.logprob_start_len :], request.logprob_start_len)
        if (beyond := max((at for at, token in scored if token >= config.vocab_size and at > 0), default=None)) is not None:
            needed = f"above {beyond}: the token there stands for a picture and has no log-probability"
            raise InvalidRequest("logprob_start_len", request.logprob_start_len, needed)
    if request.timeout_s is not None and not request.timeout_s > 0:
        raise InvalidRequest("timeout_s", request.timeout_s, "above 0 seconds")


def _check_pictures(config: CoreConfig, request: Request) -> None:
    if request.pictures and not config.sees:
        raise NotSupported("this model reads text and no pictures", hint="leave them out, or load a model that sees")
    end = len(request.input_ids)
    for picture in request.pictures:
        if picture.end > end or sum(count for _, count in picture.places) != picture.num_tokens:
            raise InvalidRequest("pictures", picture.places, f"{picture.num_tokens} places in a prompt of {end} tokens")
    num_rows = sum(request.picture_rows.values())
    if num_rows > config.num_picture_rows > 0:
        message = f"the pictures have {num_rows:,} rows of keys and values, there is room for {config.num_picture_rows:,}"
        raise InvalidRequest.because(
            "image_data", message, hint="send fewer or smaller pictures, or load with a larger picture_memory_mb"
        )
    if request.axes is not None and len(request.axes.data) != 12 * end:
        raise InvalidRequest("axes", f"{len(request.axes.data)} bytes", f"{12 * end}, three numbers for each token of the prompt")


def _check_ids(field: str, ids: tuple[int, ...], vocab_size: int) -> None:
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        wrong = next(token for token in ids if not 0 <= token < vocab_size)
        raise InvalidRequest(field, wrong, f"between 0 and {vocab_size - 1} (the vocabulary)")
