"""Measures the live views: closed, open on a busy engine, with a browser beside them, and a tree of 50,000 nodes on a page."""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from workbench.bench.overhead import DECODE, decode, recording, taking_turns
from workbench.bench.report import Rows, add_row_args, markdown_table, run_rows, spread
from workbench.bench.workloads import Workload
from workbench.config import ServerArgs
from workbench.errors import NotSupported
from workbench.events import Event, NodeAdded
from workbench.views.fold import Fold
from workbench.views.live import VIEWS
from workbench.views.tree.fold import TreeFold

NUM_NODES = 50_000
CONVERSATION = [{"role": "system", "content": "You name things."}, {"role": "user", "content": "Name a river."}]
OPTIONS: dict[str, dict[str, Any]] = {"template": {"messages": CONVERSATION}}
"""The arguments that a view requires."""
ALONE = ("dashboard",)
"""Made of the others."""
PAGE_WIDTH, PAGE_HEIGHT = 1280, 1000


def add_args(parser: argparse.ArgumentParser) -> None:
    add_row_args(parser, ROWS)


def run(args: argparse.Namespace) -> int:
    return run_rows(args, ROWS)


def folds(server_args: ServerArgs, rounds: int) -> str:
    """Measures one event in each view, and a state after the events of a tenth of a second: made, written as JSON, its length."""
    import workbench

    with workbench.Engine(**server_args.to_dict()) as engine:
        events = {"8 streams": _log_of(engine, MANY_STEPS), "short requests": _log_of(engine, MANY_REQUESTS)}
        facts, tables = engine._source.facts, []
        for what, log in events.items():
            rows = []
            for name in VIEWS:
                if name not in ALONE:
                    fold = VIEWS[name].fold(facts, **OPTIONS.get(name, {}))
                    rows.append([name, *_costs(fold, log, rounds)])
            tables.append(markdown_table([f"{what} ({len(log):,} events)", "an event", "a state as JSON", "its size"], rows))
    return "\n\n".join(tables)


MANY_STEPS = Workload("streams", num_prompts=8, own_len=16, new_tokens=200)
MANY_REQUESTS = Workload("short requests", num_prompts=2000, own_len=12, new_tokens=2)
"""Each leaves a node in the tree."""
EVENTS_A_ROUND = 40


def _log_of(engine: Any, workload: Workload) -> list[Event]:
    first, vocab_size = engine.log.num_added, engine.get_server_info()["vocab_size"]
    params = {"temperature": 0, "max_new_tokens": workload.new_tokens, "ignore_eos": True}
    engine.generate(input_ids=workload.prompts(vocab_size, first), sampling_params=params)
    return engine.log.read(first)[1]


def _apply(fold: Fold[Any], events: Iterable[Event]) -> None:
    for event in events:
        fold.apply(event)


def _costs(fold: Fold[Any], events: list[Event], rounds: int) -> list[str]:
    """Returns medians over the last rounds of the log."""
    applied: list[float] = []
    made: list[float] = []
    sizes: list[int] = []
    start = max(len(events) - rounds * EVENTS_A_ROUND, 0)
    _apply(fold, events[:start])
    fold.state()
    for at in range(start, len(events), EVENTS_A_ROUND):
        news = events[at : at + EVENTS_A_ROUND]
        applied.append(_timed(partial(_apply, fold, news))[0] / len(news))
        seconds, state = _timed(lambda: msgspec.json.encode(fold.state()))
        made.append(seconds)
        sizes.append(len(state))
    per_event, took, size = statistics.median(applied), statistics.median(made), statistics.median(sizes)
    return [f"{per_event * 1e6:.2f} µs", f"{took * 1e3:.2f} ms", f"{size / 1000:,.1f} kB"]


def detail(server_args: ServerArgs, rounds: int) -> str:
    """Measures decoding with and without token detail, which a token or mask view switches on while a page shows it."""
    import workbench

    with workbench.Engine(**server_args.to_dict()) as engine:

        def detailed(seed: int) -> float:
            with engine.token_detail():
                return decode(engine, seed)

        seconds = taking_turns([detailed, partial(decode, engine)], rounds)
    figures = [DECODE.figure(statistics.median(values)) for values in seconds]
    rows = [
        ["off", f"{figures[1]:,.0f} tok/s"],
        ["on", f"{figures[0]:,.0f} tok/s"],
        ["more time with it (median of pairs, quartiles)", spread(*seconds)],
    ]
    return markdown_table(["token detail", "8 streams"], rows)


def opened(server_args: ServerArgs, rounds: int) -> str:
    """Measures all views folding and sending, in a kernel without a page."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    try:
        for cell in (_load_cell(server_args), f"measured = {_measure_call(rounds, is_drawn=False)}"):
            # The messages arrive here and are not read: reading takes time of the same cores.
            reply = client.execute(cell, reply=True, timeout=1800, user_expressions={"measured": "measured"})["content"]
            if reply["status"] != "ok":
                raise NotSupported(f"the kernel raised {reply['ename']}: {reply['evalue']}")
        measured = ast.literal_eval(reply["user_expressions"]["measured"]["data"]["text/plain"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return _cost("all views open, no browser", json.loads(measured))


def in_browser(server_args: ServerArgs, rounds: int) -> str:
    """Measures the same with the views drawn in JupyterLab, by a Chromium on the same cores."""
    from playwright.sync_api import sync_playwright

    from workbench.testing.jupyter import Notebook, Server, launch

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        server = Server(Path(folder))
        try:
            browser = launch(driver)
            page = browser.new_page(viewport={"width": PAGE_WIDTH, "height": PAGE_HEIGHT})
            shown = [f"views[{name!r}]" for name in VIEWS if name not in ALONE]
            cells = [_load_cell(server_args), *shown, f"print({_measure_call(rounds, is_drawn=True)})"]
            notebook = Notebook(page, server).open(cells)
            for index in range(len(cells) - 1):
                notebook.run(index)
            measured = notebook.run(len(cells) - 1, timeout_s=1800)
            browser.close()
        finally:
            server.close()
    return _cost("all views open and drawn by a browser", json.loads(measured))


def big_tree(server_args: ServerArgs, rounds: int) -> str:
    """Measures a tree of 50,000 nodes: the fold, its state, and frames of a page that draws it."""
    from playwright.sync_api import sync_playwright

    from workbench.testing.jupyter import launch
    from workbench.views.live.opening import widget_class

    fold = TreeFold()
    grow, _ = _timed(lambda: _apply(fold, _nodes(NUM_NODES)))
    states = []
    for i in range(rounds + 1):
        fold.apply(_node(NUM_NODES + i + 1, 1 + i))
        fold.settle()  # every frame draws the whole tree
        states.append(_timed(lambda: _traits(fold.state())))
    tree = widget_class(VIEWS["tree"])
    with sync_playwright() as driver:
        browser = launch(driver)
        page = browser.new_page(viewport={"width": PAGE_WIDTH, "height": PAGE_HEIGHT})
        page.set_content(f"<style>{tree._css}</style><div id=view></div>")
        page.evaluate(PAGE, tree._esm)
        frames = [page.evaluate(FRAME, traits) for _, traits in states]
        shown = page.locator("[data-node]").count()
        browser.close()
    made = statistics.median(seconds for seconds, _ in states)
    drawn = sorted(frames[1:])
    rows = [
        [f"fold {NUM_NODES:,} nodes", f"{grow * 1e3:.0f} ms, {grow / NUM_NODES * 1e6:.2f} µs a node"],
        ["one state as JSON", f"{made * 1e3:.1f} ms, {sum(map(len, states[0][1].values())) / 1000:,.0f} kB"],
        ["lines of it on the page", str(shown)],
        ["first frame", f"{frames[0]:.0f} ms"],
        ["frame with one node more (median, worst)", f"{statistics.median(drawn):.0f} ms, {drawn[-1]:.0f} ms"],
    ]
    return markdown_table([f"tree of {NUM_NODES:,} nodes", ""], rows)


ROWS: Rows = {
    "closed": recording, "detail": detail, "folds": folds, "open": opened, "browser": in_browser, "tree": big_tree,
}  # fmt: skip


def _load_cell(server_args: ServerArgs) -> str:
    return f"from workbench.bench.views_cell import load, measure\nengine, views = load({json.dumps(server_args.to_dict())!r})"


def _measure_call(rounds: int, *, is_drawn: bool) -> str:
    return f"measure(engine, views, {rounds}, {is_drawn})"


def _cost(name: str, measured: dict[str, Any]) -> str:
    closed, opened, detailed = (measured[kind] for kind in ("closed", "open", "detail"))
    steps = [f"{statistics.median(seconds) * 1e3:.1f} ms" for seconds in (closed, opened, detailed)]
    rates = ", ".join(f"{view} {rate:.1f}" for view, rate in measured["rates"].items())
    rows = [
        ["no view open", steps[0], ""],
        [name, steps[1], spread(opened, closed)],
        ["the same with token detail", steps[2], spread(detailed, closed)],
        ["states told per second", rates, ""],
    ]
    return markdown_table(["8 streams", "a step", "more time (median of pairs, quartiles)"], rows)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    value = call()
    return time.perf_counter() - began, value


def _traits(state: dict[str, Any]) -> dict[str, str]:
    """Returns a state as the traits that `TreeWidget` sends."""
    return {name: msgspec.json.encode(value).decode() for name, value in (("rows", state.pop("rows")), ("state", state))}


def _nodes(count: int) -> list[NodeAdded]:
    """Returns the events of a tree of conversations: every node under an earlier one, the first ones wide."""
    return [_node(i, i // 4) for i in range(1, count + 1)]


def _node(number: int, parent: int) -> NodeAdded:
    ids = tuple(range(number, number + 8))
    return NodeAdded(
        time=float(number), node_id=number, parent_id=parent, token_ids=ids, pages=ids, namespace="", rid=f"r{number}"
    )


PAGE = """async source => {
  const view = (await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))).default;
  const traits = { state: "", rows: "[]", selected: {}, note: "", engine: "bench" };
  const listeners = {};
  window.model = {
    get: name => traits[name],
    set: (name, value) => { traits[name] = value; for (const fn of listeners[`change:${name}`] ?? []) fn(); },
    on: (name, fn) => { (listeners[name] ??= []).push(fn); },
    off: () => {}, send: () => {}, save_changes: () => {},
  };
  view.render({ model, el: document.getElementById("view") });
}"""
FRAME = """traits => new Promise(done => requestAnimationFrame(() => {
  const began = performance.now();
  for (const [name, value] of Object.entries(traits)) model.set(name, value);
  const read = performance.now() - began;
  // The view draws in the next frame, before this callback; the message arrives when its layout and paint are done.
  requestAnimationFrame(start => {
    const painted = new MessageChannel();
    painted.port1.onmessage = () => done(read + performance.now() - start);
    painted.port2.postMessage(0);
  });
}))"""
