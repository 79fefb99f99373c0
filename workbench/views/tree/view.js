// @ts-check
// The radix tree: a map of all nodes on top, below it an outline with one line a node, and what is selected.

import { el, listenAll } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { plural } from "../live/text.js";
import { makeDetail } from "./detail.js";
import { drawHead, makeRequests } from "./head.js";
import { makeJournal } from "./journal.js";
import { layoutTree, withAllRows } from "./layout.js";
import { makeMap } from "./map.js";
import { Outline } from "./outline.js";
import { clockOf } from "./words.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {Row, TreeState} from "./layout.js" */
/** The result of a search: the number of nodes in which the text ends, the first of them, and the rows to draw them with. */
/** @typedef {{num_found: number, found: number[], rows: Row[]}} Matches */

const TICK_MS = 1000; // how often idle times are written while nothing happens
const TYPING_MS = 200; // a search begins so long after the last key
const KINDS = [
  ["decode", "held by a running request"],
  ["reused", "found again"],
  ["wait", "stored, not found yet"],
];

/** Makes the tools of the tree: a search of its text, and a flush. @param {View} view */
function makeTools(view) {
  const attrs = { "data-asks": "kernel", type: "search", placeholder: "search the text" };
  const input = el("input", { ...attrs, "aria-label": "search the text of the tree" });
  const flush = el("button", { "data-asks": "engine", title: "drop all that no running request holds" }, "flush");
  const found = el("span", { class: "wb-soft" });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typed;

  const tools = {
    root: el("div", { class: "wb-head wb-if-any" }, input, flush, found),
    matches: /** @type {Matches | null} */ (null),
    remove() {
      unlisten();
      clearTimeout(typed);
    },
  };

  async function search() {
    const text = input.value;
    const reply = text ? await view.ask({ do: "detail", text }) : null;
    if (input.value !== text) return;
    tools.matches = reply?.error ? null : reply;
    found.textContent = reply ? (reply.error ?? foundText(reply)) : "";
    view.redraw();
  }

  async function onFlush() {
    const reply = await view.ask({ do: "flush" });
    found.textContent = reply.error ?? `${plural(reply.num_tokens, "token")} dropped`;
  }

  const onType = () => {
    clearTimeout(typed);
    typed = setTimeout(search, TYPING_MS);
  };
  const unlisten = listenAll([
    [input, "input", onType],
    [flush, "click", onFlush],
  ]);
  return tools;
}

/** @param {Matches} matches */
function foundText({ num_found: number, found }) {
  const more = `, the first ${found.length} drawn; engine.cache.search(text) lists all`;
  return `${plural(number, "node")}${number === found.length ? "" : more}`;
}

/** Makes the engine's clock: it stands still once the kernel has ended. @param {View} view @param {() => TreeState} state */
function makeClock(view, state) {
  /** @type {number | null} */
  let stopped = null;
  return () => {
    if (stopped !== null) return stopped;
    const now = clockOf(state(), view.model.get("epoch"), Date.now() / 1000);
    if (view.isGone) stopped = now;
    return now;
  };
}

/** @param {View} view @returns {Made} */
function makeTree(view) {
  /** @type {TreeState} */
  let state = {};
  let layout = layoutTree([]);
  let revealed = "";
  const now = makeClock(view, () => state);
  const choose = (/** @type {number} */ id) => view.select({ kind: "node", id });
  const head = el("div", { class: "wb-head" });
  const requests = makeRequests(view);
  const tools = makeTools(view);
  const map = makeMap(view, choose);
  const outline = new Outline(view, now, choose);
  const journal = makeJournal(view);
  const detail = makeDetail(view);
  const key = KINDS.map(([kind, text]) => el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), text));
  const parts = [head, view.about, requests.root, tools.root, map.root, outline.root];
  view.root.append(...parts, el("div", { class: "wb-if-any" }, key), journal.root, detail.root);

  /** Returns the node that was selected since the last call. */
  function newlySelected() {
    const { kind, id } = view.selected;
    const key = JSON.stringify([kind, id]);
    const isNew = key !== revealed && kind === "node";
    revealed = key;
    return isNew ? id : undefined;
  }

  const tick = setInterval(() => {
    outline.drawLines();
    detail.draw(layout, now());
  }, TICK_MS);
  return {
    draw(next) {
      state = next;
      const { matches } = tools;
      const rows = matches ? matches.rows : (state.rows ?? []);
      layout = layoutTree(rows, state.running, matches ? [0, 0] : state.hidden);
      drawHead(head, state);
      journal.draw(state);
      requests.draw(state);
      map.draw(rows, layout, state.running ?? []);
      outline.noteChanges(state.changes ?? []);
      outline.draw(layout, newlySelected());
      detail.draw(layout, now());
    },
    receive: (news, { rows = [] }) => withAllRows(news, rows),
    remove() {
      for (const part of [tools, map, outline, journal]) part.remove();
      clearInterval(tick);
    },
  };
}

export default widget(makeTree, ["rows"]);
