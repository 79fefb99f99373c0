// The radix tree: a map of all nodes on top, below it an outline with one line a node, and what is selected.

const MOVING_MS = 1400; // how long a change is seen, as in tree.css
const MAX_CHIPS = 4; // of requests at the end of one line
const MAX_RUNNING = 12; // named above the tree until all are asked for
const TICK_MS = 1000; // how long a node is idle is told in seconds, also while nothing happens

function makeTree(view) {
  const head = el("div", { class: "wb-head" });
  const requests = el("div", { class: "wb-head" });
  const sheet = el("div", { style: "position:relative" });
  const outline = el("div", { class: "wb-outline wb-if-any", role: "tree", tabindex: "0" }, sheet);
  const choose = (id) => view.select({ kind: "node", id });
  const map = makeMap(view, choose);
  const detail = makeDetail(view);
  const journal = makeJournal(view);
  const search = el("input", { "data-asks": "kernel", type: "search", placeholder: "search the text", "aria-label": "search the text of the tree" });
  const found = el("span", { class: "wb-soft" });
  const flush = el("button", { "data-asks": "engine", title: "drop all that no running request holds" }, "flush");
  const keys = [["decode", "held by a running request"], ["reused", "found again"], ["wait", "stored, not found yet"]].map(([kind, text]) =>
    el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), text),
  );
  view.root.append(head, view.about, requests, el("div", { class: "wb-head wb-if-any" }, search, flush, found), map.root, outline, el("div", { class: "wb-if-any" }, keys), journal.root, detail.root);

  let state = {};
  let layout = { nodes: new Map(), lines: [] };
  let matches = null; // of a search: {found, num_found, rows}
  let seen = null; // number of the last change drawn
  let isAllShown = false; // of the running requests
  let lastRunning = ""; // what the row of running requests was drawn from
  const drawn = new Map(); // line id -> its element
  const moving = new Map(); // node -> the class of its animation, for as long as that lasts
  const timers = new Set();

  // Where the outline is scrolled to, and its height. Asking for it while drawing would lay the page out then and there.
  const place = { top: 0, height: 0 };
  const onPlace = () => Object.assign(place, { top: outline.scrollTop, height: outline.clientHeight });

  let stopped = null; // what the clock showed when the kernel ended
  const clock = () => clockOf(state, view.model.get("epoch"), Date.now() / 1000);
  const now = () => (view.isGone ? (stopped ??= clock()) : clock());

  function drawHead() {
    const { num_nodes: nodes = 0, num_tokens: stored = 0, num_referenced: wanted = 0 } = state;
    const saved = Math.max(wanted - stored, 0);
    const bar = el("span", { class: "wb-save" });
    if (wanted) {
      bar.append(el("span", { class: "wb-prefill", style: `flex:${stored}` }), el("span", { class: "wb-reused", style: `flex:${saved}` }));
    }
    morph(
      head,
      el("b", {}, `Radix tree: ${plural(nodes, "node")}`),
      el("span", { class: "wb-count" }, savedText(state)),
      bar,
    );
  }

  function drawRequests(selected) {
    const running = state.running ?? [];
    const key = JSON.stringify([running.map((r) => r[0]), selected, isAllShown]);
    if (key === lastRunning) return;
    lastRunning = key;
    const some = running.slice(0, isAllShown ? running.length : MAX_RUNNING).map(([rid]) => {
      const made = chip(view, rid, rid, selected);
      const abort = (event) => {
        event.stopPropagation();
        view.ask({ do: "abort", rid });
      };
      made.append(el("button", { "data-asks": "engine", title: `abort ${rid}`, "aria-label": `abort ${rid}`, onclick: abort }, "✕"));
      return made;
    });
    const more = running.length - MAX_RUNNING;
    const turn = () => {
      isAllShown = !isAllShown;
      view.redraw();
    };
    const rest = more > 0 ? el("button", { onclick: turn }, isAllShown ? "fewer" : `and ${more} more`) : null;
    requests.replaceChildren(el("span", { class: "wb-soft" }, running.length ? "running:" : "no request is running"), ...some, rest ?? "");
  }

  /** The class and the children of a line; a line that did not change keeps its elements. */
  function lineFor(line, selected) {
    if (line.more) {
      const text = `… ${plural(line.more.hidden, "more node")}, ${plural(line.tokens, "token")}${view.isGone ? "" : ": click to draw them"}`;
      return ["wb-node wb-soft", text, () => [el("span", { style: `width:${18 * line.depth}px` }), text]];
    }
    const tie = tieOf(line, selected);
    const chosen = same(selected, { kind: "node", id: line.id });
    const marks = ["wb-node", line.holders.length && "wb-path", tie && "wb-touched", chosen && "wb-selected", moving.get(line.id)];
    const chips = line.ends.slice(0, MAX_CHIPS).map(({ rid }) => rid);
    const chosenRequest = selected?.kind === "request" && selected.id;
    const key = JSON.stringify([line.text, line.depth, line.tokens, kindOf(line), chips, line.ends.length, tie, chosenRequest]);
    const children = () => [
      el("span", { class: `wb-block wb-${kindOf(line)}`, style: `width:${blockWidth(line.tokens)}px;margin-left:${18 * line.depth}px` }),
      el("span", { class: "wb-side" }, `#${line.id}`),
      line.namespace && line.depth === 0 && el("span", { class: "wb-side" }, `[${line.namespace}]`),
      el("span", { class: "wb-name" }, oneLine(line.text)),
      chips.map((rid) => chip(view, rid, "", selected)),
      line.ends.length > MAX_CHIPS && el("span", { class: "wb-side" }, `and ${line.ends.length - MAX_CHIPS} more`),
      tie && tie !== "holds" && el("span", { class: "wb-side" }, `${tie} by it`),
      el("span", { class: "wb-side" }),
    ];
    return [marks.filter(Boolean).join(" "), key, children];
  }

  function drawLine(line, i, selected) {
    const [marks, key, children] = lineFor(line, selected);
    let node = drawn.get(line.id);
    if (!node) {
      node = el("div", { role: "treeitem", "data-node": line.id, "aria-level": line.depth + 1 });
      node.onclick = () => (line.more ? view.ask({ do: "open", id: line.more.id }) : choose(line.id));
      sheet.append(node);
      drawn.set(line.id, node);
    }
    if (node.className !== marks) node.className = marks;
    if (node.wbKey !== key) node.replaceChildren(...children().flat().filter(Boolean));
    node.wbKey = key;
    if (!line.more) writeNumbers(node, line);
    node.style.transform = `translateY(${i * LINE}px)`; // a node that is already there moves to its new place
  }

  /** What changes with every token, in elements that stay. */
  function writeNumbers(node, line) {
    node.querySelectorAll(".wb-chip").forEach((chip, i) => morph(chip, chipText(line.ends[i])));
    morph(node.lastChild, sideText(line, now()));
  }

  function drawLines(selected) {
    const { lines } = layout;
    sheet.style.height = `${Math.max(lines.length, 1) * LINE}px`;
    const [first, last] = visibleLines(lines.length, place.top, place.height || 420);
    const kept = new Set();
    for (let i = first; i < last; i++) {
      kept.add(lines[i].id);
      drawLine(lines[i], i, selected);
    }
    for (const [id, node] of drawn) {
      if (kept.has(id)) continue;
      drawn.delete(id);
      if (moving.get(id) === "wb-gone") {
        node.classList.add("wb-gone");
        later(() => node.remove());
      } else node.remove();
    }
  }

  function later(fn) {
    const timer = setTimeout(() => (timers.delete(timer), fn()), MOVING_MS);
    timers.add(timer);
  }

  function noteChanges() {
    const changes = state.changes ?? [];
    const last = changes.at(-1)?.[0] ?? 0;
    if (seen !== null) {
      for (const [number, what, id] of changes) {
        if (number <= seen) continue;
        moving.set(id, { added: "wb-new", split: "wb-split", evicted: "wb-gone" }[what]);
        later(() => moving.delete(id));
      }
    }
    seen = last;
  }

  function reveal(id) {
    const i = layout.lines.findIndex((line) => line.id === id);
    if (i < 0) return;
    const y = i * LINE;
    onPlace();
    if (y >= place.top && y + LINE <= place.top + place.height) return;
    outline.scrollTop = Math.max(y - place.height / 2, 0);
    onPlace();
  }

  let revealed = "";
  function draw(next, selected) {
    state = next;
    const rows = matches ? matches.rows : (state.rows ?? []);
    noteChanges();
    layout = layoutTree(rows, state.running, matches ? [0, 0] : state.hidden);
    drawHead();
    journal.draw(state);
    drawRequests(selected);
    map.draw(rows, layout, state.running ?? [], selected);
    const key = JSON.stringify(selected ?? {});
    if (key !== revealed && selected?.kind === "node") reveal(selected.id);
    revealed = key;
    drawLines(selected);
    detail.draw(layout, selected, now());
  }

  const tick = setInterval(() => {
    drawLines(view.selected);
    detail.draw(layout, view.selected, now());
  }, TICK_MS);

  function runSearch() {
    const text = search.value;
    if (!text) {
      matches = null;
      found.textContent = "";
      view.redraw();
      return;
    }
    view.ask({ do: "detail", text }).then((reply) => {
      if (search.value !== text) return;
      matches = reply.error ? null : reply;
      const more = reply.error || reply.num_found === reply.found.length ? "" : `, the first ${reply.found.length} drawn; engine.cache.search(text) lists all`;
      found.textContent = reply.error ?? `${plural(reply.num_found, "node")}${more}`;
      view.redraw();
    });
  }

  let typed = null;
  const onType = () => {
    clearTimeout(typed);
    typed = setTimeout(runSearch, 200);
  };
  const onScroll = throttle(() => {
    onPlace();
    drawLines(view.selected);
  });
  const resized = new ResizeObserver(onScroll);
  resized.observe(outline);
  const onFlush = () =>
    view.ask({ do: "flush" }).then((reply) => {
      found.textContent = reply.error ?? `${plural(reply.num_tokens, "token")} dropped`;
    });
  const onKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const ids = layout.lines.filter((line) => !line.more).map((line) => line.id);
    const at = view.selected?.kind === "node" ? ids.indexOf(view.selected.id) : -1;
    const next = ids[Math.min(Math.max(at + step, 0), ids.length - 1)];
    if (next !== undefined && next !== view.selected?.id) choose(next);
  };
  const listeners = [[search, "input", onType], [outline, "scroll", onScroll], [outline, "keydown", onKey], [flush, "click", onFlush]];
  for (const [node, name, fn] of listeners) node.addEventListener(name, fn);
  return {
    draw,
    hear: (news, { rows = [] }) => withAllRows(news, rows),
    remove() {
      for (const [node, name, fn] of listeners) node.removeEventListener(name, fn);
      map.remove();
      journal.remove();
      resized.disconnect();
      onScroll.cancel();
      clearTimeout(typed);
      clearInterval(tick);
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

function render({ model, el: root }) {
  return mount(model, root, makeTree, ["rows"]);
}

export default { render };
