// @ts-check
// The KV map: rows of pages, each run of one owner a mark with a pattern, a letter or a name.

import { el, hitBy, listenAll, morph, patch } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { count } from "../live/text.js";
import { inWords, isOwned, isRead, layoutPages, nodesRead, runInWords, selectionOf } from "./layout.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {KvState, Mark, PageKind, PageRow} from "./layout.js" */
/** A row with, for each mark, whether it is selected and whether the selected request reads it. */
/** @typedef {PageRow & {r: number, chosen: [boolean, boolean][]}} DrawnRow */

const CLASSES = { f: "wb-free", t: "wb-reused", o: "wb-decode" };
const KINDS = /** @type {[PageKind, "owned" | "tree" | "free", string][]} */ ([
  ["o", "owned", "running requests"],
  ["t", "tree", "in the tree"],
  ["f", "free", "free"],
]);

/** @param {Mark} mark @param {string} place "row mark" @param {[boolean, boolean]} chosen */
function drawMark(mark, place, [isChosen, isReadBy]) {
  const chosen = isChosen ? " wb-selected" : isReadBy ? " wb-read-by" : "";
  const attrs = {
    class: CLASSES[mark.kind] + chosen,
    style: `flex:${mark.pages} 1 0`,
    title: runInWords(mark),
    "data-mark": place,
  };
  return el("span", attrs, mark.label && el(mark.label === mark.letter ? "small" : "b", {}, mark.label));
}

/** @param {DrawnRow} row */
function drawRow({ start, marks, missing, r, chosen }) {
  const drawn = marks.map((mark, i) => drawMark(mark, `${r} ${i}`, chosen[i]));
  const rest = missing > 0 && el("span", { style: `flex:${missing} 1 0` });
  return el(
    "div",
    { class: "wb-pages-row" },
    el("span", { class: "wb-num" }, count(start)),
    el("div", { class: "wb-pages" }, drawn, rest),
  );
}

/** @param {HTMLElement} bar @param {HTMLElement} key @param {KvState} state */
function drawShares(bar, key, { counts = { free: 0, tree: 0, owned: 0 } }) {
  const used = KINDS.filter(([, name]) => counts[name]);
  morph(bar, ...used.map(([kind, name]) => el("span", { class: CLASSES[kind], style: `flex:${counts[name]} 0 0` })));
  const keys = KINDS.map(([kind, name, words]) =>
    el("span", { class: "wb-key" }, el("span", { class: CLASSES[kind] }), `${words} `, el("b", {}, count(counts[name]))),
  );
  morph(key, ...keys);
}

/** @param {View} view @returns {Made} */
function makeKv(view) {
  const head = el("p");
  const bar = el("div", { class: "wb-bar wb-if-any" });
  const key = el("div");
  const map = el("div", { class: "wb-kv" });
  const about = el("p", { class: "wb-soft wb-if-any", role: "status" });
  view.root.append(head, view.about, bar, key, map, about);
  let made = layoutPages({});
  const onClick = (/** @type {MouseEvent} */ event) => {
    const mark = hitBy(event)?.closest("[data-mark]")?.getAttribute("data-mark");
    if (!mark) return;
    const [r, i] = mark.split(" ").map(Number);
    const found = selectionOf(made.rows[r]?.marks[i]);
    if (found) view.select(found);
  };
  const remove = listenAll([[map, "click", onClick]]);
  return {
    remove,
    draw(/** @type {KvState} */ state, selected) {
      const read = nodesRead(state, selected);
      made = layoutPages(state);
      morph(head, el("b", {}, state.title ?? ""));
      drawShares(bar, key, state);
      const rows = made.rows.map((row, r) => {
        const chosen = row.marks.map((mark) => /** @type {[boolean, boolean]} */ ([isOwned(mark, selected), isRead(mark, read)]));
        return { ...row, r, chosen };
      });
      patch(map, rows, JSON.stringify, drawRow);
      morph(about, inWords(made, selected, state.num_pages ?? 0, state.page_size ?? 1, read));
    },
  };
}

export default widget(makeKv);
