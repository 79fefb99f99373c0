"""`Engine` on a tiny model: shapes, streams, seeds, log-probabilities, bad input, interrupts and the state after shutdown."""

from __future__ import annotations

import _thread
import asyncio
import gc
import math
import threading
import time
import weakref
from collections import UserDict
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

import workbench
from workbench.config import ServerArgs
from workbench.config.values import kinds_of
from workbench.errors import EngineDead, InvalidRequest, NotSupported, PromptTooLong, UnknownParameter, WorkbenchError
from workbench.events import TokenSampled
from workbench.logit_processor import CustomLogitProcessor
from workbench.model.tiny import TINY_LLAMA, write_config

GREEDY = {"temperature": 0, "max_new_tokens": 6, "ignore_eos": True}
DRAWN = {"temperature": 1.0, "max_new_tokens": 12, "ignore_eos": True}
ENDLESS = {"temperature": 0, "max_new_tokens": 20_000, "ignore_eos": True}
"""Parameters of an answer that takes many seconds: a thread that stands still for one still comes before its end."""
ROOMY = {"json_model_override_args": {"max_position_embeddings": 30_000}, "max_total_tokens": 60_000}
A, B = [3, 1, 4, 1, 5], [9, 2, 6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with seeded weights that transformers can read too."""
    import transformers

    folder = write_config(tmp_path_factory.mktemp("model"), TINY_LLAMA)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def open_engine(folder, **args):
    values = {"skip_tokenizer_init": True, "dtype": "float32", "max_total_tokens": 2000, "random_seed": 0, "num_threads": 1}
    return workbench.Engine(str(folder), **values | args)


@pytest.fixture(scope="module")
def engine(folder):
    with open_engine(folder, enable_custom_logit_processor=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def roomy(folder):
    """An engine with a context for ENDLESS."""
    with open_engine(folder, **ROOMY) as engine:
        yield engine


@pytest.fixture(scope="module")
def log_softmax(folder):
    """Function from token ids to log-probabilities [T, V], of the same weights through transformers."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def of(ids):
        return torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)

    return of


def greedy(log_softmax, prompt, count):
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(log_softmax(ids)[-1].argmax()))
    return ids[len(prompt) :]


def ids_of(result):
    return [ids_of(item) for item in result] if isinstance(result, list) else result["output_ids"]


def answers(engine, expected):
    """Asserts that the engine still serves, and right."""
    assert ids_of(engine.generate(input_ids=A, sampling_params=GREEDY)) == expected


@pytest.fixture(scope="module")
def expected(log_softmax):
    return greedy(log_softmax, A, 6)


@pytest.fixture(autouse=True)
def nothing_left_running(request):
    yield
    if "engine" in request.fixturenames:
        load = request.getfixturevalue("engine")._handle.client.engine.get_load()
        assert load.num_waiting == 0


# -- shapes -------------------------------------------------------------------------------------------------------


def test_one_prompt_gives_a_dict_and_several_a_list_in_order(engine, log_softmax, expected):
    one = engine.generate(input_ids=A, sampling_params=GREEDY)
    assert one["output_ids"] == expected
    assert one["meta_info"].keys() == {"id", "prompt_tokens", "completion_tokens", "cached_tokens", "finish_reason"}
    assert (one["meta_info"]["prompt_tokens"], one["meta_info"]["completion_tokens"]) == (5, 6)
    assert one["meta_info"]["finish_reason"] == {"type": "length", "length": 6}
    assert "text" not in one, "there is no tokenizer"
    assert one["token_ids"] == expected
    many = engine.generate(input_ids=[A, B], sampling_params=GREEDY)
    assert ids_of(many) == [expected, greedy(log_softmax, B, 6)]
    assert ids_of(engine.generate(input_ids=[A], sampling_params=GREEDY)) == [expected], "a list of one stays a list"


@pytest.mark.parametrize(
    ("given", "is_list"),
    [
        (tuple(A), False),
        (torch.tensor(A), False),
        ([torch.tensor(token) for token in A], False),
        (torch.tensor([A, A]), True),
        ([torch.tensor(A), A], True),
        ((tuple(A), torch.tensor(A)), True),
    ],
)
def test_ids_may_be_lists_tuples_tensors_and_lists_of_tensors(engine, expected, given, is_list):
    ids = ids_of(engine.generate(input_ids=given, sampling_params=GREEDY))
    assert ids == ([expected, expected] if is_list else expected)


def test_parallel_samples_are_a_list_per_prompt(engine):
    one = engine.generate(input_ids=A, sampling_params=DRAWN | {"n": 3})
    assert [len(result["output_ids"]) for result in one] == [12] * 3
    assert len({tuple(result["output_ids"]) for result in one}) == 3, "samples differ"
    assert len({result["meta_info"]["id"] for result in one}) == 3
    mixed = engine.generate(input_ids=[A, B], sampling_params=[DRAWN | {"n": 2}, DRAWN])
    assert isinstance(mixed[0], list)
    assert len(mixed[0]) == 2
    assert isinstance(mixed[1], dict)
    greedy_samples = engine.generate(input_ids=A, sampling_params=GREEDY | {"n": 2})
    assert greedy_samples[0]["output_ids"] == greedy_samples[1]["output_ids"]


def test_the_same_seed_gives_the_same_ids_whatever_the_batch(engine):
    seeded = DRAWN | {"seed": 7}
    alone = ids_of(engine.generate(input_ids=A, sampling_params=seeded))
    engine.flush_cache()
    crowd = engine.generate(input_ids=[B, A, A, B, A], sampling_params=[DRAWN, seeded, DRAWN, GREEDY, seeded])
    assert ids_of(crowd)[1] == ids_of(crowd)[4] == alone
    assert ids_of(crowd)[2] != alone
    first, second = (ids_of(engine.generate(input_ids=A, sampling_params=seeded | {"n": 3})) for _ in range(2))
    assert first == second
    assert first[0] == alone


def test_two_engines_with_one_random_seed_draw_the_same(folder):
    with open_engine(folder, random_seed=5) as one, open_engine(folder, random_seed=5) as two:
        assert ids_of(one.generate(input_ids=[A, B], sampling_params=DRAWN)) == ids_of(
            two.generate(input_ids=[A, B], sampling_params=DRAWN)
        )


def test_parameters_and_options_may_differ_per_prompt(engine, expected):
    results = engine.generate(
        input_ids=[A, A],
        sampling_params=[GREEDY, GREEDY | {"max_new_tokens": 2}],
        rid=["first", "second"],
        return_logprob=[False, True],
        token_ids_logprob=[None, [1, 2]],
        namespace=["x", "y"],
    )
    assert ids_of(results) == [expected, expected[:2]]
    assert [result["meta_info"]["id"] for result in results] == ["first", "second"]
    assert "output_token_logprobs" not in results[0]["meta_info"]
    assert [len(entry) for entry in results[1]["meta_info"]["output_token_ids_logprobs"]] == [2, 2]
    assert results[1]["meta_info"]["cached_tokens"] == 0, "another namespace"


def test_zero_new_tokens_scores_only(engine, log_softmax):
    result = engine.generate(input_ids=A, sampling_params={"max_new_tokens": 0}, return_logprob=True, logprob_start_len=0)
    assert result["output_ids"] == []
    assert result["meta_info"]["finish_reason"] == {"type": "length", "length": 0}
    assert [entry[1] for entry in result["meta_info"]["input_token_logprobs"]] == A
    plain = engine.generate(input_ids=A, sampling_params={"max_new_tokens": 0})
    assert plain["output_ids"] == []


def test_a_text_prompt_without_a_tokenizer_is_not_supported(engine):
    with pytest.raises(NotSupported, match="no tokenizer"):
        engine.generate("text")
    with pytest.raises(NotSupported, match="no tokenizer"):
        engine.chat([{"role": "user", "content": "hi"}])
    with pytest.raises(NotSupported, match="need the tokenizer"):
        engine.generate(input_ids=A, sampling_params={"regex": "a"})


# -- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_is_cumulative_and_ends_like_the_whole_result(engine, expected):
    chunks = list(engine.generate(input_ids=A, sampling_params=GREEDY, stream=True))
    assert [chunk["output_ids"] for chunk in chunks] == [expected[:i] for i in range(1, 7)]
    assert [chunk["meta_info"]["finish_reason"] for chunk in chunks[:-1]] == [None] * 5
    whole = engine.generate(input_ids=A, sampling_params=GREEDY)
    assert chunks[-1]["meta_info"]["finish_reason"] == whole["meta_info"]["finish_reason"]


def test_a_stream_of_several_prompts_says_which(engine, log_softmax, expected):
    last = {}
    for chunk in engine.generate(input_ids=[A, B], sampling_params=GREEDY, stream=True):
        last[chunk["index"]] = chunk["output_ids"]
    assert last == {0: expected, 1: greedy(log_softmax, B, 6)}


def test_the_stream_interval_leaves_chunks_out(folder):
    with open_engine(folder, stream_interval=4) as engine:
        chunks = list(engine.generate(input_ids=A, sampling_params=GREEDY | {"max_new_tokens": 10}, stream=True))
    assert [len(chunk["output_ids"]) for chunk in chunks] == [1, 5, 9, 10]


def test_async_calls_work_under_a_running_loop_at_once(engine, expected):
    async def main():
        whole = engine.async_generate(input_ids=A, sampling_params=GREEDY)
        many = engine.async_generate(input_ids=[A, A], sampling_params=GREEDY)
        stream = await engine.async_generate(input_ids=A, sampling_params=GREEDY, stream=True)
        chunks = [chunk["output_ids"] async for chunk in stream]
        sync = engine.generate(input_ids=A, sampling_params=GREEDY)  # needs no nest_asyncio
        return await asyncio.gather(whole, many), chunks, sync

    (whole, many), chunks, sync = asyncio.run(main())
    assert whole["output_ids"] == sync["output_ids"] == expected
    assert ids_of(many) == [expected, expected]
    assert chunks == [expected[:i] for i in range(1, 7)]


def finish_of(engine, rid):
    """Waits for the end of a request without a reader."""
    for _ in range(2000):
        if (finish := engine.explain(rid).facts["finish"]) is not None:
            return finish
        engine._handle.client.engine.now()
    raise AssertionError(f"{rid} never ended")


def test_leaving_a_stream_early_aborts_it(roomy, expected):
    for chunk in roomy.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="left"):
        assert chunk
        break
    assert finish_of(roomy, "left") == "abort"
    answers(roomy, expected)


def test_a_stream_that_is_never_read_is_aborted_when_it_is_dropped(roomy, expected):
    roomy.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="dropped")
    assert finish_of(roomy, "dropped") == "abort"
    answers(roomy, expected)


def test_leaving_an_async_stream_or_cancelling_its_task_aborts_it(roomy, expected):
    async def leave():
        stream = await roomy.async_generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="async left")
        async for _ in stream:
            break
        await stream.aclose()
        task = asyncio.create_task(roomy.async_generate(input_ids=A, sampling_params=ENDLESS, rid="cancelled"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert finish_of(roomy, "async left") == "abort"
    assert finish_of(roomy, "cancelled") == "abort"
    answers(roomy, expected)


def test_an_abort_ends_the_call_with_what_there_is(roomy):
    chunks = []
    for chunk in roomy.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="cut"):
        chunks.append(chunk)
        if len(chunks) == 2:
            roomy.abort("cut")
    assert chunks[-1]["meta_info"]["finish_reason"] == {"type": "abort", "message": "aborted by the caller"}
    assert 2 <= len(chunks[-1]["output_ids"]) < 20_000
    roomy.abort("never was")


@pytest.mark.parametrize("how", ["generate", "stream", "async", "samples"])
def test_an_abort_while_a_prompt_is_tokenised_ends_its_request(roomy, monkeypatch, how):
    """The engine ignores an id that it does not have yet."""
    see = roomy._handle.see

    def aborted_meanwhile(prompt, shown):
        roomy.abort("early")
        return see(prompt, shown)

    monkeypatch.setattr(roomy._handle, "see", aborted_meanwhile)
    call = {"input_ids": A, "sampling_params": ENDLESS, "rid": "early"}
    if how == "async":
        results = [asyncio.run(roomy.async_generate(**call))]
    elif how == "samples":
        results = roomy.generate(**call, n=2)
    else:
        results = [[*roomy.generate(**call, stream=True)][-1]] if how == "stream" else [roomy.generate(**call)]
    assert {result["meta_info"]["finish_reason"]["type"] for result in results} == {"abort"}
    monkeypatch.undo()
    again = roomy.generate(input_ids=A, sampling_params=GREEDY, rid="early")
    assert again["meta_info"]["finish_reason"]["type"] == "length"


def test_a_long_prompt_blocks_no_other_coroutine_while_it_is_tokenised(engine, monkeypatch):
    see = engine._handle.see

    def slow(prompt, shown):
        time.sleep(0.2)
        return see(prompt, shown)

    monkeypatch.setattr(engine._handle, "see", slow)
    monkeypatch.setattr(engine._handle, "conversation", lambda messages, tools: (time.sleep(0.2), {"input_ids": A})[1])

    async def longest_block():
        async def work():
            await engine.async_generate(input_ids=A, sampling_params=GREEDY)
            await engine.async_chat([{"role": "user", "content": "a"}], GREEDY)
            async for _ in await engine.async_generate(input_ids=A, sampling_params=GREEDY, stream=True):
                pass

        task, longest, last = asyncio.create_task(work()), 0.0, time.monotonic()
        while not task.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await task
        return longest

    assert asyncio.run(longest_block()) < 0.15, "each prompt takes 0.2 s"


def test_an_interrupt_of_the_reading_thread_aborts_and_the_engine_lives(roomy, expected):
    def interrupt_when_it_runs():
        while not any(isinstance(event, TokenSampled) and event.rid == "interrupted" for event in roomy.log.read()[1]):
            time.sleep(0.001)
        _thread.interrupt_main()

    threading.Thread(target=interrupt_when_it_runs, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        roomy.generate(input_ids=A, sampling_params=ENDLESS, rid="interrupted")
    assert finish_of(roomy, "interrupted") == "abort"
    answers(roomy, expected)


def test_a_consumer_that_raises_aborts_its_stream(roomy, expected):
    def consume():
        for _ in roomy.generate(input_ids=A, sampling_params=ENDLESS, stream=True, rid="raised"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert finish_of(roomy, "raised") == "abort"
    answers(roomy, expected)


# -- log-probabilities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [-1, 0, 1, 3, 4])
@pytest.mark.parametrize("is_warm", [False, True])
def test_log_probabilities_equal_transformers(engine, log_softmax, expected, start, is_warm):
    engine.flush_cache()
    if is_warm:
        answers(engine, expected)
    meta = engine.generate(
        input_ids=A, sampling_params=GREEDY, return_logprob=True, logprob_start_len=start, top_logprobs_num=3,
        token_ids_logprob=[7, 200],
    )["meta_info"]  # fmt: skip
    whole = log_softmax(A + expected)
    wanted_input = [] if start < 0 else list(range(start, len(A)))
    check_positions(meta, "input", whole, A + expected, wanted_input)
    check_positions(meta, "output", whole, A + expected, list(range(len(A), len(A) + 6)))


def check_positions(meta, which, whole, ids, positions):
    """Asserts that the token at position p is predicted by row p - 1; nothing predicts the first."""
    entries = meta[f"{which}_token_logprobs"]
    tops, chosen = meta[f"{which}_top_logprobs"], meta[f"{which}_token_ids_logprobs"]
    assert len(entries) == len(tops) == len(chosen) == len(positions)
    for position, (logprob, token, text), top, some in zip(positions, entries, tops, chosen, strict=True):
        assert (token, text) == (ids[position], None)
        if position == 0:
            assert (logprob, top, some) == (None, None, None)
            continue
        row = whole[position - 1]
        best = row.topk(3)
        assert logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert [entry[1] for entry in top] == best.indices.tolist()
        assert [entry[0] for entry in top] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [entry[1] for entry in some] == [7, 200]
        assert [entry[0] for entry in some] == pytest.approx(row[[7, 200]].tolist(), abs=1e-4)


def test_log_probabilities_are_the_models_own_whatever_the_sampling(engine, log_softmax):
    result = engine.generate(
        input_ids=A, sampling_params=DRAWN | {"temperature": 3.0, "top_k": 50, "seed": 1}, return_logprob=True
    )
    ids = result["output_ids"]
    rows = log_softmax(A + ids)
    wanted = [float(rows[len(A) - 1 + i, token]) for i, token in enumerate(ids)]
    assert [entry[0] for entry in result["meta_info"]["output_token_logprobs"]] == pytest.approx(wanted, abs=1e-4)
    assert result["meta_info"]["input_token_logprobs"] == []


# -- processors ---------------------------------------------------------------------------------------------------


class Forced(CustomLogitProcessor):
    def __call__(self, logits, custom_param_list):
        for row, params in enumerate(custom_param_list):
            logits[row] = -math.inf
            logits[row, params["token_id"]] = 0.0
        return logits


class Broken(CustomLogitProcessor):
    def __call__(self, logits, custom_param_list):
        raise RuntimeError("I am broken")


Forced.__module__ = Broken.__module__ = "__main__"  # as if defined in a cell: they travel as source


def test_a_custom_processor_forces_its_token_for_its_own_request_alone(engine, expected):
    results = engine.generate(
        input_ids=[A, A], sampling_params=[GREEDY | {"custom_params": {"token_id": 42}}, GREEDY],
        custom_logit_processor=[Forced().to_str(), None],
    )  # fmt: skip
    assert ids_of(results) == [[42] * 6, expected]


def test_a_broken_processor_ends_its_own_request_alone(engine, expected):
    results = engine.generate(input_ids=[A, A], sampling_params=GREEDY, custom_logit_processor=[Broken().to_str(), None])
    assert results[0]["meta_info"]["finish_reason"]["type"] == "abort"
    assert "I am broken" in results[0]["meta_info"]["finish_reason"]["message"]
    assert results[1]["output_ids"] == expected


def test_processors_are_refused_unless_enabled(folder):
    with open_engine(folder) as engine, pytest.raises(NotSupported, match="logit processors"):
        engine.generate(input_ids=A, custom_logit_processor=Forced().to_str())


# -- what users write ----------------------------------------------------------------------------------------------


def test_sampling_parameters_may_be_keywords(engine):
    expected = ids_of([engine.generate(input_ids=A, sampling_params=GREEDY)])
    assert ids_of([engine.generate(input_ids=A, **GREEDY)]) == expected
    most = {"temperature": 0, "ignore_eos": True}
    assert ids_of([engine.generate(input_ids=A, sampling_params=most, max_tokens=6)]) == expected
    assert ids_of([engine.generate(None, workbench.SamplingParams(**most), A, max_tokens=6)]) == expected
    assert ids_of([engine.generate(input_ids=A, sampling_params={"max_tokens": 6}, temperature=0, ignore_eos=True)]) == expected
    assert ids_of([asyncio.run(engine.async_generate(input_ids=A, **GREEDY))]) == expected
    both = engine.generate(input_ids=[A, B], sampling_params=[{"max_tokens": 1}, {"max_tokens": 2}], temperature=0)
    assert [len(result["output_ids"]) for result in both] == [1, 2]
    assert engine.generate(input_ids=A, **GREEDY, image_data=None, lora_path=None)["output_ids"] == expected[0]


class Encoded(UserDict):
    """The form that a transformers tokenizer returns since its version 5."""


@pytest.mark.parametrize(
    "ids",
    [
        Encoded(input_ids=A, attention_mask=[1] * len(A)),
        {"input_ids": torch.tensor(A)},
        SimpleNamespace(ids=[0, *A], attention_mask=[0] + [1] * len(A)),
        torch.tensor(A),
    ],
)
def test_one_prompt_may_be_what_a_tokenizer_returns(engine, expected, ids):
    assert engine.generate(input_ids=ids, sampling_params=GREEDY)["output_ids"] == expected


@pytest.mark.parametrize(
    "ids",
    [
        Encoded(input_ids=[[0, 0, *B], A], attention_mask=[[0, 0, 1, 1, 1], [1] * 5]),
        {"input_ids": torch.tensor([[*B, 7, 7], A]), "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1] * 5])},
        [Encoded(input_ids=B), Encoded(input_ids=A)],
        [torch.tensor(B), torch.tensor(A)],
    ],
)
def test_several_prompts_may_be_and_their_padding_is_none_of_them(engine, ids):
    expected = engine.generate(input_ids=[B, A], sampling_params=GREEDY)
    assert ids_of(engine.generate(input_ids=ids, sampling_params=GREEDY)) == ids_of(expected)


# -- bad input ----------------------------------------------------------------------------------------------------

NAN = float("nan")
HUGE, ENDLESS_DIGITS = 10**400, 10**5000
"""Numbers that Python cannot convert to a float (the first), or to decimal digits (the second)."""
BAD = [
    ({"input_ids": []}, InvalidRequest, "the prompt is empty"),
    ({"input_ids": [[]]}, InvalidRequest, "the prompt is empty"),
    ({"input_ids": torch.tensor([], dtype=torch.long)}, InvalidRequest, "the prompt is empty"),
    ({"input_ids": [1, 256]}, InvalidRequest, "input_ids is 256.*0 and 255"),
    ({"input_ids": [-1]}, InvalidRequest, "input_ids is -1.*0 and 255"),
    ({"input_ids": [10**30]}, InvalidRequest, "input_ids is 1000.*at most 9223372036854775807"),
    ({"input_ids": [1.5]}, InvalidRequest, "input_ids is 1.5.*integer"),
    ({"input_ids": [True]}, InvalidRequest, "input_ids is True.*integer"),
    ({"input_ids": ["a"]}, InvalidRequest, "input_ids is 'a'.*integer"),
    ({"input_ids": [1, [2]]}, InvalidRequest, "input_ids is .*integer"),
    ({"input_ids": [[1], 2]}, InvalidRequest, "input_ids is .*integer"),
    ({"input_ids": 5}, InvalidRequest, "input_ids is 5.*list"),
    ({"input_ids": torch.tensor(5)}, InvalidRequest, "input_ids.*list"),
    ({"input_ids": torch.tensor([0.5])}, InvalidRequest, "input_ids is 0.5.*integer"),
    ({"input_ids": [torch.tensor([A])]}, InvalidRequest, "input_ids.*integer"),
    ({"prompt": 5}, InvalidRequest, "prompt is 5.*string"),
    ({"prompt": ["a", 5]}, InvalidRequest, "prompt is .*string"),
    ({}, InvalidRequest, "neither prompt nor input_ids is given\ngive either prompt or input_ids"),
    ({"prompt": "a", "input_ids": A}, InvalidRequest, "prompt and input_ids are both given\ngive either"),
    ({"prompt": [{"role": "user", "content": "x"}]}, InvalidRequest, r"prompt is a conversation.*engine\.chat\(messages\)"),
    ({"prompt": {"role": "user", "content": "x"}}, InvalidRequest, r"engine\.chat\(messages\)"),
    ({"prompt": A}, InvalidRequest, r"prompt is token ids.*generate\(input_ids=\.\.\.\)"),
    ({"prompt": {"input_ids": A}}, InvalidRequest, "prompt is token ids"),
    ({"input_ids": A, "temprature": 0}, UnknownParameter, "generate has no parameter 'temprature'.*did you mean 'temperature'"),
    ({"input_ids": A, "temperature": 0, "sampling_params": {"temperature": 1}}, InvalidRequest, "temperature is given as a key"),
    ({"input_ids": A, "max_tokens": 2, "sampling_params": {"max_new_tokens": 2}}, InvalidRequest, "max_tokens is given as a"),
    ({"input_ids": A, "max_tokens": 2, "max_new_tokens": 2}, InvalidRequest, "mean the same"),
    ({"input_ids": A, "temperature": "hot"}, InvalidRequest, "temperature is 'hot'"),
    ({"input_ids": A, "image_data": "cat.png"}, NotSupported, "reads text and no pictures"),
    ({"input_ids": [1] * 513}, PromptTooLong, "prompt.*513 tokens.*at most 512"),
    ({"input_ids": A, "sampling_params": {"max_new_tokens": 508}}, PromptTooLong, "max_new_tokens is 508.*at most 507"),
    ({"input_ids": A, "sampling_params": {"max_new_tokens": -1}}, InvalidRequest, "max_new_tokens is -1.*at least 0"),
    ({"input_ids": A, "sampling_params": {"max_tokens": 5, "max_new_tokens": 6}}, InvalidRequest, "mean the same"),
    ({"input_ids": A, "sampling_params": {"temprature": 5}}, UnknownParameter, "temprature.*\n.*temperature"),
    ({"input_ids": A, "return_logprobs": True}, UnknownParameter, "return_logprobs.*\n.*return_logprob"),
    ({"input_ids": A, "sampling_params": {"temperature": NAN}}, InvalidRequest, "temperature is nan.*at least 0"),
    ({"input_ids": A, "sampling_params": {"temperature": math.inf}}, InvalidRequest, "temperature is inf"),
    ({"input_ids": A, "sampling_params": {"temperature": "hot"}}, InvalidRequest, "temperature is 'hot'.*number"),
    ({"input_ids": A, "sampling_params": {"top_p": 0}}, InvalidRequest, "top_p is 0.*above 0"),
    ({"input_ids": A, "sampling_params": {"top_k": 0}}, InvalidRequest, "top_k is 0.*at least 1"),
    ({"input_ids": A, "sampling_params": {"min_p": 2}}, InvalidRequest, "min_p is 2.*0 and 1"),
    ({"input_ids": A, "sampling_params": {"n": 0}}, InvalidRequest, "n is 0.*1 and 1024"),
    ({"input_ids": A, "sampling_params": {"logit_bias": {256: 1.0}}}, InvalidRequest, "logit_bias is 256.*255"),
    ({"input_ids": A, "sampling_params": {"stop_token_ids": [256]}}, InvalidRequest, "stop_token_ids is 256.*255"),
    ({"input_ids": A, "sampling_params": {"min_new_tokens": 9, "max_new_tokens": 3}}, InvalidRequest, "min_new_tokens is 9.*3"),
    (
        {"input_ids": A, "sampling_params": {"regex": "a", "ebnf": "b"}},
        InvalidRequest,
        "regex and ebnf are given together: a request has one constraint\nkeep one",
    ),
    ({"input_ids": A, "sampling_params": 5}, InvalidRequest, "sampling_params is 5.*dict"),
    ({"input_ids": A, "sampling_params": [GREEDY, GREEDY]}, InvalidRequest, "sampling_params has 2 values for 1 prompt\n"),
    ({"input_ids": [A, B], "sampling_params": [GREEDY]}, InvalidRequest, "sampling_params has 1 value for 2 prompts"),
    ({"input_ids": [A, B], "return_logprob": [True]}, InvalidRequest, "return_logprob has 1 value for 2 prompts"),
    ({"input_ids": [A, B], "rid": "one"}, InvalidRequest, "rid.*list of 2"),
    ({"input_ids": [A, B], "rid": ["one", "one"]}, InvalidRequest, "rid is 'one'.*not in use"),
    ({"input_ids": A, "rid": 5}, InvalidRequest, "rid is 5.*str"),
    ({"input_ids": A, "return_logprob": 1}, InvalidRequest, "return_logprob is 1.*bool"),
    ({"input_ids": A, "logprob_start_len": 6}, InvalidRequest, "logprob_start_len is 6.*-1 and 5"),
    ({"input_ids": A, "top_logprobs_num": 257}, InvalidRequest, "top_logprobs_num is 257.*256"),
    ({"input_ids": A, "top_logprobs_num": -1}, InvalidRequest, "top_logprobs_num is -1"),
    ({"input_ids": A, "token_ids_logprob": [256]}, InvalidRequest, "token_ids_logprob is 256.*255"),
    ({"input_ids": A, "token_ids_logprob": "ab"}, InvalidRequest, "token_ids_logprob is 'ab'"),
    ({"input_ids": A, "token_ids_logprob": ["a"]}, InvalidRequest, "token_ids_logprob is 'a'.*integer"),
    ({"input_ids": A, "timeout_s": 0}, InvalidRequest, "timeout_s is 0.*above 0"),
    ({"input_ids": A, "timeout_s": NAN}, InvalidRequest, "timeout_s is nan"),
    ({"input_ids": A, "timeout_s": True}, InvalidRequest, "timeout_s is True"),
    *(
        ({"input_ids": A, "sampling_params": {name: value}}, InvalidRequest, f"{name} is .*at (most|least)")
        for name in ("max_new_tokens", "min_new_tokens", "seed", "temperature", "top_p", "min_p", "presence_penalty")
        for value in (HUGE, -HUGE, ENDLESS_DIGITS)
    ),
    ({"input_ids": A, "sampling_params": {"top_k": HUGE}}, InvalidRequest, "top_k is 1000.*at most 9223372036854775807"),
    ({"input_ids": A, "sampling_params": {"n": HUGE}}, InvalidRequest, "n is 1000.*at most 9223372036854775807"),
    ({"input_ids": A, "sampling_params": {"n": 2**63 - 1}}, InvalidRequest, "n is 9223372036854775807.*1 and 1024"),
    (
        {"input_ids": A, "sampling_params": {"seed": 2**63}},
        InvalidRequest,
        "seed is 9223372036854775808.*at most 9223372036854775807",
    ),
    ({"input_ids": A, "sampling_params": {"max_new_tokens": math.inf}}, InvalidRequest, "max_new_tokens is inf.*an integer"),
    ({"input_ids": A, "sampling_params": {"seed": math.inf}}, InvalidRequest, "seed is inf.*an integer"),
    ({"input_ids": A, "sampling_params": {"stop_token_ids": [1, HUGE]}}, InvalidRequest, "stop_token_ids is 1000.*at most"),
    ({"input_ids": A, "sampling_params": {"stop_token_ids": [math.inf]}}, InvalidRequest, "stop_token_ids is inf.*an integer"),
    ({"input_ids": A, "sampling_params": {"logit_bias": {HUGE: 1.0}}}, InvalidRequest, "logit_bias is 1000.*at most"),
    ({"input_ids": A, "sampling_params": {"logit_bias": {math.inf: 1.0}}}, InvalidRequest, "logit_bias is inf.*an integer"),
    ({"input_ids": A, "sampling_params": {"logit_bias": {2.7: 1.0}}}, InvalidRequest, "logit_bias is 2.7.*an integer"),
    ({"input_ids": A, "sampling_params": {"logit_bias": {"9" * 5000: 1.0}}}, InvalidRequest, "logit_bias is '999.*an integer"),
    (
        {"input_ids": A, "sampling_params": {"logit_bias": {5: HUGE}}},
        InvalidRequest,
        r"logit_bias is 1000.*at most 1.79769e\+308",
    ),
    (
        {"input_ids": A, "sampling_params": {"json_schema": {"enum": [object()]}}},
        InvalidRequest,
        "json_schema is .*JSON can hold",
    ),
    ({"input_ids": A, "sampling_params": workbench.SamplingParams(max_new_tokens=2**62)}, PromptTooLong, "max_new_tokens"),
    ({"input_ids": [ENDLESS_DIGITS]}, InvalidRequest, "input_ids is <an integer of 16610 bits>.*at most"),
    ({"input_ids": A, "token_ids_logprob": [HUGE]}, InvalidRequest, "token_ids_logprob is 1000.*at most"),
    ({"input_ids": A, "top_logprobs_num": HUGE}, InvalidRequest, "top_logprobs_num is 1000.*at most"),
    ({"input_ids": A, "logprob_start_len": -HUGE}, InvalidRequest, "logprob_start_len is -1000.*at least"),
    ({"input_ids": A, "priority": HUGE}, InvalidRequest, "priority is 1000.*at most"),
    ({"input_ids": A, "timeout_s": HUGE}, InvalidRequest, "timeout_s is 1000.*at most"),
    ({"input_ids": A, "custom_logit_processor": "nonsense"}, InvalidRequest, "custom_logit_processor is 'nonsense'"),
]


@pytest.mark.parametrize("value", [HUGE, -HUGE, ENDLESS_DIGITS], ids=["huge", "-huge", "endless"])
@pytest.mark.parametrize(
    "name", ["max_new_tokens", "min_new_tokens", "seed", "top_k", "n", "temperature", "top_p", "repetition_penalty"]
)
def test_parameters_made_without_a_dict_have_the_same_limits(name, value):
    with pytest.raises(InvalidRequest, match=f"{name} is .*it must be"):
        workbench.SamplingParams(**{name: value})


@pytest.mark.parametrize(
    "value", [HUGE, -HUGE, ENDLESS_DIGITS, math.inf, 2**63], ids=["huge", "-huge", "endless", "inf", "2**63"]
)
@pytest.mark.parametrize("name", [name for name, kind in kinds_of(ServerArgs).items() if kind.base is int])
def test_huge_numbers_for_the_engine_are_refused_by_name(name, value):
    with pytest.raises(InvalidRequest, match=f"{name} is .*it must be"):
        ServerArgs.make(**{name: value})


@pytest.mark.parametrize("value", [HUGE, -HUGE, NAN, math.inf], ids=["huge", "-huge", "nan", "inf"])
@pytest.mark.parametrize("name", ["mem_fraction_static", "schedule_conservativeness"])
def test_numbers_beyond_every_float_are_refused_by_name(name, value):
    with pytest.raises(InvalidRequest, match=f"{name} is .*it must be"):
        ServerArgs.make(**{name: value})


@pytest.mark.parametrize(
    "value", [{"rope_theta": object()}, '{"rope_theta": ' + "9" * 5000 + "}", "[" * 100_000], ids=["object", "digits", "deep"]
)
def test_a_config_override_that_json_cannot_hold_is_refused(value):
    with pytest.raises(InvalidRequest, match=r"json_model_override_args is .*JSON"):
        ServerArgs.make(json_model_override_args=value)


def test_more_threads_than_a_process_survives_are_refused():
    with pytest.raises(InvalidRequest, match="num_threads is 100000, it must be at most 1024"):
        ServerArgs.make(num_threads=100_000)


@pytest.mark.parametrize("tokens", [10**13, 10**18])
def test_a_pool_that_no_memory_holds_is_refused_with_its_size(folder, tokens):
    with pytest.raises(InvalidRequest, match=f"max_total_tokens is {tokens}, .* bytes each"):
        open_engine(folder, max_total_tokens=tokens)


@pytest.mark.parametrize(("call", "error", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_names_field_value_and_limit_in_the_callers_thread(engine, expected, call, error, words):
    with pytest.raises(error, match=f"(?s){words}") as caught:
        engine.generate(**call)
    assert isinstance(caught.value, WorkbenchError)
    with pytest.raises(error):
        asyncio.run(engine.async_generate(**call))
    answers(engine, expected)


def test_a_pool_too_small_for_one_request_refuses_it(folder):
    with open_engine(folder, max_total_tokens=40) as engine:
        with pytest.raises(PromptTooLong, match=r"5 \+ 60 tokens.*pool's 40 tokens"):
            engine.generate(input_ids=A, sampling_params={"max_new_tokens": 60})
        assert len(ids_of(engine.generate(input_ids=A, sampling_params=GREEDY))) == 6


@pytest.mark.parametrize("args", [{"context_length": 20}, {"max_total_tokens": 20}], ids=str)
def test_auto_truncate_keeps_the_last_tokens_that_fit(folder, log_softmax, args):
    long = [(7 * i) % 250 + 1 for i in range(60)]
    with open_engine(folder, allow_auto_truncate=True, **args) as engine:
        result = engine.generate(input_ids=long, sampling_params=GREEDY)
        assert result["meta_info"]["prompt_tokens"] == 14
        assert result["output_ids"] == greedy(log_softmax, long[-14:], 6)
        with pytest.raises(PromptTooLong):
            engine.generate(input_ids=long, sampling_params=GREEDY | {"max_new_tokens": 20})


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"max_runing_requests": 3}, UnknownParameter, "max_running_requests"),
        ({"dtype": "float8"}, InvalidRequest, "dtype is 'float8'"),
        ({"page_size": 0}, InvalidRequest, "page_size is 0"),
        ({"schedule_policy": "best"}, InvalidRequest, "schedule_policy is 'best'.*lpm"),
        ({"eviction_policy": "best"}, InvalidRequest, "eviction_policy is 'best'.*lru"),
        ({"page_size": 64, "max_total_tokens": 10}, InvalidRequest, "max_total_tokens.*64"),
    ],
    ids=str,
)
def test_an_engine_that_cannot_be_opened_says_why_and_leaves_no_thread(folder, args, error, words):
    before = set(threading.enumerate())
    with pytest.raises(error, match=f"(?s){words}"):
        open_engine(folder, **args)
    assert set(threading.enumerate()) <= before


# -- questions ----------------------------------------------------------------------------------------------------


def test_an_explanation_tells_the_cached_part_and_survives_the_request(engine):
    engine.flush_cache()
    prompt = list(range(1, 60))
    for rid in ("cold", "warm"):
        engine.generate(input_ids=prompt, sampling_params=GREEDY, rid=rid)
    cold, warm = engine.explain("cold"), engine.explain("warm")
    assert (cold.facts["cached_tokens"], warm.facts["cached_tokens"]) == (0, 58)
    assert (warm.facts["prompt_tokens"], warm.facts["completion_tokens"], warm.facts["finish"]) == (59, 6, "length")
    assert "58 reused" in str(warm)
    parts = [warm.facts[name] for name in ("wait_s", "prefill_s", "decode_s")]
    assert sum(parts) == pytest.approx(warm.facts["total_s"], rel=1e-6)
    with pytest.raises(InvalidRequest, match="rid is 'nobody'"):
        engine.explain("nobody")


def test_an_id_that_is_used_again_is_explained_by_its_last_request(engine):
    engine.generate(input_ids=A, sampling_params=GREEDY, rid="again")
    engine.generate(input_ids=B, sampling_params=GREEDY | {"max_new_tokens": 2}, rid="again")
    facts = engine.explain("again").facts
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (3, 2)
    assert facts["wait_s"] + facts["prefill_s"] + facts["decode_s"] == pytest.approx(facts["total_s"], rel=1e-6)


def test_a_disabled_event_log_serves_and_says_that_it_recorded_nothing(folder, expected):
    with open_engine(folder, event_log_size=0) as engine:
        result = engine.generate(input_ids=A, sampling_params=GREEDY, rid="silent")
        assert result["output_ids"] == expected
        with pytest.raises(InvalidRequest, match="recording is off"):
            engine.explain("silent")


def test_flushing_drops_what_nobody_uses_and_the_cache_explains_itself(engine):
    engine.flush_cache()
    engine.generate(input_ids=A, sampling_params=GREEDY)
    found = engine.cache.explain([*A, 99, 98])
    assert (found["prompt_tokens"], found["num_cached"], found["reason"]) == (7, 5, "diverged")
    assert engine.cache.explain(A, namespace="other")["reason"] == "other namespace"
    assert engine.flush_cache() == 10, "five of the prompt, and all but the last of the output"
    assert engine.cache.explain(A)["num_cached"] == 0
    assert engine.flush_cache() == 0
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        engine.cache.explain([])


def test_what_the_cache_says_of_a_prompt_is_a_sentence_with_both_texts(engine):
    engine.flush_cache()
    assert str(engine.cache.explain(A)) == "0 of 5 tokens would be reused: nothing is stored yet."
    output = engine.generate(input_ids=A, sampling_params=GREEDY, rid="maker")["output_ids"]
    goes_on = " ".join(map(str, output[:-1]))
    says = f"then the stored text goes on with {goes_on!r}, this prompt with '99 98'"
    assert str(engine.cache.explain([*A, 99, 98])) == f"5 of 7 tokens would be reused: {says}."
    assert str(engine.cache.explain(A)) == "4 of 5 tokens would be reused: all but the last, which is always computed."
    assert "5 tokens would match in another namespace" in str(engine.cache.explain([*A, 99], namespace="other"))
    engine.flush_cache()
    assert "was evicted" in str(engine.cache.explain(A)) or "nothing is stored yet" in str(engine.cache.explain(A))


def test_a_node_of_the_tree_is_found_by_its_text_and_tells_who_made_it(engine):
    engine.flush_cache()
    engine.generate(input_ids=A, sampling_params=GREEDY, rid="maker")
    (found,) = engine.cache.search(" ".join(map(str, A)))
    assert (engine.cache.node(found).token_ids, engine.cache.node(found).made_by) == (tuple(A), "maker")
    with pytest.raises(InvalidRequest, match="a node of the tree"):
        engine.cache.node(10**6)
    early = engine.cache.node(found)
    time.sleep(0.05)
    later = engine.cache.node(found)
    assert later.idle_s >= early.idle_s + 0.05, "also while the engine rests"
    assert later.age_s >= later.idle_s


def test_the_ledger_and_the_server_info_add_up(engine, folder):
    info, memory = engine.get_server_info(), engine.memory()
    assert info["model_path"] == str(folder)
    assert (info["context_length"], info["vocab_size"], info["max_total_num_tokens"]) == (512, 256, 2000)
    assert (info["device"], info["dtype"], info["num_running"]) == ("cpu", "float32", 0)
    assert info["kv_cache_dtype"] == memory["kv_cache_dtype"] == "float32"
    assert memory["kv_bytes_per_token"] == 2 * 2 * 2 * 8 * 4, "keys and values, layers, heads, head size, bytes"
    assert memory["tokens_free"] + memory["tokens_tree"] + memory["tokens_running"] == memory["kv_capacity_tokens"] == 2000
    assert memory["max_concurrency"] == {256: 7, 512: 3}


# -- the end ------------------------------------------------------------------------------------------------------


@contextmanager
def same_threads():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def no_collector():
    """Collects no garbage: with all of torch in memory it is done once in minutes."""
    gc.disable()
    yield
    gc.enable()


def test_after_shutdown_the_threads_and_the_memory_are_gone(folder, no_collector):
    with same_threads():
        engine = open_engine(folder)
        runner = weakref.ref(engine._handle.client._core.runner)
        model, keys = weakref.ref(runner().model), weakref.ref(runner().kv.views(0)[0])
        engine.generate(input_ids=[A, B], sampling_params=GREEDY)
        list(engine.generate(input_ids=A, sampling_params=GREEDY, stream=True))
        with engine.token_detail():
            engine.generate(input_ids=A, sampling_params=GREEDY)
        assert engine.cache.explain(A)
        engine.shutdown()
        engine.shutdown()
    assert runner() is None
    assert model() is None
    assert keys() is None


def test_an_engine_that_nobody_holds_any_more_ends(folder):
    before = set(threading.enumerate())
    engine = open_engine(folder)
    model = weakref.ref(engine._handle.client._core.runner.model)
    chunks = engine.generate(input_ids=A, sampling_params=GREEDY, stream=True)
    del engine
    gc.collect()
    assert list(chunks)[-1]["meta_info"]["completion_tokens"] == 6, "a stream that is read holds its engine"
    del chunks
    deadline = time.monotonic() + 60
    while (set(threading.enumerate()) - before or model() is not None) and time.monotonic() < deadline:
        time.sleep(0.02)
        gc.collect()
    assert set(threading.enumerate()) <= before
    assert model() is None


def test_use_after_shutdown_says_so(folder):
    with open_engine(folder) as engine:
        engine.generate(input_ids=A, sampling_params=GREEDY, rid="before")
    for use in (
        lambda: engine.generate(input_ids=A),
        lambda: asyncio.run(engine.async_generate(input_ids=A)),
        lambda: list(engine.generate(input_ids=A, stream=True)),
        engine.flush_cache,
        engine.memory,
        engine.get_server_info,
        lambda: engine.cache.explain(A),
    ):
        with pytest.raises(EngineDead, match="shut down"):
            use()
    engine.abort("before")
    assert engine.explain("before").facts["finish"] == "length", "what happened stays explainable"


def test_shutdown_ends_open_streams_with_an_error(folder):
    engine = open_engine(folder, **ROOMY)
    stream = engine.generate(input_ids=A, sampling_params=ENDLESS, stream=True)
    next(stream)
    engine.shutdown()
    with pytest.raises(EngineDead, match="shut down"):
        list(stream)


def test_several_engines_live_in_one_process(folder, expected):
    with open_engine(folder) as one, open_engine(folder, page_size=4) as two:
        streams = [engine.generate(input_ids=A, sampling_params=GREEDY, stream=True) for engine in (one, two)]
        assert [[chunk["output_ids"] for chunk in chunks][-1] for chunks in streams] == [expected, expected]
        one.shutdown()
        answers(two, expected)


# -- hidden states ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def last_hidden(folder):
    """Function from token ids to the last hidden states [T, H], of the same weights through transformers."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def of(ids):
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]

    return of


def check_hidden(result, prompt, last_hidden):
    states, whole = result["meta_info"]["hidden_states"], [*prompt, *result["output_ids"][:-1]]
    assert states[0].shape == (len(prompt), TINY_LLAMA["hidden_size"])
    assert [rows.shape for rows in states[1:]] == [(TINY_LLAMA["hidden_size"],)] * (len(result["output_ids"]) - 1)
    found = torch.cat([torch.tensor(rows).reshape(-1, TINY_LLAMA["hidden_size"]) for rows in states])
    torch.testing.assert_close(found, last_hidden(whole), atol=2e-5, rtol=1e-4)


def test_hidden_states_are_those_of_transformers_also_where_the_prompt_is_in_the_cache(engine, last_hidden):
    for _ in range(2):
        result = engine.generate(input_ids=A, sampling_params=GREEDY, return_hidden_states=True)
        check_hidden(result, A, last_hidden)
        assert result["meta_info"]["cached_tokens"] == 0, "a reused token has no hidden state"
    assert "hidden_states" not in engine.generate(input_ids=A, sampling_params=GREEDY)["meta_info"]


def test_hidden_states_of_samples_streams_and_log_probabilities(engine, last_hidden):
    asks = {"return_hidden_states": True, "return_logprob": True, "logprob_start_len": 0}
    for result in engine.generate(input_ids=B, sampling_params=DRAWN | {"n": 3}, **asks):
        check_hidden(result, B, last_hidden)
    *_, last = engine.generate(input_ids=B, sampling_params=GREEDY, stream=True, **asks)
    check_hidden(last, B, last_hidden)
    both = engine.generate(input_ids=[A, B], sampling_params=GREEDY, return_hidden_states=[True, False])
    assert ["hidden_states" in result["meta_info"] for result in both] == [True, False]


@pytest.mark.process
@pytest.mark.parametrize("process", [False, True])
def test_an_engine_may_return_hidden_states_of_every_request_whatever_its_chunks_and_its_memory(folder, last_hidden, process):
    args = {"chunked_prefill_size": 3, "max_total_tokens": 60, "schedule_conservativeness": 0.01, "page_size": 4}
    prompts = [[*A, i, *B, i, i] for i in range(4)]
    with open_engine(folder, return_hidden_states=True, process=process, **args) as small:
        results = small.generate(input_ids=prompts, sampling_params=GREEDY | {"max_new_tokens": 30})
        assert small.get_server_info()["num_retractions"] > 0, "the pool is meant to be too small"
    for prompt, result in zip(prompts, results, strict=True):
        check_hidden(result, prompt, last_hidden)


# -- without the prefix cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [{"enable_radix_cache": False}, {"disable_radix_cache": True}])
def test_without_the_prefix_cache_nothing_is_reused_or_kept(folder, engine, off):
    prompts = [A * 4, A * 4 + B]
    with open_engine(folder, **off) as without, open_engine(folder, enable_radix_cache=True) as reusing:
        for _ in range(2):
            results = without.generate(input_ids=prompts, sampling_params=GREEDY)
            again = reusing.generate(input_ids=prompts, sampling_params=GREEDY)
            assert ids_of(results) == ids_of(again)
            assert [result["meta_info"]["cached_tokens"] for result in results] == [0, 0]
        assert [result["meta_info"]["cached_tokens"] for result in again] == [19, 22]
        info = without.get_server_info()
        assert (info["tokens_tree"], info["tokens_free"]) == (0, info["max_total_num_tokens"])
        assert info["disable_radix_cache"] is True
        assert "0 reused, the prefix cache is off" in without.explain(results[1]["meta_info"]["id"]).sentence
        assert reusing.get_server_info()["tokens_tree"] > 0


@pytest.mark.parametrize("wrong", [{"enable_radix_cache": "no"}, {"enable_radix_cache": True, "disable_radix_cache": True}])
def test_a_prefix_cache_that_is_on_and_off_is_refused(wrong):
    with pytest.raises(InvalidRequest, match="enable_radix_cache"):
        ServerArgs.make(**wrong)
    assert not ServerArgs.make(enable_radix_cache=True, disable_radix_cache=False).disable_radix_cache


# -- NaN ----------------------------------------------------------------------------------------------------------


class Spoils(CustomLogitProcessor):
    def __call__(self, logits, custom_param_list=None):
        logits[:, :] = float("nan")
        return logits


@pytest.mark.parametrize("detected", [False, True])
def test_nan_ends_its_own_request_or_with_detection_warns_and_goes_on(folder, expected, detected, caplog):
    with open_engine(folder, enable_custom_logit_processor=True, enable_nan_detection=detected) as engine:
        fine, spoilt = engine.generate(input_ids=[A, B], sampling_params=GREEDY, custom_logit_processor=[None, Spoils().to_str()])
    assert fine["output_ids"] == expected
    reason = spoilt["meta_info"]["finish_reason"]
    if detected:
        assert reason == {"type": "length", "length": 6}
        assert "NaN in the edited logits" in caplog.text
    else:
        assert reason["type"] == "abort"
        assert "NaN at output position 0" in reason["message"]
