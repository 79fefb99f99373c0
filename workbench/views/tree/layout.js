// @ts-check
// The radix tree's numbers: rows of the state in, lines and boxes out.

/** @import {Selection} from "../live/selection.js" */

/**
 * A row of the state: id, parent, tokens, hits, used at, first text, maker, users, hidden nodes, hidden tokens, namespace.
 * @typedef {[number, number, number, number, number, string, string, string[], number, number, string]} Row
 */
/** A running request: its id, the node its path ends at, its tokens in the tree, and all its tokens. */
/** @typedef {[string, number, number, number]} Running */
/** A change of the tree: its number, "added", "split" or "evicted", the node, and the request behind it. */
/** @typedef {[number, string, number, string]} Change */
/**
 * @typedef {object} TreeState
 * @property {Row[]} [rows]
 * @property {Running[]} [running]
 * @property {[number, number]} [hidden] nodes and tokens that hang at the root and are not drawn
 * @property {Change[]} [changes]
 * @property {number} [now] the engine's time of the newest event
 * @property {number} [num_nodes]
 * @property {number} [num_tokens]
 * @property {number} [num_referenced]
 * @property {number} [num_evicted]
 */
/** A running request at the end of its path; `own` tokens of it are not in the tree. */
/** @typedef {{rid: string, own: number}} End */
/**
 * A node of the tree: its row, and where it stands. `start` counts the tokens of the nodes above it.
 * @typedef {object} TreeNode
 * @property {number} id
 * @property {number} parent
 * @property {number} tokens
 * @property {number} hits
 * @property {number} usedAt
 * @property {string} text
 * @property {string} maker
 * @property {string[]} users
 * @property {number} hidden
 * @property {number} hiddenTokens
 * @property {string} namespace
 * @property {number} depth
 * @property {number} start
 * @property {string[]} holders running requests whose path runs through it
 * @property {End[]} ends
 */
/** A line that stands for the nodes below `more` that are not drawn. */
/** @typedef {{id: string, more: {id: number, hidden: number}, depth: number, tokens: number}} MoreLine */
/** @typedef {TreeNode | MoreLine} Line */
/** @typedef {{nodes: Map<number, TreeNode>, lines: Line[]}} Layout */
/** @typedef {{id: number, x: number, y: number, width: number, height: number, node: TreeNode}} Box */

export const LINE = 25; // pixels, as in view.css
const BEYOND = 8; // lines drawn outside the window, so that scrolling finds them there

/** Turns a row into a node that has no place yet. @param {Row} row @returns {TreeNode} */
export function nodeOf([id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace]) {
  const row = { id, parent, tokens, hits, usedAt, text, maker, users, hidden, hiddenTokens, namespace };
  return { ...row, depth: 0, start: 0, holders: [], ends: [] };
}

/** Returns whether a line stands for nodes that are not drawn. @param {Line} line @returns {line is MoreLine} */
export const isMore = (line) => "more" in line;

/** Returns the lines that are nodes. @param {Line[]} lines */
const nodesOf = (lines) => /** @type {TreeNode[]} */ (lines.filter((line) => !isMore(line)));

/**
 * Replaces the changed rows that the ticker sends by all rows; rows that stay keep their places.
 * @param {{changed?: {gone: number[], rows: Row[]}, [name: string]: any}} news
 * @param {Row[]} rows
 */
export function withAllRows({ changed, ...news }, rows) {
  if (!changed) return news;
  const kept = new Map(rows.map((row) => [row[0], row]));
  for (const id of changed.gone) kept.delete(id);
  for (const row of changed.rows) kept.set(row[0], row);
  return { ...news, rows: [...kept.values()] };
}

/**
 * Groups nodes by a key, in the order of the nodes.
 * @template K
 * @param {TreeNode[]} nodes
 * @param {(node: TreeNode) => K} key
 */
function groupBy(nodes, key) {
  /** @type {Map<K, TreeNode[]>} */
  const groups = new Map();
  for (const node of nodes) {
    const group = groups.get(key(node));
    if (group) group.push(node);
    else groups.set(key(node), [node]);
  }
  return groups;
}

/**
 * Returns the nodes of rows in any order: parents before children, children and namespaces in the order of their rows.
 * @param {Row[]} rows
 */
export function inOrder(rows) {
  const below = groupBy(rows.map(nodeOf), (node) => node.parent);
  const tops = groupBy(below.get(0) ?? [], (node) => node.namespace);
  const next = [...tops.values()].flat().reverse();
  /** @type {TreeNode[]} */
  const nodes = [];
  for (let node = next.pop(); node; node = next.pop()) {
    nodes.push(node);
    next.push(...(below.get(node.id) ?? []).reverse());
  }
  return nodes;
}

/**
 * Lays out the outline: one line a node with its depth, its holders, and the requests whose path ends there.
 * @param {Row[]} rows
 * @param {Running[]} [running]
 * @param {[number, number]} [hidden]
 * @returns {Layout}
 */
export function layoutTree(rows, running = [], hidden = [0, 0]) {
  /** @type {Map<number, TreeNode>} */
  const nodes = new Map();
  /** @type {Line[]} */
  const lines = [];
  for (const node of inOrder(rows)) {
    const above = nodes.get(node.parent);
    node.depth = above ? above.depth + 1 : 0;
    node.start = above ? above.start + above.tokens : 0;
    nodes.set(node.id, node);
    lines.push(node);
    if (node.hidden) lines.push({ id: `more-${node.id}`, more: node, depth: node.depth + 1, tokens: node.hiddenTokens });
  }
  if (hidden[0]) lines.push({ id: "more-0", more: { id: 0, hidden: hidden[0] }, depth: 0, tokens: hidden[1] });
  for (const [rid, end, shared, total] of running) {
    let node = nodes.get(end);
    node?.ends.push({ rid, own: Math.max(total - shared, 0) });
    for (; node; node = nodes.get(node.parent)) node.holders.push(rid);
  }
  return { nodes, lines };
}

/** Names a node's pattern: held now, found again, or stored and not found. @param {Pick<TreeNode, "holders" | "hits">} node */
export const kindOfNode = (node) => (node.holders.length ? "decode" : node.hits ? "reused" : "wait");

/** Returns the width of a node's block in pixels: each doubling of its tokens adds the same. @param {number} tokens */
export const blockWidth = (tokens) => 8 + 6 * Math.log2(1 + tokens);

/** Returns the tokens of the longest text from the root to a leaf: the width of the map. @param {Line[]} lines */
export const longestText = (lines) => nodesOf(lines).reduce((most, node) => Math.max(most, node.start + node.tokens), 0);

/** Counts the texts that the tree holds, each from the root to a leaf: the height of the map. @param {Line[]} lines */
export function numTexts(lines) {
  const nodes = nodesOf(lines);
  const parents = new Set(nodes.map((node) => node.parent));
  return nodes.filter((node) => !parents.has(node.id)).length;
}

/** Counts the leaves below each node; what is not drawn counts too. @param {TreeNode[]} nodes */
function countLeaves(nodes) {
  /** @type {Map<number, number>} */
  const leaves = new Map();
  for (const node of nodes.toReversed()) {
    const own = (leaves.get(node.id) ?? 0) + node.hidden || 1;
    leaves.set(node.id, own);
    if (node.depth > 0) leaves.set(node.parent, (leaves.get(node.parent) ?? 0) + own);
  }
  return leaves;
}

/**
 * Lays out the map within width × height: x is the place in the text, y is shared among leaves.
 * @param {Line[]} lines
 * @param {number} width
 * @param {number} height
 * @returns {Box[]}
 */
export function layoutMap(lines, width, height) {
  const nodes = nodesOf(lines);
  const leaves = countLeaves(nodes);
  const longest = Math.max(longestText(lines), 1);
  const total = nodes.filter((node) => node.depth === 0).reduce((sum, node) => sum + (leaves.get(node.id) ?? 0), 0);
  /** @type {Map<number, number>} */
  const next = new Map(); // y of the next child of each node; 0 stands for the root
  return nodes.map((node) => {
    const parent = node.depth ? node.parent : 0;
    const share = ((leaves.get(node.id) ?? 0) / total) * height;
    const y = next.get(parent) ?? 0;
    next.set(parent, y + share);
    next.set(node.id, y);
    const x = (node.start / longest) * width;
    return { id: node.id, x, y, width: Math.max((node.tokens / longest) * width, 0.5), height: share, node };
  });
}

/** Finds the innermost box that holds a point; null for none. @param {Box[]} boxes @param {number} x @param {number} y */
export function boxAt(boxes, x, y) {
  return boxes.findLast((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height) ?? null;
}

/**
 * Returns the lines [first, last) to draw for a window of `height` pixels that begins at `top`.
 * @param {number} numLines
 * @param {number} top
 * @param {number} height
 */
export function visibleLines(numLines, top, height) {
  const first = Math.max(Math.floor(top / LINE) - BEYOND, 0);
  return [first, Math.min(Math.ceil((top + height) / LINE) + BEYOND, numLines)];
}

/**
 * Describes how a selected request is tied to a node: "holds", "made", "found" or "".
 * @param {TreeNode} node
 * @param {Selection | null} [selected]
 */
export function tieOf(node, selected) {
  if (selected?.kind !== "request") return "";
  const rid = String(selected.id);
  if (node.holders.includes(rid)) return "holds";
  if (node.maker === rid) return "made";
  return node.users.includes(rid) ? "found" : "";
}
