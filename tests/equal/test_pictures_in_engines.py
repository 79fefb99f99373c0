"""Pictures from a caller to tokens: all their forms, in this process and in another, cached, in pieces, and refused."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import family
import oracle
import pytest
import seeing
import test_llava as llava
import torch
from seeing import Case, opened, picture, png

import workbench
from workbench.errors import InvalidRequest, NotSupported, PromptTooLong
from workbench.html.parts import size
from workbench.magics.facts import engine_status
from workbench.native.prompts import Rendered
from workbench.process.messages import MESSAGES
from workbench.process.pictures import packed, unpacked
from workbench.types import Array, FinishReason, Picture, Request, SamplingParams

PROMPT = "What is <image> this?"
GREEDY = {"max_new_tokens": 12, "temperature": 0, "ignore_eos": True}
NUM_TOKENS = 16
"""Tokens of one picture."""


@pytest.fixture(scope="module")
def reference() -> Any:
    return llava.made()


@pytest.fixture(scope="module")
def folder(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeing.saved(reference, llava.processor(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[workbench.Engine]:
    with opened(folder) as engine:
        yield engine


def expected(reference: Any, *cases: Case) -> list[list[int]]:
    return seeing.expected(reference, llava.processor(), *cases, count=GREEDY["max_new_tokens"])


def ids_of(results: Any) -> list[list[int]]:
    return [one["output_ids"] for one in results]


@pytest.mark.parametrize("options", [{}, {"chunked_prefill_size": 7, "page_size": 4}, {"process": True}])
def test_pictures_are_continued_as_by_transformers(reference: Any, folder: Path, options: dict[str, Any]):
    one, other = picture(1), picture(2)
    wanted = expected(
        reference, Case(PROMPT, (one,)), Case(PROMPT, (other,)), Case("<image> or <image>?", (one, other)), Case("x")
    )
    with opened(folder, **options) as engine:
        prompts = [PROMPT, PROMPT, "<image> or <image>?", "x"]
        results = engine.generate(prompts, GREEDY, image_data=[png(one), [png(other)], [png(one), png(other)], None])
        assert ids_of(results) == wanted
        again = engine.generate(PROMPT, GREEDY, image_data=png(one))
        assert again["output_ids"] == wanted[0]
        assert again["meta_info"]["prompt_tokens"] == len("What is  this?") + NUM_TOKENS
        assert again["meta_info"]["cached_tokens"] > NUM_TOKENS


def test_every_form_of_a_picture_is_the_same_one(reference: Any, engine: workbench.Engine, tmp_path: Path):
    one = picture(5)
    data, path = png(one), tmp_path / "one.png"
    path.write_bytes(data)
    text = base64.b64encode(data).decode()
    forms = [data, str(path), path, text, f"data:image/png;base64,{text}", one, [one], [str(path)]]
    (wanted,) = expected(reference, Case(PROMPT, (one,)))
    results = [engine.generate(PROMPT, GREEDY, image_data=form) for form in forms]
    assert ids_of(results) == [wanted] * len(forms)
    assert all(one["meta_info"]["cached_tokens"] >= NUM_TOKENS for one in results[1:])


def test_two_pictures_under_one_prefix_share_no_kv(engine: workbench.Engine):
    engine.flush_cache()
    first = engine.generate(PROMPT, GREEDY, image_data=png(picture(11)))
    second = engine.generate(PROMPT, GREEDY, image_data=png(picture(12)))
    third = engine.generate(PROMPT, GREEDY, image_data=png(picture(11)))
    assert second["meta_info"]["cached_tokens"] == len("What is ")
    assert third["meta_info"]["cached_tokens"] >= len("What is ") + NUM_TOKENS
    assert first["output_ids"] == third["output_ids"] != second["output_ids"]


def test_ids_with_placeholders_and_with_all_tokens(reference: Any, engine: workbench.Engine):
    one = picture(1)
    seen = seeing.Seen(reference, llava.processor(), Case(PROMPT, (one,)))
    short = engine.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    results = [engine.generate(input_ids=ids, sampling_params=GREEDY, image_data=one) for ids in (short, list(seen.ids))]
    assert ids_of(results) == expected(reference, Case(PROMPT, (one,))) * 2


def test_samples_and_streams_have_the_picture(reference: Any, engine: workbench.Engine):
    one = png(picture(1))
    (wanted,) = expected(reference, Case(PROMPT, (picture(1),)))
    assert ids_of(engine.generate(PROMPT, GREEDY, n=2, image_data=one)) == [wanted] * 2
    assert list(engine.generate(PROMPT, GREEDY, stream=True, image_data=one))[-1]["output_ids"] == wanted


def test_one_picture_twice_is_one_in_the_tree(reference: Any, engine: workbench.Engine):
    one, other = picture(21), picture(22)
    cases = [Case("<image> and <image>?", pair) for pair in ((one, one), (one, other), (other, one))]
    results = engine.generate([case.text for case in cases], GREEDY, image_data=[[*map(png, case.pictures)] for case in cases])
    assert ids_of(results) == expected(reference, *cases)
    again = engine.generate(cases[0].text, GREEDY, image_data=[png(one)] * 2)
    assert again["output_ids"] == results[0]["output_ids"]
    assert again["meta_info"]["cached_tokens"] == again["meta_info"]["prompt_tokens"] - 1


def test_a_picture_in_a_second_turn_reuses_the_first(reference: Any, engine: workbench.Engine):
    one, other = picture(31), picture(32)
    first = "user: <image>What?assistant: It."
    engine.generate(first, GREEDY, image_data=png(one))
    case = Case(f"{first}user: And <image>?", (one, other))
    second = engine.generate(case.text, GREEDY, image_data=[png(one), png(other)])
    assert [second["output_ids"]] == expected(reference, case)
    assert second["meta_info"]["cached_tokens"] >= len(first) - len("<image>") + NUM_TOKENS


def test_a_constraint_behind_a_picture(reference: Any, engine: workbench.Engine):
    seen = seeing.Seen(reference, llava.processor(), Case(PROMPT, (picture(1),)))
    letters = [engine.tokenizer.encode(letter)[0] for letter in "abc"]
    wanted: list[int] = []
    for _ in range(8):
        scores = seen(torch.tensor([[*seen.ids, *wanted]])).logits[0, -1]
        wanted.append(max(letters, key=lambda token: float(scores[token])))
    params = {"max_new_tokens": 8, "temperature": 0, "regex": "[abc]{8}"}
    for n in (1, 2):
        results = engine.generate(PROMPT, params, n=n, image_data=png(picture(1)))
        assert ids_of([results] if n == 1 else results) == [wanted] * n


def test_a_conversation_with_pictures(reference: Any, engine: workbench.Engine):
    one, other = picture(1), picture(2)
    url = "data:image/png;base64," + base64.b64encode(png(one)).decode()
    parts = [
        {"type": "text", "text": "Look at"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image", "image": other},
        {"type": "text", "text": "now"},
    ]
    result = engine.chat([{"role": "user", "content": parts}], GREEDY)
    assert [result["output_ids"]] == expected(reference, Case("user: Look at<image><image>nowassistant: ", (one, other)))


def test_retracted_requests_compute_their_pictures_again(reference: Any, folder: Path):
    cases = [Case(PROMPT, (picture(seed),)) for seed in range(6)]
    wanted = expected(reference, *cases)
    with opened(folder, max_total_tokens=128, schedule_conservativeness=0.01) as engine:
        results = engine.generate([PROMPT] * 6, GREEDY, image_data=[png(case.pictures[0]) for case in cases])
        retracted = [event for event in engine.log.read(0)[1] if type(event).__name__ == "RequestRetracted"]
    assert retracted
    assert ids_of(results) == wanted


def jpeg(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG")
    return buffer.getvalue()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no picture": ({"prompt": PROMPT, "image_data": b"hello, no picture"}, "it must be a picture"),
    "cut off": ({"prompt": PROMPT, "image_data": jpeg(picture(1, 400, 400))[:900]}, "cut off or damaged"),
    "no file": ({"prompt": PROMPT, "image_data": "/no/such/file.png"}, "a file that exists"),
    "more pictures": ({"prompt": PROMPT, "image_data": [png(picture(1))] * 2}, "1 <image> for 2 pictures"),
    "fewer pictures": ({"prompt": "<image><image>", "image_data": png(picture(1))}, "2 <image> for 1 picture"),
    "no pictures": ({"prompt": "<image> and <image>"}, "2 <image> for 0 pictures"),
    "no pictures in ids": ({"input_ids": [258, 65]}, "1 <image> for 0 pictures"),
    "no pictures in the second": ({"prompt": ["a", "<image>"]}, "1 <image> for 0 pictures"),
    "no placeholder": ({"prompt": "What?", "image_data": png(picture(1))}, "0 <image> for 1 picture"),
    "word": ({"prompt": PROMPT, "image_data": png(picture(1)), "modalities": "smell"}, "one of image, multi-images, video"),
    "list": ({"prompt": [PROMPT, PROMPT], "image_data": png(picture(1))}, "one value for 2 prompts"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused_and_the_engine_goes_on(engine: workbench.Engine, name: str):
    arguments, message = BAD[name]
    with pytest.raises(InvalidRequest, match=re.escape(message)) as refused:
        engine.generate(sampling_params=GREEDY, **arguments)
    assert refused.value.hint or "must be" in refused.value.message
    assert len(str(refused.value)) < 400
    assert len(engine.generate(PROMPT, GREEDY, image_data=png(picture(1)))["output_ids"]) == 12


def test_places_that_are_not_allowed(engine: workbench.Engine):
    with pytest.raises(NotSupported, match=r"not fetched from example\.org"):
        engine.generate(PROMPT, GREEDY, image_data="https://example.org/a.png")


def test_the_room_for_vectors_is_a_setting(folder: Path):
    with opened(folder, picture_memory_mb=1) as engine:
        info = engine.get_server_info()
        assert (info["picture_memory_mb"], info["picture_memory_bytes"], info["picture_bytes"]) == (1, 1 << 20, 0)
        engine.generate(PROMPT, GREEDY, image_data=png(picture(1)))
        used = engine.get_server_info()["picture_bytes"]
        assert 0 < used < 1 << 20
        status = engine_status("e", engine, place="here", uptime_s=1)
        assert status.pictures == f"{size(used)} in use, 1.0 MiB at most"


def test_too_many_pixels_are_refused_before_they_are_decoded(engine: workbench.Engine):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, format="PNG")
    with pytest.raises(InvalidRequest, match="9,000 x 9,000 pixels"):
        engine.generate(PROMPT, GREEDY, image_data=buffer.getvalue())


def test_a_picture_longer_than_the_context(folder: Path):
    with opened(folder, context_length=24) as engine, pytest.raises(PromptTooLong):
        engine.generate(PROMPT, GREEDY, image_data=png(picture(1)))


def test_a_text_model_takes_no_pictures(tmp_path: Path):
    folder = family.written(family.made("llama"), tmp_path)
    seeing.tokenizer().save_pretrained(folder)
    with opened(folder) as engine:
        with pytest.raises(NotSupported, match="reads text and no pictures"):
            engine.generate(PROMPT, GREEDY, image_data=png(picture(1)))
        assert engine.generate("x", GREEDY)["meta_info"]["finish_reason"] == FinishReason("length", length=12).to_dict()


def test_a_model_that_sees_reads_text_alone(reference: Any, engine: workbench.Engine):
    assert [engine.generate("Plain text.", GREEDY)["output_ids"]] == expected(reference, Case("Plain text."))


@pytest.mark.parametrize(
    "template", [seeing.TEMPLATE, "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}assistant: "]
)
def test_programs_show_pictures(reference: Any, folder: Path, template: str, tmp_path: Path):
    one, other = picture(1), picture(2)
    path = tmp_path / "one.png"
    one.save(path)

    @workbench.function
    def asked(s):
        s += workbench.user(workbench.image(str(path)) + "Who?")
        s += workbench.assistant(workbench.gen("who", max_tokens=12, temperature=0, ignore_eos=True))

    @workbench.function
    def plain(s):
        s += "See " + workbench.image(png(other))
        s += workbench.gen("what", max_tokens=12, temperature=0, ignore_eos=True)

    (tmp_path / "template.jinja").write_text(template)
    with opened(folder, chat_template=str(tmp_path / "template.jinja")) as engine:
        texts = [asked.run(backend=engine)["who"], plain.run(backend=engine)["what"]]
        words = engine.tokenizer
        break_ = "" if template == seeing.TEMPLATE else "\n"
        cases = (Case(f"user: <image>{break_}Who?assistant: ", (one,)), Case("See <image>", (other,)))
        assert texts == [words.decode(ids) for ids in expected(reference, *cases)]


def test_a_program_scores_options_behind_a_picture(reference: Any, engine: workbench.Engine):
    """The scores are those of transformers: the mean log-probability of an option's tokens."""
    choices = [" cat", " dogs"]

    @workbench.function
    def asked(s):
        s += "See " + workbench.image(png(picture(2)))
        s += workbench.gen("what", choices=choices)

    state = asked.run(backend=engine)
    scores = []
    for choice in choices:
        seen = seeing.Seen(reference, llava.processor(), Case(f"See <image>{choice}", (picture(2),)))
        places = range(len(seen.ids) - len(choice), len(seen.ids))
        logprobs = seen.logits.log_softmax(-1)
        scores.append(sum(float(logprobs[at - 1, seen.ids[at]]) for at in places) / len(places))
    meta = state.get_meta_info("what")
    assert meta["normalized_prompt_logprobs"] == pytest.approx(scores, abs=1e-4)
    assert state["what"] == choices[scores.index(max(scores))]


def test_the_branches_of_a_fork_share_a_picture(reference: Any, engine: workbench.Engine):
    one = picture(21)
    tails = [" first", " second", " third"]
    metas: list[Any] = []

    @workbench.function
    def asked(s):
        s += "Both " + workbench.image(png(one))
        forks = s.fork(len(tails))
        for fork, tail in zip(forks, tails, strict=True):
            fork += tail + workbench.gen("says", max_tokens=12, temperature=0, ignore_eos=True)
        forks.join()
        s["all"] = [fork["says"] for fork in forks]
        metas.extend(fork.get_meta_info("says") for fork in forks)

    state = asked.run(backend=engine)
    words = engine.tokenizer
    assert state["all"] == [
        words.decode(ids) for ids in expected(reference, *(Case(f"Both <image>{tail}", (one,)) for tail in tails))
    ]
    assert all(meta["cached_tokens"] >= len("Both ") + NUM_TOKENS for meta in metas)


def test_a_session_goes_on_behind_its_pictures(reference: Any, engine: workbench.Engine):
    one, other = picture(31), picture(32)
    session = engine.open_session()
    first = engine.generate("A <image> b", GREEDY, image_data=one, session_params={"id": session})
    behind = {"id": session, "rid": first["meta_info"]["id"]}
    second = engine.generate(" and <image>?", GREEDY, image_data=other, session_params=behind)
    third = engine.generate(" then?", GREEDY, session_params=behind | {"rid": second["meta_info"]["id"]})
    cut = engine.generate(" so?", GREEDY, session_params=behind | {"offset": len("A ") + NUM_TOKENS})
    with pytest.raises(InvalidRequest, match="is within a picture"):
        engine.generate(" so?", GREEDY, session_params=behind | {"offset": 5})
    engine.close_session(session)
    both = seeing.Seen(reference, llava.processor(), Case("A <image> b and <image>?", (one, other)))
    at = len("A  b") + NUM_TOKENS  # where the first answer stands
    ids = (*both.ids[:at], *first["output_ids"], *both.ids[at:])
    assert second["output_ids"] == [*oracle.greedy(both, ids, 12).output]
    ids = (*ids, *second["output_ids"], *engine.tokenizer(" then?", add_special_tokens=False)["input_ids"])
    assert third["output_ids"] == [*oracle.greedy(both, ids, 12).output]
    assert ids_of([cut]) == expected(reference, Case("A <image> so?", (one,)))


@pytest.mark.parametrize("num_pictures", [0, 1])
def test_a_text_that_a_template_wrote_stays_one(folder: Path, num_pictures: int):
    """A tokenizer adds no begin token to it: the template wrote that."""
    eyes, words = seeing.eyes_of(folder)
    given: list[str] = []

    def encode(text: str) -> tuple[int, ...]:
        given.append(text)
        return words.encode(text)

    eyes.prompt(Rendered("<image>" * num_pictures), Case("", (picture(1),) * num_pictures).shown, encode, is_local=True)
    assert isinstance(given[0], Rendered)


def test_samples_send_their_picture_to_a_process_once():
    arrays = {"pixels": Array(bytes(10_000), "uint8", (10_000,))}
    one, other = (Picture(digest=name, arrays=arrays, num_tokens=2, places=((i, 2),), thumbnail="t" * 500)
                  for i, name in enumerate("ab"))  # fmt: skip
    requests = [
        Request(rid=f"r{i}", input_ids=(1,) * 4, params=SamplingParams(), pictures=(one, other.moved(i))) for i in range(4)
    ]
    call = MESSAGES["submit"].call(1, packed(requests))
    assert len(call.arguments) < 26_000
    assert unpacked(MESSAGES["submit"].read_arguments(call)["requests"]) == requests


def test_views_and_answers_name_pictures(folder: Path):
    with opened(folder) as engine:
        engine.generate("<image> a", GREEDY, image_data=png(picture(1)), rid="one")
        engine.generate("<image> b", GREEDY, image_data=png(picture(2)), rid="two")
        named = [node.text for node in map(engine.cache.node, engine.cache.search("[picture"))]
        assert [text[: text.index("]") + 1] for text in named] == ["[picture 1: 16 tokens]", "[picture 2: 16 tokens]"]
        for name in ("tree", "batch", "dashboard", "kv", "tokens", "throughput"):
            view = engine.view(name, live=False)
            assert view._repr_html_(), name
            if name in ("tree", "batch"):
                assert "picture 2: 16 tokens" in str(view) + view._repr_html_(), name
        parts = [{"type": "image", "image": png(picture(1))}, {"type": "text", "text": "Who?"}]
        talk = engine.view("template", live=False, messages=[{"role": "user", "content": parts}])
        assert "Who?" in str(talk)
        assert "[picture: 16 tokens, 40 x 30 pixels]" in str(talk)
        assert (talk._repr_html_().count("data:image/jpeg"), talk.turn.pictures[0].num_tokens) == (1, NUM_TOKENS)
        engine.chat([{"role": "user", "content": parts}], GREEDY)
        talk = engine.view("template", live=False, messages=[{"role": "user", "content": parts}])
        assert talk.num_cached == len(talk.turn.tokens) - 1, "what a chat stored is what the view would send"
