"""The settings by theme. Each group is a frozen value that a room takes whole.

Names and defaults are the reference's, and are the same everywhere: keyword, flag, field.
None and "auto" are settled once, in `workbench.launch`, where the machine and the model are known.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from workbench.config.home import DEFAULT_MODEL
from workbench.config.limits import ABOVE_0, ABOVE_0_S, CHUNK, FRACTION, at_least, at_most, check_json_object, check_limits
from workbench.config.schemes import Quantization, TorchaoConfig
from workbench.errors import InvalidRequest, NotSupported

MAX_THREADS = 1024
"""Most CPU threads. The operating system may refuse more, and OpenMP then ends the process."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of settings. A value outside its limits raises InvalidRequest with name, value and limit."""

    def __post_init__(self) -> None:
        check_limits(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings by name."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class ModelArgs(Group):
    """The model, its tokenizer, and the places of their files."""

    model_path: str = DEFAULT_MODEL
    """Model to load: an alias, a Hugging Face id (org/name or org/name@revision), a folder, or a GGUF file."""
    tokenizer_path: str | None = None
    """Tokenizer folder or Hugging Face id. None: the model's own tokenizer."""
    tokenizer_mode: Literal["auto"] = "auto"
    """Kind of tokenizer. Only the fast one exists."""
    skip_tokenizer_init: bool = False
    """No tokenizer: token ids in, token ids out; no text, no stop strings, no constraints."""
    load_format: Literal["auto", "safetensors", "gguf", "pt", "dummy"] = "auto"
    """Format of the weights. auto: safetensors or GGUF, as the files are; pt: `pytorch_model*.bin`, of which tensors alone are
    read and nothing runs; dummy: seeded random weights, made from config.json alone."""
    trust_remote_code: bool = False
    """Permission for tokenizers and configs to run code from the model's repository."""
    context_length: Annotated[int | None, at_least(1)] = None
    """Longest request in tokens, prompt and output together. None: the model's own limit."""
    chat_template: str | None = None
    """Chat template in the place of the tokenizer's: a built-in name (llama-2, chatml, ...), or the path of a .jinja or .json
    file. A template that the model was not trained on makes its answers worse."""
    revision: str | None = None
    """Version of a hub model: a branch, a tag or a commit. None: the newest."""
    json_model_override_args: str = "{}"
    """JSON object whose keys override those of the model's config.json; null removes a key."""
    is_embedding: bool = False
    """Kind of the results. True: embeddings or rewards; False: text."""
    download_dir: str | None = None
    """Folder for fetched models, in place of WORKBENCH_HOME/models."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_json_object("json_model_override_args", self.json_model_override_args)


@dataclass(frozen=True, kw_only=True)
class ComputeArgs(Group):
    """The device that computes, its number formats and kernels."""

    dtype: Literal["auto", "float32", "bfloat16", "float16", "half"] = "auto"
    """Number format of weights and activations. auto: bfloat16 if the device multiplies it natively, else float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that computes. auto: cuda if a GPU is present, else cpu."""
    num_threads: Annotated[int | None, at_least(1), at_most(MAX_THREADS)] = None
    """CPU threads of the forward pass. None: one for each physical core that affinity and cgroups allow, at most
    OMP_NUM_THREADS."""
    quantization: Quantization | None = None
    """Form of the weights. For a GGUF: gguf, its blocks multiplied as they are. For a dense folder: the scheme that quantises it.
    For a quantised folder: the folder's own method. For all: dequant, dense numbers in dtype. None: as the checkpoint is, in
    blocks on a CPU whose kernels can be compiled, else dequant."""
    torchao_config: TorchaoConfig = ""
    """Scheme that quantises a dense folder, by torchao's name. The same as quantization."""
    attention_backend: Literal["auto", "torch", "reference"] = "auto"
    """Attention kernels. auto: torch; reference: plain and slow, for comparison."""
    disable_mla: bool = False
    """The plain form of multi-head latent attention: every head's keys and values are kept, not the latent they come from.
    The results are the same. Models without latents do not differ."""
    sampling_backend: Literal["auto", "pytorch"] = "auto"
    """Sampling kernels. auto: pytorch, the only one."""
    enable_nan_detection: bool = False
    """Handling of NaN in logits. True: logs a warning and draws other tokens; False: ends the request with an error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.torchao_config and self.quantization not in (None, self.torchao_config):
            message = f"quantization={self.quantization!r} and torchao_config={self.torchao_config!r} are two forms for one model"
            raise InvalidRequest.because("torchao_config", message, hint="give one of them")

    @property
    def form(self) -> str | None:
        """Form of the weights that is asked for, under either name."""
        return self.torchao_config or self.quantization


@dataclass(frozen=True, kw_only=True)
class CacheArgs(Group):
    """The K/V pool and the prefix cache in it."""

    kv_cache_dtype: Literal["auto", "float32", "bfloat16", "float16", "fp8_e5m2", "fp8_e4m3", "int8"] = "auto"
    """Number format of keys and values. auto: the same as dtype. fp8_e5m2, fp8_e4m3 and int8 take half the memory of bfloat16;
    int8, with a scale for each token and head, is the most exact, and fp8_e5m2 the least. No other can differ from dtype."""
    quantization_param_path: str | None = None
    """JSON file with a K/V scaling factor for each layer, for kv_cache_dtype fp8_e4m3. None: all factors are 1."""
    mem_fraction_static: Annotated[float | None, FRACTION] = None
    """Fraction of memory. On a GPU: of all memory, for weights and KV pool together (None: 0.9). On a CPU: of the free memory,
    for the KV pool alone (None: 0.25)."""
    max_total_tokens: Annotated[int | None, at_least(1)] = None
    """Size of the KV pool in tokens. None: as many as mem_fraction_static allows."""
    picture_memory_mb: Annotated[int | None, at_least(1)] = None
    """Memory in MiB for what a model makes of pictures: the vectors of those seen last, or the keys and values of running
    requests' pictures in layers of cross attention. None: 256 for vectors; for keys and values 0.1 of the free memory on a CPU,
    0.25 of it on a GPU, and 256 at least."""
    page_size: Annotated[int, at_least(1)] = 1
    """Tokens per KV page. Prefixes are shared in whole pages."""
    eviction_policy: str = "lru"
    """Order in which unused leaves leave the radix tree: lru, lfu or fifo."""
    disable_radix_cache: bool = False
    """No prefix is kept or shared. enable_radix_cache=False means the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantization_param_path is not None and self.kv_cache_dtype != "fp8_e4m3":
            message = f"quantization_param_path needs kv_cache_dtype fp8_e4m3, not {self.kv_cache_dtype}"
            hint = "only fp8_e4m3 has factors that come from a file"
            raise InvalidRequest.because("quantization_param_path", message, hint=hint)


@dataclass(frozen=True, kw_only=True)
class ScheduleArgs(Group):
    """The batch, the queue, and the size of a step."""

    max_running_requests: Annotated[int | None, at_least(1)] = None
    """Most requests in the batch at once. None: 64 on a CPU, 512 on a GPU."""
    max_queued_requests: Annotated[int | None, at_least(0)] = None
    """Most requests that wait; one more is refused. None: no limit."""
    chunked_prefill_size: Annotated[int | None, CHUNK] = None
    """Most new tokens in one prefill step; longer prompts are cut into chunks of this size. -1: never cut. None: 1024 on a CPU,
    8192 on a GPU."""
    max_prefill_tokens: Annotated[int, at_least(1)] = 16384
    """Most new tokens in one prefill step over all its requests. A smaller value than the context length counts as the context
    length."""
    schedule_policy: str = "lpm"
    """Order of the waiting queue: lpm, fcfs, dfs-weight, lof or random."""
    schedule_conservativeness: Annotated[float, ABOVE_0] = 1.0
    """Factor of the output that running requests are expected to produce. Above 1 the engine admits fewer requests and retracts
    fewer; below 1 the opposite."""
    prefill_only_one_req: bool = False
    """Limit of one request per prefill step."""
    enable_mixed_chunk: bool = False
    """Prefill chunks and decode tokens share a step."""
    disable_overlap_schedule: bool = False
    """Switch to plan, compute and commit one step after the other. Else a decode step is planned, and the one before it committed
    and sent, while another is computed; on a CPU where num_threads leaves a processor free. Outputs are the same."""


@dataclass(frozen=True, kw_only=True)
class GrammarArgs(Group):
    """The compiler of constraints and its limits."""

    grammar_backend: Literal["xgrammar", "outlines"] = "xgrammar"
    """Compiler of constraints. outlines takes regex, choices and JSON schemas without recursion."""
    grammar_compile_workers: Annotated[int, at_least(1)] = 2
    """Child processes that compile constraints. Each starts when there is work for it."""
    grammar_compile_timeout_s: Annotated[float, ABOVE_0_S] = 30.0
    """Most seconds that a constraint may take to compile; after that its request ends with an error."""
    grammar_compile_memory_mb: Annotated[int, at_least(128)] = 2048
    """Most megabytes of memory that a constraint may take to compile; above that its request ends with an error."""
    constrained_json_whitespace_pattern: str | None = None
    """Regex for the white space between two parts of a JSON text, for outlines only. None: fixed separators."""
    disable_outlines_disk_cache: bool = False
    """No disk cache of outlines: it keeps no automata under WORKBENCH_HOME (512 MB; then the least recently used are removed)."""
    disable_jump_forward: bool = False
    """Switch to decode token by token even if a constraint leaves only one continuation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.constrained_json_whitespace_pattern is not None and self.grammar_backend != "outlines":
            raise NotSupported(
                "constrained_json_whitespace_pattern needs grammar_backend outlines",
                hint="with xgrammar set max_whitespace in the request",
            )


@dataclass(frozen=True, kw_only=True)
class RequestArgs(Group):
    """Defaults and permissions of requests."""

    random_seed: int | None = None
    """Seed of requests that have none of their own. None: drawn at start."""
    stream_interval: Annotated[int, at_least(1)] = 1
    """Tokens between two streamed chunks."""
    allow_auto_truncate: bool = False
    """Switch to cut the first tokens of a prompt that is too long, instead of refusing it."""
    return_hidden_states: bool = False
    """Switch to return hidden states with every request. A single request can also turn them on."""
    enable_custom_logit_processor: bool = False
    """Permission for requests to bring Python code, which runs with the engine's rights."""
    allowed_media: str | None = None
    """Hosts from which pictures are fetched, and folders in which HTTP requests may name files, with commas between:
    example.org,/data/pictures. * is every host. None: none; pictures then come with the request."""


@dataclass(frozen=True, kw_only=True)
class LoggingArgs(Group):
    """The event log and the logger."""

    event_log_size: Annotated[int, at_least(0)] = 200_000
    """Most events kept for views and explanations; fewer where prompts are so long that they would take some 300 MB (in
    proportion to this number). 0 records nothing."""
    decode_log_interval: Annotated[int, at_least(1)] = 40
    """Steps between two progress lines of the log (level info)."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """Verbosity of the `workbench` logger."""
    log_requests: bool = False
    """Switch to log inputs and outputs of every request."""
    show_time_cost: bool = False
    """Switch to log the time that loading took."""
