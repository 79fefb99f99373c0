// Parts of the radix tree's view: the map of all nodes, and the panel of what is selected.

const RENEW_MS = 1000; // what the selected node's panel says is asked for again no sooner

/** A request's name, which selects it in all views. */
function chip(view, rid, text, selected) {
  const on = same(selected, { kind: "request", id: rid }) ? " wb-on" : "";
  const select = (event) => {
    event.stopPropagation();
    view.select({ kind: "request", id: rid });
  };
  return el("span", { class: `wb-chip${on}`, "data-request": rid, title: `request ${rid}`, onclick: select }, text);
}

/** The map of all nodes; a click chooses one. */
function makeMap(view, choose) {
  const canvas = el("canvas", { class: "wb-tree-map", role: "img", "aria-label": "map of the radix tree: a box a node, x its place in the text, y one row for each text" });
  let boxes = [];
  let mapped = []; // what it was drawn from
  let size = null; // [width, height] in pixels of the page
  const measure = () => [canvas.clientWidth || 600, canvas.clientHeight || 104];

  function draw(rows, layout, running, selected) {
    const ratio = globalThis.devicePixelRatio || 1;
    size ??= measure();
    const [width, height] = size;
    const now = [rows, JSON.stringify([running.map(([rid, end]) => [rid, end]), selected, width, height, themeName()])];
    if (now.every((part, i) => part === mapped[i])) return;
    mapped = now;
    const pen = canvas.getContext("2d");
    const colours = theme(view.root);
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    boxes = layoutMap(layout.lines, width, height);
    morph(longest, count(longestText(layout.lines)));
    morph(leaves, `↓ ${plural(numTexts(layout.lines), "text")}`);
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

  const onClick = (event) => {
    const frame = canvas.getBoundingClientRect();
    const box = boxAt(boxes, event.clientX - frame.left, event.clientY - frame.top);
    if (box) choose(box.id);
  };
  canvas.addEventListener("click", onClick);
  const resized = new ResizeObserver(() => {
    size = measure();
    view.redraw();
  });
  resized.observe(canvas);
  const [longest, leaves] = [el("span", {}), el("span", { class: "wb-map-leaves" })];
  const axes = el("div", { class: "wb-soft wb-map-axis" }, el("span", {}, "0"), el("span", {}, "place in the text, in tokens →"), longest);
  return {
    root: el("div", { class: "wb-map wb-if-any" }, leaves, canvas, axes),
    draw,
    remove() {
      canvas.removeEventListener("click", onClick);
      resized.disconnect();
    },
  };
}

/** To the clipboard; where the page may not write there the text is selected, to be copied by hand. */
async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(text);
  }
}

/** What left the tree so far, folded away; asked for while it is open. */
function makeJournal(view) {
  const words = el("summary", {});
  const body = el("div", { class: "wb-journal" });
  const root = el("details", { hidden: true, "data-asks": "kernel" }, words, body);
  let latest = 0; // engine's time of what is drawn
  let told = -1; // and of what the journal tells
  let askedAt = -RENEW_MS;
  let timer = null;

  const row = (cells, tag, numeric) => el("tr", {}, cells.map((cell, i) => el(tag, { class: numeric.includes(i) ? "wb-num" : null }, cell)));

  /** At once or, where it was asked a moment ago, a moment later: also when nothing happens any more. */
  function askSoon() {
    if (told === latest || timer !== null || !root.open) return;
    timer = setTimeout(ask, Math.max(RENEW_MS - (performance.now() - askedAt), 0));
  }

  function ask() {
    [timer, told, askedAt] = [null, latest, performance.now()];
    view.ask({ do: "detail", evictions: true }).then(({ error, title, head, numeric, rows, rest }) => {
      if (error) body.replaceChildren(el("p", {}, error));
      else body.replaceChildren(
        el("p", {}, title),
        el("table", {}, el("thead", {}, row(head, "th", numeric)), el("tbody", {}, rows.map((cells) => row(cells, "td", numeric)))),
        el("p", { class: "wb-soft" }, rest),
      );
    });
  }

  function draw(state) {
    const text = evictedText(state);
    root.hidden = !text;
    if (words.textContent !== text) words.textContent = text;
    latest = state.now;
    askSoon();
  }

  root.addEventListener("toggle", askSoon);
  return {
    root,
    draw,
    remove() {
      root.removeEventListener("toggle", askSoon);
      clearTimeout(timer);
    },
  };
}

/** What is selected, in full: a node's text and who has to do with it, or what a request has to do with the tree. */
function makeDetail(view) {
  const root = el("div", { class: "wb-detail wb-if-any" });
  let shownNode = null; // id of the node that is told about, what it was when it was asked for, and when that was
  let shownKey = "";
  let askedAt = 0;
  let made = null; // {node, at}: the words that say when it was made, and when that was

  function tell(node, text) {
    made = null;
    morph(root, el("p", { class: "wb-soft" }, text ?? `node ${node}: asking …`));
  }

  function showDetail(facts) {
    if (facts.error) {
      tell(shownNode, facts.error);
      return;
    }
    const code = el("code", {}, facts.in_python);
    const by = (rid) => chip(view, rid, rid, view.selected);
    const free = facts.children.length ? "yes, after the nodes below it" : "yes";
    const evictable = facts.held_by.length ? ["no: running requests use it: ", facts.held_by.map(by)] : free;
    const place = facts.num_before ? `after ${plural(facts.num_before, "token")} in the nodes above it` : "the beginning of the text";
    made = { node: el("span", {}), at: facts.made_at };
    const rows = [
      ["in Python", el("span", { "data-asks": "kernel" }, code, " ", el("button", { onclick: (event) => copy(event.target, code), title: "copy" }, "copy"))],
      ["tokens", `${count(facts.token_ids.length)}, ${place}`],
      ["made by", [by(facts.made_by), " ", made.node]],
      ["found by", facts.used_by.length ? [`${plural(facts.num_hits, "time")}: `, facts.used_by.map(by)] : "nobody yet"],
      ["evictable", evictable],
    ];
    root.replaceChildren(
      el("p", {}, el("b", {}, `node ${facts.id}`)),
      el("div", { class: "wb-text" }, el("span", { class: "wb-soft" }, facts.text_before), el("u", {}, facts.text)),
      el("table", {}, rows.map(([name, value]) => el("tr", {}, el("th", {}, name), el("td", {}, value)))),
    );
  }

  function draw(layout, selected, now) {
    if (made) made.node.textContent = ago(now - made.at);
    const id = selected?.kind === "node" ? selected.id : null;
    if (id === null) {
      [shownNode, shownKey] = [null, ""];
      const hint = view.isGone ? "" : "Click a node for its text, who made it and who found it.";
      const text = selected?.kind === "request" ? requestText(layout, selected.id) : hint;
      tell(null, text);
      return;
    }
    const node = layout.nodes.get(id);
    const key = node ? JSON.stringify([id, node.hits, node.holders]) : `${id}`;
    if (key === shownKey || (id === shownNode && performance.now() - askedAt < RENEW_MS)) return;
    if (id !== shownNode) tell(id);
    [shownNode, shownKey, askedAt] = [id, key, performance.now()];
    view.ask({ do: "detail", id }).then((facts) => {
      if (shownNode !== id) return;
      showDetail(facts);
      view.redraw();
    });
  }

  function requestText(layout, rid) {
    const ties = [...layout.nodes.values()].map((node) => tieOf(node, { kind: "request", id: rid }));
    const number = (tie) => ties.filter((t) => t === tie).length;
    if (!ties.some(Boolean)) return `No node of the tree remembers request ${rid}.`;
    return `Request ${rid} holds ${plural(number("holds"), "node")}, made ${number("made")} and found ${number("found")} that were there.`;
  }

  return { root, draw };
}
