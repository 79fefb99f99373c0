// The radix tree: a map of all nodes on top, below it an outline with one line a node, and the node that is selected.

const LINE = 25; // pixels, as in tree.css
const BEYOND = 8; // lines drawn outside the window, so that scrolling finds them there
const RENEW_MS = 1000; // what the selected node's panel says is asked for again no sooner
const MOVING_MS = 1400; // how long a change is seen, as in tree.css

/** A row of the state as an object. */
export function nodeOf([id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace]) {
  return { id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace };
}

/** Rows and running requests in, lines out: parents before children, each with its depth, and who holds it or stands at its end. */
export function layoutTree(rows, running = []) {
  const nodes = new Map();
  const lines = [];
  for (const row of rows) {
    const node = nodeOf(row);
    const above = nodes.get(node.parent);
    node.depth = above ? above.depth + 1 : 0;
    node.start = above ? above.start + above.tokens : 0;
    node.holders = [];
    node.ends = [];
    nodes.set(node.id, node);
    lines.push(node);
    if (node.hidden) lines.push({ id: `more-${node.id}`, more: node, depth: node.depth + 1, tokens: node.hiddenTokens });
  }
  for (const [rid, end, shared, total] of running) {
    let node = nodes.get(end);
    if (node) node.ends.push({ rid, own: Math.max(total - shared, 0) });
    for (; node; node = nodes.get(node.parent)) node.holders.push(rid);
  }
  return { nodes, lines };
}

/** What a node's pattern says: held now, found again, or stored and never found. */
export const kindOf = (node) => (node.holders?.length ? "decode" : node.hits ? "reused" : "wait");

/** Width of a node's block in pixels: each doubling of its tokens adds the same. */
export const blockWidth = (tokens) => 8 + 6 * Math.log2(1 + tokens);

/** The map: x is the place in the text, y is shared among leaves; boxes [{id, x, y, width, height, node}] within width × height. */
export function layoutMap(lines, width, height) {
  const leaves = new Map();
  const nodes = lines.filter((line) => !line.more);
  const parents = new Set(nodes.map((node) => node.parent));
  let longest = 1;
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i];
    const own = (leaves.get(node.id) ?? 0) + (node.hidden ?? 0) || 1;
    leaves.set(node.id, own);
    if (node.depth > 0) leaves.set(node.parent, (leaves.get(node.parent) ?? 0) + own);
    longest = Math.max(longest, node.start + node.tokens);
  }
  const total = nodes.filter((node) => node.depth === 0).reduce((sum, node) => sum + leaves.get(node.id), 0) || 1;
  const next = new Map();
  let top = 0;
  return nodes.map((node) => {
    const share = (leaves.get(node.id) / total) * height;
    const y = node.depth === 0 ? top : next.get(node.parent);
    if (node.depth === 0) top += share;
    else next.set(node.parent, y + share);
    if (parents.has(node.id)) next.set(node.id, y);
    const x = (node.start / longest) * width;
    return { id: node.id, x, y, width: Math.max((node.tokens / longest) * width, 0.5), height: share, node };
  });
}

/** The box under a point: the innermost that holds it. */
export function boxAt(boxes, x, y) {
  return boxes.findLast((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height) ?? null;
}

/** Lines [first, last) to draw for a window of `height` pixels that begins at `top`. */
export function visibleLines(numLines, top, height) {
  const first = Math.max(Math.floor(top / LINE) - BEYOND, 0);
  return [first, Math.min(Math.ceil((top + height) / LINE) + BEYOND, numLines)];
}

/** Whether a selected request has to do with a node: "holds", "made", "found" or "". */
export function tieOf(node, selected) {
  if (selected?.kind !== "request") return "";
  if (node.holders.includes(selected.id)) return "holds";
  if (node.maker === selected.id) return "made";
  return node.users.includes(selected.id) ? "found" : "";
}

const oneLine = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

function sideText(node, now) {
  const found = node.hits ? `found ${plural(node.hits, "time")} · ` : "";
  const lock = node.holders.length ? `held by ${node.holders.length}` : `idle ${duration(Math.max(now - node.usedAt, 0))}`;
  return `${plural(node.tokens, "token")} · ${found}${lock}`;
}

function makeTree(view) {
  const head = el("div", { class: "wb-head" });
  const requests = el("div", { class: "wb-head" });
  const canvas = el("canvas", { class: "wb-tree-map", role: "img", "aria-label": "map of the radix tree" });
  const sheet = el("div", { style: "position:relative" });
  const outline = el("div", { class: "wb-outline", role: "tree", tabindex: "0" }, sheet);
  const detail = el("div", { class: "wb-detail" });
  const search = el("input", { type: "search", placeholder: "search the text", "aria-label": "search the text of the tree" });
  const found = el("span", { class: "wb-soft" });
  const flush = el("button", { title: "drop all that no running request holds" }, "flush");
  const keys = [["decode", "held by a running request"], ["reused", "found again"], ["wait", "stored, not found yet"]].map(([kind, text]) =>
    el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), text),
  );
  view.root.append(head, requests, el("div", { class: "wb-head" }, search, flush, found), canvas, outline, el("div", {}, keys), detail);

  let state = {};
  let layout = { nodes: new Map(), lines: [] };
  let boxes = [];
  let matches = null; // of a search: {found, num_found, rows}
  let seen = null; // number of the last change drawn
  let shownNode = null; // id of the node in the detail panel, what it was when it was asked for, and when that was
  let shownKey = "";
  let askedAt = 0;
  let lastRunning = "";
  let lastRows = null;
  let mapped = []; // what the map was drawn from
  const drawn = new Map(); // line id -> its element
  const moving = new Map(); // node -> the class of its animation, for as long as that lasts
  const timers = new Set();

  const choose = (id) => view.select({ kind: "node", id });

  function drawHead() {
    const { num_nodes: nodes = 0, num_tokens: stored = 0, num_referenced: wanted = 0, num_evicted: gone = 0 } = state;
    const saved = Math.max(wanted - stored, 0);
    const bar = el("span", { class: "wb-save", title: `${count(stored)} computed and stored, ${count(saved)} taken from here` });
    if (wanted) {
      bar.append(el("span", { class: "wb-prefill", style: `flex:${stored}` }), el("span", { class: "wb-reused", style: `flex:${saved}` }));
    }
    head.replaceChildren(
      el("b", {}, `Radix tree: ${plural(nodes, "node")}`),
      el("span", { class: "wb-count" }, `${plural(stored, "token")} stored once, wanted ${plural(wanted, "time")}`),
      bar,
      el("span", {}, `${count(saved)} not computed again${wanted ? ` (${Math.round((100 * saved) / wanted)} %)` : ""}`),
      el("span", { class: "wb-soft" }, gone ? `${plural(gone, "token")} evicted` : ""),
    );
  }

  function chip(rid, text, selected) {
    const on = same(selected, { kind: "request", id: rid }) ? " wb-on" : "";
    const choose = (event) => {
      event.stopPropagation();
      view.select({ kind: "request", id: rid });
    };
    return el("span", { class: `wb-chip${on}`, "data-request": rid, title: `request ${rid}`, onclick: choose }, text);
  }

  function drawRequests(selected) {
    const running = state.running ?? [];
    const key = JSON.stringify([running.map((r) => r[0]), selected]);
    if (key === lastRunning) return;
    lastRunning = key;
    const some = running.slice(0, 12).map(([rid]) => {
      const made = chip(rid, rid, selected);
      const abort = (event) => {
        event.stopPropagation();
        view.ask({ do: "abort", rid });
      };
      made.append(el("button", { title: `abort ${rid}`, "aria-label": `abort ${rid}`, onclick: abort }, "✕"));
      return made;
    });
    const rest = running.length > 12 ? el("span", { class: "wb-soft" }, `and ${running.length - 12} more`) : null;
    requests.replaceChildren(el("span", { class: "wb-soft" }, running.length ? "running:" : "no request is running"), ...some, rest ?? "");
  }

  function drawMap(selected) {
    const ratio = globalThis.devicePixelRatio || 1;
    const width = canvas.clientWidth || 600;
    const height = canvas.clientHeight || 104;
    const pen = canvas.getContext("2d");
    const colours = theme(view.root);
    const now = [lastRows, JSON.stringify([(state.running ?? []).map(([rid, end]) => [rid, end]), selected, width, height, colours.ink])];
    if (now.every((part, i) => part === mapped[i])) return;
    mapped = now;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    boxes = layoutMap(layout.lines, width, height);
    const fills = Object.fromEntries(["wait", "reused", "decode"].map((kind) => [kind, pattern(pen, kind, colours[kind])]));
    pen.strokeStyle = colours.line;
    pen.lineWidth = 0.5;
    for (const box of boxes) {
      pen.fillStyle = fills[kindOf(box.node)];
      pen.fillRect(box.x, box.y, box.width, box.height);
      if (box.height > 3 && box.width > 2) pen.strokeRect(box.x, box.y, box.width, box.height);
      const chosen = same(selected, { kind: "node", id: box.id }) || tieOf(box.node, selected);
      if (!chosen) continue;
      pen.save();
      pen.strokeStyle = colours.select;
      pen.lineWidth = 2;
      pen.strokeRect(box.x + 1, box.y + 1, Math.max(box.width - 2, 1), Math.max(box.height - 2, 1));
      pen.restore();
    }
  }

  /** The class and the children of a line; a line that did not change keeps its elements. */
  function lineFor(line, selected) {
    if (line.more) {
      const text = `… ${plural(line.more.hidden, "more node")}, ${plural(line.tokens, "token")}: click to draw them`;
      return ["wb-node wb-soft", text, () => [el("span", { style: `width:${18 * line.depth}px` }), text]];
    }
    const tie = tieOf(line, selected);
    const chosen = same(selected, { kind: "node", id: line.id });
    const marks = ["wb-node", line.holders.length && "wb-path", tie && "wb-touched", chosen && "wb-selected", moving.get(line.id)];
    const side = sideText(line, state.now);
    const key = JSON.stringify([line.text, line.depth, side, line.ends, line.hits, tie, selected?.kind === "request" && selected.id]);
    const children = () => [
      el("span", { class: `wb-block wb-${kindOf(line)}`, style: `width:${blockWidth(line.tokens)}px;margin-left:${18 * line.depth}px` }),
      el("span", { class: "wb-side" }, `#${line.id}`),
      line.namespace && line.depth === 0 && el("span", { class: "wb-side" }, `[${line.namespace}]`),
      el("span", { class: "wb-name" }, oneLine(line.text)),
      line.ends.slice(0, 4).map(({ rid, own }) => chip(rid, `▶ ${rid}${own ? ` +${own}` : ""}`, selected)),
      line.ends.length > 4 && el("span", { class: "wb-side" }, `and ${line.ends.length - 4} more`),
      tie && tie !== "holds" && el("span", { class: "wb-side" }, `${tie} by it`),
      el("span", { class: "wb-side" }, side),
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
    node.style.transform = `translateY(${i * LINE}px)`; // a node that is already there moves to its new place
  }

  function drawLines(selected) {
    const { lines } = layout;
    sheet.style.height = `${Math.max(lines.length, 1) * LINE}px`;
    const [first, last] = visibleLines(lines.length, outline.scrollTop, outline.clientHeight || 420);
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

  function tell(node, text) {
    detail.replaceChildren(el("p", { class: "wb-soft" }, text ?? `node ${node}: asking …`));
  }

  function showDetail(facts) {
    if (facts.error) {
      tell(shownNode, facts.error);
      return;
    }
    const code = `eng.cache.node(${facts.id})`;
    const copy = () => navigator.clipboard?.writeText(code);
    const by = (rid) => chip(rid, rid, view.selected);
    const lock = facts.held_by.length ? ["held by ", facts.held_by.map(by), ": cannot be evicted"] : ["not held: evicted when room is needed"];
    const rows = [
      ["in Python", [el("code", {}, code), " ", el("button", { onclick: copy, title: "copy" }, "copy")]],
      ["tokens", `${count(facts.token_ids.length)}, behind ${count(facts.num_before)} of the nodes above`],
      ["made by", [by(facts.made_by), ` ${duration(facts.age_s)} ago`]],
      ["found by", facts.used_by.length ? [`${plural(facts.num_hits, "time")}: `, facts.used_by.map(by)] : "nobody yet"],
      ["lock", lock],
    ];
    detail.replaceChildren(
      el("p", {}, el("b", {}, `node ${facts.id}`)),
      el("div", { class: "wb-text" }, el("span", { class: "wb-soft" }, facts.text_before), el("u", {}, facts.text)),
      el("table", {}, rows.map(([name, value]) => el("tr", {}, el("th", {}, name), el("td", {}, value)))),
    );
  }

  function drawDetail(selected) {
    const id = selected?.kind === "node" ? selected.id : null;
    if (id === null) {
      [shownNode, shownKey] = [null, ""];
      const text = selected?.kind === "request" ? requestText(selected.id) : "Click a node for its text, who made it and who found it.";
      tell(null, text);
      return;
    }
    const node = layout.nodes.get(id);
    const key = node ? JSON.stringify([id, node.hits, node.holders]) : `${id}`;
    if (key === shownKey || (id === shownNode && performance.now() - askedAt < RENEW_MS)) return;
    if (id !== shownNode) tell(id);
    [shownNode, shownKey, askedAt] = [id, key, performance.now()];
    view.ask({ do: "detail", id }).then((facts) => shownNode === id && showDetail(facts));
  }

  function requestText(rid) {
    const ties = [...layout.nodes.values()].map((node) => tieOf(node, { kind: "request", id: rid }));
    const number = (tie) => ties.filter((t) => t === tie).length;
    if (!ties.some(Boolean)) return `No node of the tree remembers request ${rid}.`;
    return `Request ${rid} holds ${plural(number("holds"), "node")}, made ${number("made")} and found ${number("found")} that were there.`;
  }

  function reveal(id) {
    const i = layout.lines.findIndex((line) => line.id === id);
    if (i < 0) return;
    const y = i * LINE;
    if (y < outline.scrollTop || y + LINE > outline.scrollTop + outline.clientHeight) outline.scrollTop = Math.max(y - outline.clientHeight / 2, 0);
  }

  let revealed = "";
  function draw(next, selected) {
    state = next;
    const rows = matches ? matches.rows : (state.rows ?? []);
    lastRows = rows;
    noteChanges();
    layout = layoutTree(rows, state.running);
    drawHead();
    drawRequests(selected);
    drawMap(selected);
    const key = JSON.stringify(selected ?? {});
    if (key !== revealed && selected?.kind === "node") reveal(selected.id);
    revealed = key;
    drawLines(selected);
    drawDetail(selected);
  }

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
      found.textContent = reply.error ?? `${plural(reply.num_found, "node")}${reply.num_found > reply.found.length ? `, the first ${reply.found.length} drawn` : ""}`;
      view.redraw();
    });
  }

  let typed = null;
  const onType = () => {
    clearTimeout(typed);
    typed = setTimeout(runSearch, 200);
  };
  const onScroll = throttle(() => drawLines(view.selected));
  const onMap = (event) => {
    const frame = canvas.getBoundingClientRect();
    const box = boxAt(boxes, event.clientX - frame.left, event.clientY - frame.top);
    if (box) choose(box.id);
  };
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
  const listeners = [[search, "input", onType], [outline, "scroll", onScroll], [outline, "keydown", onKey], [canvas, "click", onMap], [flush, "click", onFlush]];
  for (const [node, name, fn] of listeners) node.addEventListener(name, fn);
  const resized = new ResizeObserver(() => view.redraw());
  resized.observe(canvas);
  return {
    draw,
    remove() {
      for (const [node, name, fn] of listeners) node.removeEventListener(name, fn);
      resized.disconnect();
      onScroll.cancel();
      clearTimeout(typed);
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

function render({ model, el: root }) {
  return mount(model, root, makeTree, ["rows"]);
}

export default { render };
