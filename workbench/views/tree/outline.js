// @ts-check
// The outline of the radix tree: one line a node, in elements that move to their new places. Only the lines in sight exist.

import { el, fill, listenAll, morph, throttle } from "../live/dom.js";
import { same } from "../live/selection.js";
import { plural } from "../live/text.js";
import { chip } from "./chip.js";
import { blockWidth, isMore, kindOfNode, LINE, tieOf, visibleLines } from "./layout.js";
import { chipText, inOneLine, sideText } from "./words.js";

/** @import {Child} from "../live/dom.js" */
/** @import {View} from "../live/mount.js" */
/** @import {Change, Layout, Line, MoreLine, TreeNode} from "./layout.js" */
/** A line as it is drawn: its class, what its children are made of, and what makes them. */
/** @typedef {{marks: string, key: string, children: () => Child[]}} Drawn */

const MOVING_MS = 1400; // how long a change is seen, as in view.css
const MAX_CHIPS = 4; // requests named at the end of one line
const INDENT = 18; // pixels a level
const HEIGHT = 420; // pixels, before the page is laid out
const MOVES = /** @type {Record<string, string>} */ ({ added: "wb-new", split: "wb-split", evicted: "wb-gone" });

/** @param {View} view @param {MoreLine} line @returns {Drawn} */
function moreLine(view, line) {
  const rest = view.isGone ? "" : ": click to draw them";
  const text = `… ${plural(line.more.hidden, "more node")}, ${plural(line.tokens, "token")}${rest}`;
  const children = () => [el("span", { style: `width:${INDENT * line.depth}px` }), text];
  return { marks: "wb-node wb-soft", key: text, children };
}

/** @param {View} view @param {TreeNode} node @param {string | undefined} move @returns {Drawn} */
function nodeLine(view, node, move) {
  const { selected } = view;
  const tie = tieOf(node, selected);
  const isChosen = same(selected, { kind: "node", id: node.id });
  const marks = ["wb-node", node.holders.length && "wb-path", tie && "wb-touched", isChosen && "wb-selected", move];
  const rids = node.ends.slice(0, MAX_CHIPS).map(({ rid }) => rid);
  const kind = kindOfNode(node);
  const request = selected.kind === "request" && selected.id;
  const side = (/** @type {Child} */ text) => el("span", { class: "wb-side" }, text);
  const place = `width:${blockWidth(node.tokens)}px;margin-left:${INDENT * node.depth}px`;
  const children = () => [
    el("span", { class: `wb-block wb-${kind}`, style: place }),
    side(`#${node.id}`),
    node.namespace && node.depth === 0 && side(`[${node.namespace}]`),
    el("span", { class: "wb-name" }, inOneLine(node.text)),
    rids.map((rid) => chip(view, rid, "")),
    node.ends.length > MAX_CHIPS && side(`and ${node.ends.length - MAX_CHIPS} more`),
    tie && tie !== "holds" && side(`${tie} by it`),
    side(""),
  ];
  const key = JSON.stringify([node.text, node.depth, node.tokens, kind, rids, node.ends.length, tie, request]);
  return { marks: marks.filter(Boolean).join(" "), key, children };
}

/**
 * Writes what changes with every token, in elements that stay.
 * @param {HTMLElement} line
 * @param {TreeNode} node
 * @param {number} now
 */
function writeNumbers(line, node, now) {
  line.querySelectorAll(".wb-chip").forEach((chip, i) => {
    morph(chip, chipText(node.ends[i]));
  });
  if (line.lastChild) morph(line.lastChild, sideText(node, now));
}

/** Calls functions after the time in which a change is seen. */
function makeTimers() {
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  const timers = new Set();
  /** @param {() => void} fn */
  function later(fn) {
    const timer = setTimeout(() => {
      timers.delete(timer);
      fn();
    }, MOVING_MS);
    timers.add(timer);
  }
  return { later, clear: () => timers.forEach(clearTimeout) };
}

export class Outline {
  #sheet = el("div", { style: "position:relative" });
  root = el("div", { class: "wb-outline wb-if-any", role: "tree", tabindex: "0" }, this.#sheet);
  /** Elements by the ids of their lines. @type {Map<number | string, HTMLElement>} */
  #drawn = new Map();
  /** Key of each element's children. @type {WeakMap<HTMLElement, string>} */
  #keys = new WeakMap();
  /** The class of each node's animation, while it lasts. @type {Map<number, string>} */
  #moving = new Map();
  #timers = makeTimers();
  /** Number of the last change drawn. @type {number | null} */
  #seen = null;
  /** Scroll position and height: a drawing that reads them from the page would make it lay itself out then and there. */
  #place = { top: 0, height: 0 };
  /** @type {Line[]} */
  #lines = [];

  /** @param {View} view @param {() => number} now @param {(id: number) => void} choose */
  constructor(view, now, choose) {
    this.view = view;
    this.now = now;
    this.choose = choose;
    const onScroll = throttle(() => {
      this.#measure();
      this.drawLines();
    });
    this.unlisten = listenAll([
      [this.root, "scroll", onScroll],
      [this.root, "keydown", (event) => this.#onKey(event)],
    ]);
    this.resized = new ResizeObserver(() => onScroll());
    this.resized.observe(this.root);
    this.cancel = onScroll.cancel;
  }

  /** Marks the nodes that changed since the last call, for as long as a change is seen. @param {Change[]} changes */
  noteChanges(changes) {
    for (const [number, what, id] of this.#seen === null ? [] : changes) {
      if (number <= (this.#seen ?? 0)) continue;
      this.#moving.set(id, MOVES[what]);
      this.#timers.later(() => this.#moving.delete(id));
    }
    this.#seen = changes.at(-1)?.[0] ?? 0;
  }

  /** Draws the lines of a layout, scrolled to a node where one is given. @param {Layout} layout @param {number | string} [id] */
  draw(layout, id) {
    this.#lines = layout.lines;
    if (id !== undefined) this.#reveal(id);
    this.drawLines();
  }

  /** Draws the lines in sight. */
  drawLines() {
    const lines = this.#lines;
    this.#sheet.style.height = `${Math.max(lines.length, 1) * LINE}px`;
    const [first, last] = visibleLines(lines.length, this.#place.top, this.#place.height || HEIGHT);
    for (let i = first; i < last; i++) this.#drawLine(lines[i], i);
    const kept = new Set(lines.slice(first, last).map((line) => line.id));
    for (const [id, node] of this.#drawn) {
      if (kept.has(id)) continue;
      this.#drawn.delete(id);
      if (this.#moving.get(Number(id)) === "wb-gone") {
        node.classList.add("wb-gone");
        this.#timers.later(() => node.remove());
      } else node.remove();
    }
  }

  /** Scrolls to a node that is out of sight. @param {number | string} id */
  #reveal(id) {
    const i = this.#lines.findIndex((line) => line.id === id);
    if (i < 0) return;
    const y = i * LINE;
    this.#measure();
    const { top, height } = this.#place;
    if (y >= top && y + LINE <= top + height) return;
    this.root.scrollTop = Math.max(y - height / 2, 0);
    this.#measure();
  }

  remove() {
    this.unlisten();
    this.resized.disconnect();
    this.cancel();
    this.#timers.clear();
  }

  #measure() {
    this.#place = { top: this.root.scrollTop, height: this.root.clientHeight };
  }

  /** @param {Line} line @param {number} i */
  #drawLine(line, i) {
    const { marks, key, children } = isMore(line)
      ? moreLine(this.view, line)
      : nodeLine(this.view, line, this.#moving.get(line.id));
    const node = this.#drawn.get(line.id) ?? this.#add(line);
    if (node.className !== marks) node.className = marks;
    if (this.#keys.get(node) !== key) fill(node, children());
    this.#keys.set(node, key);
    if (!isMore(line)) writeNumbers(node, line, this.now());
    node.style.transform = `translateY(${i * LINE}px)`; // a node that is already there moves to its new place
  }

  /** @param {Line} line */
  #add(line) {
    const node = el("div", { role: "treeitem", "data-node": line.id, "aria-level": line.depth + 1 });
    node.onclick = () => (isMore(line) ? this.view.ask({ do: "open", id: line.more.id }) : this.choose(line.id));
    this.#sheet.append(node);
    this.#drawn.set(line.id, node);
    return node;
  }

  /** Moves the selection up and down. @param {KeyboardEvent} event */
  #onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const ids = this.#lines.filter((line) => !isMore(line)).map((line) => Number(line.id));
    const { kind, id } = this.view.selected;
    const at = kind === "node" ? ids.indexOf(Number(id)) : -1;
    const next = ids[Math.min(Math.max(at + step, 0), ids.length - 1)];
    if (next !== undefined && next !== id) this.choose(next);
  }
}
