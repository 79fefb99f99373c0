"""The page of a server in Chromium: a chat with the real model, the live views, the key, a prefix of a proxy, the API."""

from __future__ import annotations

import os
import re
import shlex

import httpx
import pytest

playwright = pytest.importorskip("playwright.sync_api")
import workbench  # noqa: E402

expect = playwright.expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def engine(smollm2):
    with workbench.Engine("smollm2-135m", max_total_tokens=8000) as engine:
        yield engine


@pytest.fixture
def page(new_context):
    context = new_context(viewport={"width": 1500, "height": 1400})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.outside = []
    page.on("request", lambda request: page.outside.append(request.url) if "127.0.0.1" not in request.url else None)
    yield page
    assert page.errors == []
    assert [url for url in page.outside if not url.startswith("data:")] == [], "everything comes from the server itself"
    context.close()


def say(page, text):
    page.fill("#say textarea", text)
    page.click("#send")
    page.wait_for_selector("#said li:last-child small")


def test_a_chat_streams_and_the_views_follow(engine, page, settles):
    with workbench.serve(engine, port=0) as served:
        page.goto(served.url)
        expect(page.locator("#served")).to_contain_text("smollm2-135m, context of")
        page.fill("#tokens", "24")
        page.fill("#temperature", "0")
        say(page, "Name three rivers.")
        answer = page.locator("#said li.assistant span").text_content()
        assert answer.strip()
        usage = page.locator("#said small").text_content()
        rid = usage.rpartition("; ")[2]
        assert re.match(r"\d+ tokens, first after \d+ ms; \d+ of \d+ prompt tokens from the cache; chatcmpl-", usage)
        assert "sent by /v1/chat/completions" in str(engine.explain(rid))
        expect(page.locator("#view-tree")).to_contain_text(answer.split()[0])
        expect(page.locator("#view-batch")).to_contain_text("step")
        expect(page.locator("#view-throughput svg")).to_have_count(4)
        expect(page.locator("#view-tokens .wb-strip")).to_contain_text(answer.split()[0])
        page.check("#detail")
        assert settles(lambda: engine.detail.is_on)
        assert engine.generate("In detail", max_new_tokens=3)
        expect(page.locator("#view-tokens .wb-strip .wb-l0, #view-tokens .wb-strip [class*=wb-l]").first).to_be_visible()
        page.uncheck("#detail")
        page.locator("#said small").first.click()
        expect(page.locator("#view-batch .wb-about")).to_contain_text(f"{rid}: ")
        engine.generate("A second prompt, from the notebook", max_new_tokens=4)
        expect(page.locator("#view-tree")).to_contain_text("from the notebook")
        say(page, "And another one?")
        assert "; 0 of" not in page.locator("#said small").last.text_content(), "the first turn is reused"
        page.locator("#view-kv").scroll_into_view_if_needed()
        assert page.locator("#view-kv .wb-kv").text_content()
        if folder := os.environ.get("WORKBENCH_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/page.png", full_page=True)


def test_the_page_needs_the_key_where_one_is_set(engine, page):
    with workbench.serve(engine, port=0, api_key="open sesame") as served:
        page.goto(served.url)
        expect(page.locator("#key")).to_be_visible()
        page.fill("#key input", "wrong")
        page.click("#key button")
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#served")).to_contain_text("API key")
        page.fill("#key input", "open sesame")
        page.click("#key button")
        expect(page.locator("#served")).to_contain_text("smollm2-135m")
        expect(page.locator("#key")).to_be_hidden()
        page.goto(f"{served.url}/docs")
        expect(page.locator("#state")).to_contain_text("routes")
        expect(page.locator("#routes")).to_contain_text("POST /v1/chat/completions")


def test_the_page_about_the_api_has_a_table_of_fields_and_calls_that_are_answered(engine, page):
    with workbench.serve(engine, port=0) as served:
        page.goto(f"{served.url}/docs")
        expect(page.locator("#state")).to_contain_text("a click on one shows its fields")
        page.fill("#search", "logprob_start_len")
        expect(page.locator("#routes section > details:visible")).to_have_count(1)
        page.fill("#search", "")
        for path in ("/generate", "/v1/chat/completions", "/v1/messages", "/tokenize"):
            route = page.locator("#routes section > details", has=page.get_by_role("heading", name=f"POST {path}", exact=True))
            route.locator("summary").first.click()
            assert route.locator("table").first.is_visible()
            call = shlex.split(route.locator("pre").first.text_content())
            assert call[:2] == ["curl", f"{served.url}{path}"]
            assert httpx.post(call[1], content=call[-1], timeout=60).status_code == 200
        row = page.locator("#routes tr", has=page.get_by_text("top_logprobs", exact=True)).first
        assert row.locator("td").nth(1).text_content() == "integer 0 to 20"
        expect(page.locator("#routes")).to_contain_text("Exactly one of text, input_ids and input_embeds is given.")
        if folder := os.environ.get("WORKBENCH_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/api.png")


def test_views_come_back_when_the_server_does_and_ends_are_said(engine, page):
    served = workbench.serve(engine, port=0)
    port = int(served.url.rpartition(":")[2])
    page.goto(served.url)
    expect(page.locator("#view-kv")).to_contain_text("free")
    served.stop()
    expect(page.locator("#served")).to_contain_text("fetch")
    with workbench.serve(engine, port=port):
        expect(page.locator("#served")).to_contain_text("smollm2-135m")
        engine.generate("After the break", max_new_tokens=4)
        expect(page.locator("#view-tree")).to_contain_text("After the break")
