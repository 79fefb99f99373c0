"""The options of the serving benchmark: each of the reference's works or is refused."""

from __future__ import annotations

import argparse

import pytest

from workbench.bench.commands import run
from workbench.bench.serving_args import add_args, base_url, check, extra_body, rates

REFERENCE = (
    "--backend sglang --base-url http://a --host a --port 1 --dataset-name random --dataset-path a --model a --tokenizer a "
    "--num-prompts 1 --sharegpt-output-len 1 --sharegpt-context-len 9 --random-input-len 1 --random-output-len 1 "
    "--random-range-ratio 1 --request-rate 1 --max-concurrency 1 --multi --request-rate-range 1,2,1 --output-file a "
    "--disable-tqdm --disable-stream --return-logprob --seed 1 --disable-ignore-eos --profile --lora-name a "
    "--gsp-num-groups 1 --gsp-prompts-per-group 1 --gsp-system-prompt-len 1 --gsp-question-len 1 --gsp-output-len 1"
)


def parsed(*argv):
    parser = argparse.ArgumentParser()
    add_args(parser)
    return parser.parse_args(argv)


def test_the_options_of_the_reference_are_there():
    args = parsed(*REFERENCE.split(), "--extra-request-body", '{"a": 1}')
    check(args)
    assert extra_body(args) == {"return_logprob": True, "logprob_start_len": -1, "lora_path": "a", "a": 1}
    check(
        parsed("--apply-chat-template", "--num-prompt", "3", "--random-input", "3", "--random-output", "3", "--model-path", "a")
    )


@pytest.mark.parametrize("backend, port", [("sglang", 30000), ("vllm", 8000), ("lmdeploy", 23333)])
def test_each_backend_has_its_port(backend, port):
    assert base_url(parsed("--backend", backend)) == f"http://127.0.0.1:{port}"
    assert base_url(parsed("--backend", backend, "--port", "9")) == "http://127.0.0.1:9"
    assert base_url(parsed("--base-url", "http://a/b/")) == "http://a/b"


@pytest.mark.parametrize("given, found", [("2,8,2", [2, 4, 6]), ("1,5", [1, 5]), ("7", [7])])
def test_a_range_or_a_list_of_rates(given, found):
    assert rates(parsed("--multi", "--request-rate-range", given)) == found


def test_an_adapter_is_a_model_of_openais_api():
    assert extra_body(parsed("--backend", "vllm", "--lora-name", "a")) == {"model": "a"}


@pytest.mark.parametrize(
    "args, says",
    [
        (["--backend", "vllm", "--return-logprob"], "native"),
        (["--dataset-name", "random", "--apply-chat-template"], "sharegpt"),
        (["--dataset-name", "multi-turn"], "chat"), (["--backend", "chat", "--dataset-name", "random"], "token ids"),
        (["--request-rate", "0"], "above 0"), (["--multi", "--request-rate-range", "a"], "start,stop,step"),
        (["--num-prompts", "0"], "at least 1"), (["--extra-request-body", "[1]"], "an object"),
        (["--random-range-ratio", "2"], "between 0 and 1"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(capsys, args, says):
    assert run("serving", args) == 2
    assert says in capsys.readouterr().err


def test_backends_that_are_not_there_are_refused(capsys):
    with pytest.raises(SystemExit):
        run("serving", ["--backend", "trt"])
    assert "invalid choice: 'trt'" in capsys.readouterr().err
