"""An engine behind HTTP from a notebook, and the views of a server from elsewhere."""

from __future__ import annotations

import time

import httpx
import pytest
from byte_model import write_byte_model

import workbench
from workbench.api.remote import MOST_EVENTS
from workbench.errors import BackendFailed, EngineDead, InvalidRequest, NotSupported, UnknownParameter
from workbench.events import EventLog
from workbench.server import inspect

PARAMS = {"max_new_tokens": 5, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_byte_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def engine(folder):
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=4000) as engine:
        yield engine


@pytest.fixture(scope="module")
def served(engine):
    with workbench.serve(engine, port=0, api_key="k", admin_api_key="boss") as served:
        yield served


@pytest.fixture
def attached(served):
    with workbench.attach(served.url, "k") as attached:
        yield attached


def post(served, path="/generate", key="k", **body):
    answer = httpx.post(served.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def seen(attached, rid):
    """Waits until the attached log has the end of a request."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(type(event).__name__ == "RequestFinished" and event.rid == rid for event in attached.log.read()[1]):
            return
        time.sleep(0.02)
    raise AssertionError(f"{rid} does not appear")


def test_the_server_shares_the_engine_and_its_cache(engine, served):
    prompt = "the same words for both, twice"
    here = engine.generate(prompt, **PARAMS)
    there = post(served, text=prompt, sampling_params=PARAMS)
    assert there["output_ids"] == here["output_ids"]
    assert there["meta_info"]["cached_tokens"] >= len(prompt) - 1
    again = engine.generate(prompt + " and more", **PARAMS)
    assert again["meta_info"]["cached_tokens"] >= len(prompt)


def test_views_name_the_client_of_a_request(engine, served):
    answer = post(served, "/v1/completions", prompt="hello there", max_tokens=3)
    explanation = engine.explain(answer["id"])
    assert "sent by /v1/completions from 127.0.0.1 (python-httpx/" in str(explanation)
    own = engine.generate("mine", **PARAMS)["meta_info"]["id"]
    assert "sent by" not in str(engine.explain(own))
    assert "sent by /v1/completions" in engine.view("batch", live=False).to_html()


def test_an_attached_engine_answers_what_the_engine_answers(engine, served, attached):
    rid = post(served, text="what is explained here", sampling_params=PARAMS)["meta_info"]["id"]
    seen(attached, rid)
    assert attached.explain(rid).to_dict() == engine.explain(rid).to_dict()
    assert str(attached.explain(rid)) == str(engine.explain(rid))
    assert attached.cache.explain("what is explained here!") == engine.cache.explain("what is explained here!")
    assert attached.memory()["kv_capacity_tokens"] == engine.memory()["kv_capacity_tokens"] == 4000
    assert attached.get_server_info()["api_key"] == "***"
    assert attached.tokenizer.encode("hello") == engine.tokenizer.encode("hello")
    for name in ("tree", "batch", "throughput", "kv", "tokens"):
        assert attached.view(name, live=False).to_text()
    assert "what is explained here" in attached.view("tree", live=False).to_text()


def test_constraints_are_explained_far_away(engine, served, attached):
    meta = post(served, text="a", sampling_params=PARAMS | {"regex": "[0-9]{5}"})["meta_info"]
    seen(attached, meta["id"])
    assert str(attached.why(meta["id"], "x", step=0)) == str(engine.why(meta["id"], "x", step=0))
    assert attached.mask(meta["id"], step=1).num_allowed == 10


def test_readers_change_nothing_unless_they_may(engine, served, attached):
    for change in (attached.flush_cache, attached.measure_bandwidth, lambda: attached.abort("x"), attached.token_detail):
        with pytest.raises(NotSupported, match="only watched"):
            change()
    with workbench.attach(served.url, "k", read_only=False) as reader, pytest.raises(BackendFailed, match="401"):
        reader.flush_cache()
    with workbench.attach(served.url, "boss", read_only=False) as owner:
        post(served, text="some words to drop", sampling_params=PARAMS)
        assert owner.flush_cache() > 0
        assert owner.measure_bandwidth() == owner.get_server_info()["memory_bandwidth"] > 0
        with owner.token_detail():
            rid = post(served, text="in detail", sampling_params=PARAMS)["meta_info"]["id"]
        seen(owner, rid)
        assert not engine.detail.is_on


def test_a_wrong_address_or_key_is_refused(served, folder):
    with pytest.raises(BackendFailed, match="401"):
        workbench.attach(served.url, "wrong")
    with pytest.raises(InvalidRequest, match="http://"):
        workbench.attach("localhost:1")
    with pytest.raises(BackendFailed, match="no server answers"):
        workbench.attach("http://127.0.0.1:9")


def test_all_that_the_server_holds_is_there_at_once(engine, served, monkeypatch):
    rids = [engine.generate(f"history {i}", **PARAMS)["meta_info"]["id"] for i in range(150)]
    assert engine.log.num_added > 2000
    monkeypatch.setattr(inspect, "MOST_BEHIND", 100)
    with workbench.attach(served.url, "k", history=5000) as attached:
        for rid in (rids[0], rids[-1]):
            assert str(attached.explain(rid)) == str(engine.explain(rid))


def test_each_event_is_read_from_the_log_once_however_many_messages_carry_it(engine, served, monkeypatch):
    while engine.log.num_added < 5 * MOST_EVENTS:
        engine.generate([f"long history {i}" for i in range(20)], PARAMS | {"max_new_tokens": 40})
    num_added, num_read, read = engine.log.num_added, [], EventLog.read

    def counted(log, since=0):
        found = read(log, since)
        if log is engine.log:
            num_read.append(len(found[1]))
        return found

    monkeypatch.setattr(EventLog, "read", counted)
    with workbench.attach(served.url, "k", history=num_added) as attached:
        assert attached.log.num_added == num_added
        assert read(attached.log)[1] == read(engine.log)[1]
    assert sum(num_read) < 1.2 * num_added


def test_a_slow_reader_begins_again_from_the_present_state(engine, served, monkeypatch):
    with workbench.attach(served.url, "k", history=0) as attached:
        assert attached.view("tree", live=False).to_text()
        monkeypatch.setattr(inspect, "MOST_BEHIND", 10)
        before = attached.log.num_added
        for i in range(20):
            engine.generate(f"prompt number {i} of many", **PARAMS)
        monkeypatch.undo()
        last = post(served, text="after the gap", sampling_params=PARAMS)["meta_info"]["id"]
        seen(attached, last)
        assert attached.log.read(before)[0] > before, "events were left out"
        assert attached.cache.search("prompt number") == engine.cache.search("prompt number") != []


def test_a_server_on_a_used_port_or_with_unknown_settings_is_refused(engine, served):
    with pytest.raises(InvalidRequest, match="port"):
        workbench.serve(engine, port=int(served.url.rpartition(":")[2]))
    with pytest.raises(UnknownParameter, match="prot"):
        workbench.serve(engine, prot=1)


def test_the_engine_outlives_its_server_and_readers_see_its_end(folder):
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=2000) as engine:
        served = workbench.serve(engine, port=0)
        attached = workbench.attach(served.url)
        assert "serving" in repr(served)
        engine.shutdown()
        deadline = time.monotonic() + 60
        while not attached._handle.client.ended and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "shut down" in attached._handle.client.ended
        assert httpx.get(f"{served.url}/health").status_code == 503
        attached.close()
        served.stop()
        assert not served.is_open
        with pytest.raises(EngineDead):
            workbench.serve(engine, port=0)
    with workbench.Engine(folder, load_format="dummy", dtype="float32", max_total_tokens=2000) as engine:
        workbench.serve(engine, port=0).stop()
        assert engine.generate("on", **PARAMS)["output_ids"]


def test_the_page_is_for_browsers_and_ollamas_words_for_others(served):
    assert httpx.get(served.url).text == "Ollama is running"
    assert httpx.head(served.url).status_code == 200
    head = {"authorization": "Bearer k"}
    for path in ("/health", "/v1/models", "/engine/events", "/page/events"):
        assert httpx.head(served.url + path, headers=head, timeout=60).status_code == 200
    page = httpx.get(served.url, headers={"accept": "text/html,*/*"})
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("page.js", "page.css", "docs.js", "view-tree.js", "view-batch.css"):
        assert httpx.get(f"{served.url}/page/static/{name}").status_code == 200
    for name in ("routes.py", "view-x.js", "..%2froutes.py", "view-tree.py"):
        assert httpx.get(f"{served.url}/page/static/{name}").status_code in (401, 404)
    assert httpx.get(f"{served.url}/page/events").status_code == 401
    head = {"authorization": "Bearer k"}
    body = {"page": "none", "view": "tree", "message": {"do": "detail", "id": 1}}
    assert httpx.post(f"{served.url}/page/ask", json=body, headers=head).status_code == 404


def test_a_prefix_of_a_proxy_is_in_the_page_and_hides_no_route(engine):
    with workbench.serve(engine, port=0, root_path="/llm", api_key="k", admin_api_key="boss") as served:
        assert '<base href="/llm/">' in httpx.get(served.url, headers={"accept": "text/html"}).text
        head = {"authorization": "Bearer k"}
        for path in ("/v1/models", "/llm/v1/models"):
            assert httpx.get(served.url + path, headers=head).status_code == 200
        for path in ("/flush_cache", "/llm/flush_cache"):
            assert httpx.post(served.url + path, headers=head).status_code == 401
        assert httpx.get(f"{served.url}/openapi.json", headers=head).json()["servers"] == [{"url": "/llm"}]


def test_a_served_name_is_shown_whole_with_its_colon(engine):
    name = "org/model:v1.2"
    with workbench.serve(engine, port=0, served_model_name=name) as served:
        assert [each["id"] for each in httpx.get(f"{served.url}/v1/models").json()["data"]] == [name]
        for asked in (name, "org/model", "any"):
            answer = httpx.post(f"{served.url}/v1/completions", json={"model": asked, "prompt": "a", "max_tokens": 1}, timeout=60)
            assert answer.json()["model"] == name


def test_a_page_gets_states_and_answers_and_is_forgotten_when_it_leaves(engine, served):
    import json

    head = {"authorization": "Bearer k"}
    with httpx.stream("GET", f"{served.url}/page/events", headers=head, timeout=60) as answer:
        lines = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        page = next(lines)["page"]
        post(served, text="seen on the page", sampling_params=PARAMS)
        trees = (each["news"].get("tree", {}) for each in lines)
        rows = (json.dumps([tree.get("rows"), tree.get("changed")]) for tree in trees)
        assert any("seen on the page" in drawn for drawn in rows)
        bodies = ({"do": "detail", "kind": "step", "id": 1}, {"do": "skip", "num": 1}, {"do": "nonsense"})
        statuses = []
        for message in bodies:
            body = {"page": page, "view": "batch", "message": message}
            statuses.append(httpx.post(f"{served.url}/page/ask", json=body, headers=head).status_code)
        assert statuses == [200, 200, 400]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (
            httpx.post(f"{served.url}/page/ask", json={"page": page, "view": "batch", "message": {}}, headers=head).status_code
            == 404
        ):
            return
        time.sleep(0.05)
    raise AssertionError("the page is still there")
