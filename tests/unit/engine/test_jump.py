"""Jump-forward compared with decoding token by token: equally valid text, the tokenizer's own tokens, every account balanced."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from workbench.attention.registry import create_backend, create_store
from workbench.engine.fake import FakeRunner
from workbench.engine.jump import JumpForward, whole_characters
from workbench.engine.plan import NOTHING_ALLOWED, Sampled, SeqResult, StepResult
from workbench.engine.runner import TorchRunner
from workbench.engine.sampler import Sampler
from workbench.events import TokenSampled
from workbench.grammar import Vocabulary, compile_grammar
from workbench.grammar.unfinished import cut_short, expected
from workbench.model.load import load_model
from workbench.model.tiny import write_config
from workbench.testing import events_of, make_core, plain_loop, run_to_end
from workbench.text.detokenizer import TextStream
from workbench.text.tokenizer import Tokenizer
from workbench.types import FinishReason, Request, SamplingParams

VOCAB = 400
RECORD = {
    "type": "object", "additionalProperties": False, "required": ["name", "house", "length"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-c ]{1,4}$"},
        "house": {"enum": ["Gryffindor", "Slytherin", "Größe 漢"]},
        "length": {"type": "integer", "minimum": 1, "maximum": 99},
    },
}  # fmt: skip
GRAMMARS = [{"json_schema": RECORD}, {"regex": r"Name: [a-c]{1,3}, the (true|truthy) end\."}, {"regex": "漢字(é|e)ab"}]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Byte-level BPE with merges for the text around the values of the record, `",` and ` "` among it."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [json.dumps({"name": "abc", "house": h, "length": 12}) for h in ("Gryffindor", "Slytherin")] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([*texts, *["Name: abc, the true end. truthy"] * 20], trainer)
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"), frozenset({0}))


@pytest.fixture(scope="module")
def vocabulary(tokenizer) -> Vocabulary:
    return Vocabulary(tokenizer.hf, VOCAB, frozenset({0}))


def open_core(tokenizer, runner=None, *, off=False, **config):
    return make_core(
        vocab_size=VOCAB, eos_ids=frozenset({0}), runner=runner, **{"num_tokens": 2048, "context_length": 400} | config,
        text_for=lambda request: TextStream(tokenizer, request.input_ids, request.params),
        jump=JumpForward(tokenizer, Vocabulary(tokenizer.hf, VOCAB, frozenset({0}))), disable_jump_forward=off,
    )  # fmt: skip


def add(core, vocabulary, rid, prompt, params, **fields):
    made = SamplingParams.make({"max_new_tokens": 200, "temperature": 0, **params})
    request = Request(rid=rid, input_ids=tuple(prompt), params=made, **fields)
    ends = frozenset(made.stop_token_ids) | (frozenset() if made.ignore_eos else frozenset({0}))
    matcher = compile_grammar(made.constraint, vocabulary).start(ends) if made.constraint else None
    core.add(request, matcher=matcher)
    return request


def run(core):
    """Returns ids, text, flags, log-probabilities and the finish by request id."""
    outputs = run_to_end(core, 5000).items()
    return {rid: (out.token_ids, out.text, out.forced, out.logprobs, out.finish) for rid, out in outputs}


def is_valid(params, text):
    if "regex" in params:
        return re.fullmatch(params["regex"], text) is not None
    return jsonschema.Draft202012Validator(RECORD).is_valid(json.loads(text))


@pytest.mark.parametrize("params", GRAMMARS, ids=["record", "words", "unicode"])
@pytest.mark.parametrize("off", [False, True])
def test_the_text_is_valid_with_and_without_and_ids_spell_it(tokenizer, vocabulary, params, off):
    core = open_core(tokenizer, off=off)
    for i in range(8):
        add(core, vocabulary, f"r{i}", [40 + i, 60], params)
    for ids, text, forced, _, finish in run(core).values():
        assert finish.type == "stop"
        assert is_valid(params, text), text
        assert tokenizer.decode(ids) == text
        assert len(forced) == len(ids)
        assert any(forced) != off


def test_forced_stretches_are_the_tokenizers_own_encoding(tokenizer, vocabulary):
    core = open_core(tokenizer)
    add(core, vocabulary, "a", [40], {"json_schema": RECORD})
    ids, text, forced, _, _ = run(core)["a"]
    ends = [len(tokenizer.decode(ids[: i + 1]).encode()) for i in range(len(ids))]
    own = tokenizer.encode(text)
    own_ends = {len(tokenizer.decode(own[: i + 1]).encode()) for i in range(len(own))}
    inside = [end for end, flag in zip(ends, forced, strict=True) if flag]
    assert inside
    assert sum(end in own_ends for end in inside) == len(inside)


def test_many_tokens_cost_few_steps(tokenizer, vocabulary):
    steps = []
    for off in (False, True):
        core = open_core(tokenizer, off=off)
        add(core, vocabulary, "a", [40], {"regex": "(a|b)" + " Slytherin" * 10 + "(a|b)"})
        run(core)
        steps.append(core.scheduler.num_steps)
    assert steps[0] <= 5
    assert steps[1] > 20


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("page_size", [1, 4])
@pytest.mark.parametrize("num_tokens", [2048, 200])
def test_stretches_too_long_for_a_decode_step_get_pages(tokenizer, vocabulary, mixed, page_size, num_tokens):
    """They are computed in chunks, like a prompt, beside others that decode and wait; in a small pool others give way."""
    long = "(a|b)" + "q" * 100 + "(a|b){20}"  # each q is a token
    requests = {f"r{i}": long if i % 3 else "(a|b){40}" for i in range(9)}

    def texts(**config):
        core = open_core(tokenizer, context_length=180, page_size=page_size, **config)
        for i, (rid, pattern) in enumerate(requests.items()):
            add(core, vocabulary, rid, [40 + i, 60, 61], {"regex": pattern, "max_new_tokens": 150}, priority=i % 2)
        found = run(core)
        return {rid: found[rid][:3:2] + found[rid][4:] for rid in requests}, core

    alone, _ = texts(max_running_requests=1)
    assert all(sum(forced) >= 100 for rid, (_, forced, _) in alone.items() if requests[rid] == long)
    together, core = texts(
        num_tokens=num_tokens, enable_mixed_chunk=mixed, chunked_prefill_size=16, schedule_conservativeness=0.02
    )
    assert together == alone
    assert bool(core.scheduler.num_retractions) == (num_tokens == 200)


def test_a_text_that_can_only_end_makes_no_step_for_its_end(tokenizer, vocabulary):
    """The end token is in the output as if it had been drawn; if anything may still change the draw, it is drawn."""
    drawn: dict[str, dict] = {}
    for kind, more in {"jump": {}, "off": {}, "bias": {"logit_bias": {0: 1.0}}}.items():
        core = open_core(tokenizer, off=kind == "off")
        add(core, vocabulary, kind, [40], {"regex": "[a-c]{2}x[a-c]", **more})
        ids, text, forced, _, finish = run(core)[kind]
        drawn[kind] = {"ids": ids, "text": text, "end": forced[-1:], "finish": finish, "steps": core.scheduler.num_steps}
    assert drawn["jump"]["ids"] == drawn["off"]["ids"]
    assert drawn["jump"]["ids"][-1] == 0
    assert drawn["jump"]["finish"] == drawn["off"]["finish"] == FinishReason("stop", matched=0)
    assert (drawn["jump"]["end"], drawn["off"]["end"], drawn["bias"]["end"]) == ([True], [False], [False])
    assert drawn["bias"]["ids"] == drawn["jump"]["ids"]
    assert drawn["bias"]["steps"] == drawn["jump"]["steps"] + 1


def test_a_forced_end_that_could_merge_with_what_follows_stays_open(tokenizer, vocabulary):
    """` tru` is forced, and both `true` and `truthy` may be one token: the model chooses."""
    matcher = compile_grammar(SamplingParams(regex=" (true|truthy)").constraint, vocabulary).start()
    jump = JumpForward(tokenizer, vocabulary).jump(matcher.fork(), (40,), None, {0}, 100)
    spelled = "" if jump is None else tokenizer.decode(jump.token_ids)
    longer = [piece for piece in vocabulary.pieces if piece.startswith(b" tru") and len(piece) > 4]
    assert longer, "the vocabulary has a token that reaches over the end"
    assert len(spelled) < len(" tru")


@pytest.mark.parametrize(
    "data, whole", [(b"ab", b"ab"), ("é".encode()[:1], b""), (b"a" + "漢".encode()[:2], b"a"), (b"\xa9b", b"")]
)
def test_half_characters_are_not_forced(data, whole):
    assert whole_characters(data) == whole


@pytest.mark.parametrize("limit", range(1, 24))
def test_forced_tokens_count_and_a_cut_says_that_the_constraint_is_incomplete(tokenizer, vocabulary, limit):
    core = open_core(tokenizer)
    add(core, vocabulary, "a", [40], {"json_schema": RECORD, "max_new_tokens": limit})
    ids, text, _, _, finish = run(core)["a"]
    assert len(ids) <= limit
    assert tokenizer.decode(ids) == text
    if finish.type == "length":
        assert len(ids) == limit
        whole = text.endswith("}")
        assert finish.to_dict().get("constraint") == (None if whole else "incomplete")
        assert whole or "next may come" in finish.message


@pytest.mark.parametrize("return_logprob", [False, True])
@pytest.mark.parametrize("stop", ["house", '": "', "ame"])
def test_a_stop_string_inside_forced_text_ends_there(tokenizer, vocabulary, stop, return_logprob):
    core = open_core(tokenizer)
    params = {"json_schema": RECORD, "stop": [stop]}
    add(core, vocabulary, "a", [40], params, return_logprob=return_logprob)
    ids, text, forced, logprobs, finish = run(core)["a"]
    assert finish.matched == stop
    assert stop not in text
    assert tokenizer.decode(ids).startswith(text + stop)
    assert not tokenizer.decode(ids[:-1]).startswith(text + stop), "no token after the one that completes it"
    assert len(forced) == len(ids)
    assert len(logprobs) == (len(ids) if return_logprob else 0)


def test_without_end_tokens_a_forced_end_finishes_the_request(tokenizer, vocabulary):
    core = open_core(tokenizer)
    add(core, vocabulary, "a", [40], {"regex": "(a|b) Slytherin", "ignore_eos": True})
    assert re.fullmatch("(a|b) Slytherin", run(core)["a"][1])


def test_a_long_string_that_is_cut_is_told_in_words(vocabulary):
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    spec = SamplingParams.make({"json_schema": schema}).constraint
    text = '{"a": "' + "on and on " * 10
    matcher = compile_grammar(spec, vocabulary).start()
    assert matcher.accept_bytes(text.encode()) == len(text)
    assert cut_short(spec, text, expected(matcher)).startswith("cut inside a string of 100 characters")
    assert "maxLength" in cut_short(spec, text, expected(matcher))


def test_an_empty_mask_shows_the_text_and_what_was_expected(tokenizer, vocabulary):
    class Stuck(FakeRunner):
        def execute(self, plan):
            done = super().execute(plan)
            if plan.step > 3:
                nothing = SeqResult((Sampled(NOTHING_ALLOWED, error="no token is allowed"),))
                done = StepResult(tuple(nothing for _ in done.seqs))
            return done

    core = open_core(tokenizer, Stuck(VOCAB))
    add(core, vocabulary, "a", [40], {"regex": "Name: [a-c]{8}"})
    finish = run(core)["a"][-1]
    assert finish.type == "abort"
    assert "the text so far ends in 'Name: " in finish.message
    assert "next may come one of abc" in finish.message


@pytest.mark.heavy
@pytest.mark.parametrize("chunk, num_pages", [(1000, 2048), (3, 2048)])
def test_log_probabilities_of_forced_tokens_equal_transformers(tokenizer, vocabulary, tmp_path, chunk, num_pages):
    folder = write_config(tmp_path / "tiny", vocab_size=VOCAB)
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(folder)
    model = load_model(folder, dtype=torch.float32, device=torch.device("cpu"))
    kv = create_store(model.attention_specs(), num_pages, torch.float32, torch.device("cpu"))
    runner = TorchRunner(model, kv, create_backend("torch", kv), Sampler(VOCAB))
    core = open_core(tokenizer, runner, num_pages=num_pages, chunked_prefill_size=chunk)
    requests = [
        add(core, vocabulary, f"r{i}", [40 + i, 50, 60], params, return_logprob=True, logprob_start_len=i - 1, top_logprobs_num=2)
        for i, params in enumerate(GRAMMARS)
    ]
    found = run(core)
    for request in requests:
        ids, _, forced, logprobs, _ = found[request.rid]
        assert any(forced)
        assert [entry.token_id for entry in logprobs] == ids
        with torch.inference_mode():
            logits = theirs(torch.tensor([[*request.input_ids, *ids]])).logits[0]
        expected = logits[len(request.input_ids) - 1 : -1].log_softmax(-1)
        want = [float(expected[i, token]) for i, token in enumerate(ids)]
        assert [entry.logprob for entry in logprobs] == pytest.approx(want, abs=1e-4)
        assert [entry.top[0][0] for entry in logprobs] == pytest.approx(expected.max(-1).values.tolist(), abs=1e-4)


@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans(), st.sampled_from([1, 7, 60])), min_size=1, max_size=7
    ),
    aborts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=3),
    num_pages=st.sampled_from([90, 120, 600]),
    chunk=st.sampled_from([2, 16, 1000]),
    mixed=st.booleans(),
)
@settings(max_examples=60)
def test_any_mix_of_constrained_and_free_requests_balances(tokenizer, vocabulary, jobs, aborts, num_pages, chunk, mixed):
    core = open_core(
        tokenizer,
        num_pages=num_pages,
        context_length=80,
        chunked_prefill_size=chunk,
        enable_mixed_chunk=mixed,
        schedule_conservativeness=0.05,
    )
    asked = {}
    for i, (kind, first, return_logprob, limit) in enumerate(jobs):
        params = {"max_new_tokens": limit, "ignore_eos": kind == 3, **(GRAMMARS[kind] if kind < 3 else {})}
        asked[f"r{i}"] = kind, add(core, vocabulary, f"r{i}", [40 + first, 50, 60], params, return_logprob=return_logprob), params
    found, stopped = {}, set()
    for step in range(3000):
        for at, which in aborts:
            if at == step and core.abort(f"r{which}"):
                stopped.add(f"r{which}")
        if not core.has_work:
            break
        for out in core.step():
            assert out.rid not in found or found[out.rid][3] is None
            ids, text, logprobs, _ = found.get(out.rid, ([], "", [], None))
            found[out.rid] = [*ids, *out.token_ids], text + out.text, [*logprobs, *out.logprobs], out.finish
    core.cache.check()
    assert not core.cache.leases
    for rid, (kind, request, params) in asked.items():
        ids, text, logprobs, finish = found[rid]
        assert finish is not None
        assert tokenizer.decode(ids) == text
        assert len(logprobs) == (len(ids) if request.return_logprob else 0)
        logged = [e for e in core.log.read()[1] if isinstance(e, TokenSampled) and e.rid == rid]
        assert len({e.position for e in logged}) == len(logged)
        if kind == 3:
            assert ids == plain_loop(request.input_ids, len(ids), VOCAB)
        elif finish.type == "stop":
            assert is_valid(params, text)


def test_forced_text_that_is_cached_does_not_count_as_prompt(tokenizer, vocabulary):
    core = open_core(tokenizer)
    prompt = tokenizer.encode("Name of the wizard:")
    for rid in ("first", "again"):
        add(core, vocabulary, rid, prompt, GRAMMARS[0])
        cached = [out.num_cached for _ in range(300) if core.has_work for out in core.step()]
        assert cached[-1] == (0 if rid == "first" else len(prompt))


@pytest.mark.parametrize("return_logprob", [False, True])
@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("params", [*GRAMMARS, {"json_schema": RECORD, "stop": ["house"]}, {"ignore_eos": True}])
def test_drafts_change_no_constrained_output(tokenizer, vocabulary, params, off, return_logprob):
    """Drafts that are right, wrong or refused by the grammar, in drawn and in forced text."""

    def answers(propose):
        core = open_core(tokenizer, off=off, propose=propose, chunked_prefill_size=5)
        for i in range(6):
            add(core, vocabulary, f"r{i}", [40 + i, 60], params | {"max_new_tokens": 30}, return_logprob=return_logprob)
        found = run(core)
        told = {
            rid: [(e.position, e.token_id, e.forced, e.num_allowed) for e in events_of(core, TokenSampled, rid)] for rid in found
        }
        return found, told, core.scheduler.num_steps

    plain, told, num_plain = answers(None)

    def propose(seq):
        right, rng = plain[seq.rid][0][len(seq.output_ids) :][:5], random.Random(len(seq.output_ids))
        return tuple(token if rng.random() < 0.8 else rng.randrange(VOCAB) for token in right)

    drafted, told_drafted, num_drafted = answers(propose)
    assert drafted == plain
    assert told_drafted == told
    assert num_drafted < num_plain or not off
