// The radix tree's numbers: rows of the state in, lines, boxes and words out. No element is made here.

const LINE = 25; // pixels, as in tree.css
const BEYOND = 8; // lines drawn outside the window, so that scrolling finds them there

/** A row of the state as an object. */
export function nodeOf([id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace]) {
  return { id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace };
}

/** What the ticker tells, with all rows where it says only which changed; those that stay keep their places. */
export function withAllRows({ changed, ...news }, rows) {
  if (!changed) return news;
  const kept = new Map(rows.map((row) => [row[0], row]));
  for (const id of changed.gone) kept.delete(id);
  for (const row of changed.rows) kept.set(row[0], row);
  return { ...news, rows: [...kept.values()] };
}

/** Rows in any order -> nodes, parents before children; children in the order of their rows, as are namespaces. */
export function inOrder(rows) {
  const below = new Map();
  const tops = new Map();
  for (const row of rows) {
    const node = nodeOf(row);
    const [group, name] = node.parent ? [below, node.parent] : [tops, node.namespace];
    if (group.has(name)) group.get(name).push(node);
    else group.set(name, [node]);
  }
  const next = [...tops.values()].flat().reverse();
  const nodes = [];
  while (next.length) {
    const node = next.pop();
    nodes.push(node);
    const children = below.get(node.id) ?? [];
    for (let i = children.length - 1; i >= 0; i--) next.push(children[i]);
  }
  return nodes;
}

/** Rows and running requests in, lines out: parents before children, each with its depth, and who holds it or stands at its end. */
export function layoutTree(rows, running = [], hidden = [0, 0]) {
  const nodes = new Map();
  const lines = [];
  for (const node of inOrder(rows)) {
    const above = nodes.get(node.parent);
    node.depth = above ? above.depth + 1 : 0;
    node.start = above ? above.start + above.tokens : 0;
    node.holders = [];
    node.ends = [];
    nodes.set(node.id, node);
    lines.push(node);
    if (node.hidden) lines.push({ id: `more-${node.id}`, more: node, depth: node.depth + 1, tokens: node.hiddenTokens });
  }
  if (hidden[0]) lines.push({ id: "more-0", more: { id: 0, hidden: hidden[0] }, depth: 0, tokens: hidden[1] });
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

/** Tokens of the longest text from the root to a leaf: the width of the map. */
export const longestText = (lines) => lines.reduce((most, line) => (line.more ? most : Math.max(most, line.start + line.tokens)), 0);

/** Texts that the tree holds, each from the root to a leaf: the height of the map. */
export function numTexts(lines) {
  const nodes = lines.filter((line) => !line.more);
  const parents = new Set(nodes.map((node) => node.parent));
  return nodes.filter((node) => !parents.has(node.id)).length;
}

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
const whole = (seconds) => (seconds < 60 ? `${Math.floor(Math.max(seconds, 0))} s` : duration(seconds));

/** The engine's clock: that of its newest event, which goes on while nothing happens; of an engine that ended it stands still. */
export function clockOf(state, epoch, wall) {
  const last = state.now ?? 0;
  return typeof epoch === "number" ? Math.max(last, wall - epoch) : last;
}

/** How long ago, in words that change once a second. */
export const ago = (seconds) => (seconds < 1 ? "just now" : `${whole(seconds)} ago`);

/** What stands at the end of a node's line. */
export function sideText(node, now) {
  const found = node.hits ? `found ${plural(node.hits, "time")} · ` : "";
  const idle = now - node.usedAt;
  const lock = node.holders.length ? `held by ${node.holders.length}` : idle < 1 ? "used just now" : `idle ${whole(idle)}`;
  return `${plural(node.tokens, "token")} · ${found}${lock}`;
}

/** At the end of a node's line: a running request, and how many tokens of it are not in the tree. */
export const chipText = ({ rid, own }) => `▶ ${rid}${own ? ` +${own}` : ""}`;

/** What was asked for, and what of it was there. */
export function savedText({ num_tokens: stored = 0, num_referenced: wanted = 0 }) {
  const saved = Math.max(wanted - stored, 0);
  const share = saved ? ` (${Math.round((100 * saved) / wanted)} %)` : "";
  return `of ${plural(wanted, "token")} asked for, ${count(stored)} computed and stored, ${count(saved)} reused${share}`;
}

/** What left the tree so far, and for whom the last did. */
export function evictedText(state) {
  const last = (state.changes ?? []).findLast(([, what, , who]) => what === "evicted" && who);
  return state.num_evicted ? `${plural(state.num_evicted, "token")} evicted${last ? `, the last for ${last[3]}` : ""}` : "";
}
