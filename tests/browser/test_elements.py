"""Views change a page by `morph` and `patch` of dom.js: it becomes what is drawn, and what did not change stays."""

from __future__ import annotations

import pytest

pytest.importorskip("anywidget")
from workbench.views.live.scripts import script
from workbench.views.live.widget import VIEWS

pytestmark = pytest.mark.browser

LOAD = """async source => {
  const { el, morph, patch } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  let seed = 1;
  const draw = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const some = (n, make) => Array.from({ length: draw(n) }, make);
  const content = (depth) => some(5, () => (depth && draw(3) ? element(depth - 1) : ["a", "b", 7, null, false][draw(5)]));
  const element = (depth) => {
    const attrs = { class: ["x", "y", null][draw(3)], title: draw(2) ? "t" : undefined, hidden: draw(4) === 0 };
    return el(["p", "span", "div", "b"][draw(4)], attrs, content(depth));
  };
  const fresh = (children) => el("div", {}, children.map((c) => (c instanceof Node ? c.cloneNode(true) : c)));
  Object.assign(window, { el, morph, patch, draw, some, content, fresh });
}"""

MORPH = """rounds => {
  const node = el("div");
  const wrong = [];
  for (let i = 0; i < rounds; i++) {
    const children = content(3);
    const wanted = fresh(children);
    morph(node, ...children);
    if (!node.isEqualNode(wanted)) wrong.push([wanted.innerHTML, node.innerHTML]);
  }
  return wrong;
}"""

STAYS = """() => {
  const bar = (width, title) => el("span", { class: "bar", style: `width:${width}%`, title });
  const node = el("div");
  morph(node, bar(10, "first"), " text ", el("b", {}, "3"));
  const [first, text, number] = node.childNodes;
  const digit = number.firstChild;
  const seen = [];
  const watch = new MutationObserver((changes) => seen.push(...changes));
  watch.observe(node, { subtree: true, childList: true, attributes: true, characterData: true });
  morph(node, bar(10, "first"), " text ", el("b", {}, 4), bar(5, "second"));
  const changed = watch.takeRecords().map(({ type, target }) => [type, target.nodeName]);
  const stay = [first, text, number].every((child, i) => child === node.childNodes[i]) && digit === number.firstChild;
  return { stay, changed };
}"""

PATCH = """rounds => {
  const parent = el("div");
  const make = ({ name, text }) => el(name % 7 ? "span" : "b", { title: text }, `${name} ${text}`);
  const key = ({ name, text }) => `${name}:${text}`;
  const wrong = [];
  let before = new Map();
  for (let i = 0; i < rounds; i++) {
    let items = [...new Set(some(9, () => draw(12)))].map((name) => ({ name, text: "uvw"[draw(3)] }));
    if (draw(2)) items.sort((a, b) => a.name - b.name);
    patch(parent, items, key, make);
    const children = [...parent.childNodes];
    if (!parent.isEqualNode(fresh(items.map(make)))) wrong.push(["drawn", parent.innerHTML]);
    const now = new Map(items.map((item, i) => [key(item), children[i]]));
    for (const [name, child] of now) if (before.has(name) && before.get(name) !== child) wrong.push(["made anew", name]);
    before = now;
  }
  return wrong;
}"""

SCROLLS = """() => {
  const parent = el("div");
  const tokens = (first) => Array.from({ length: 400 }, (_, i) => first + i);
  const draw = (first) => patch(parent, tokens(first), String, (n) => el("span", {}, n));
  draw(0);
  let moved = 0;
  const insertBefore = parent.insertBefore.bind(parent);
  parent.insertBefore = (...nodes) => (moved++, insertBefore(...nodes));
  draw(3);
  return { moved, text: parent.firstChild.textContent, length: parent.childNodes.length };
}"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.evaluate(LOAD, script(VIEWS / "live" / "dom.js"))
    yield page
    page.close()


def test_what_is_morphed_is_what_is_drawn_anew(page) -> None:
    assert page.evaluate(MORPH, 2000) == []


def test_only_what_changed_is_touched(page) -> None:
    assert page.evaluate(STAYS) == {"stay": True, "changed": [["characterData", "#text"], ["childList", "DIV"]]}


def test_what_is_patched_is_what_is_drawn_anew_and_who_keeps_a_key_keeps_the_element(page) -> None:
    assert page.evaluate(PATCH, 2000) == []


def test_a_strip_that_scrolls_moves_nothing_that_stays(page) -> None:
    assert page.evaluate(SCROLLS) == {"moved": 3, "text": "3", "length": 400}
