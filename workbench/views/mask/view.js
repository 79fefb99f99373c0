// @ts-check
// The mask of a constrained request: one column a token, as high as the number of tokens that were allowed there.

import { el, morph, patch } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { count } from "../live/text.js";
import { SAYS, words } from "../tokens/layout.js";
import { aboutTokens, makeRequestChoice, makeTokenList } from "../tokens/request.js";
import { layoutColumns } from "./layout.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {TokensState} from "../tokens/layout.js" */
/** @import {Column} from "./layout.js" */

const BARS = ["wb-decode", "wb-decode", "wb-free", "wb-prefill"]; // by kind of token
const COLUMN_EM = 3;
const LEAST_EM = 0.12;
const NEXT = 1; // the token to come has a mask, and no column yet

/** @param {Column} column @param {string} title @param {boolean} isChosen */
function drawColumn(column, title, isChosen) {
  const height = Math.max(column.height * COLUMN_EM, LEAST_EM).toFixed(2);
  const attrs = { class: `wb-col${isChosen ? " wb-selected" : ""}`, title, "data-position": column.position, role: "option" };
  const bar = el("span", { class: BARS[column.kind], style: `height:${height}em` });
  const drawn = el("span", attrs, bar, el("span", {}, column.text || "\u00a0"));
  return column.breaks
    ? el(
        "span",
        {},
        drawn,
        Array.from({ length: column.breaks }, () => el("br")),
      )
    : drawn;
}

/** Draws the columns. @param {HTMLElement} curve @param {TokensState} state @param {number | null} chosen */
function drawCurve(curve, state, chosen) {
  const { rid, rows = [], first = 0 } = state;
  curve.className = "wb-if-any wb-text wb-out wb-curve";
  const rowOf = (/** @type {Column} */ column) => rows[column.position - first];
  patch(
    curve,
    layoutColumns(state),
    (column) => JSON.stringify([rid, Object.values(column), column.position === chosen, rowOf(column).slice(3)]),
    (column) => drawColumn(column, `${column.position}: ${words(rowOf(column))}`, column.position === chosen),
  );
}

/** @param {HTMLElement} node @param {TokensState} state */
function drawKey(node, { rows = [] }) {
  const kinds = [...new Set(rows.map((row) => row[1]))].sort();
  const key = (/** @type {number} */ kind) => el("span", { class: "wb-key" }, el("span", { class: BARS[kind] }), SAYS[kind]);
  morph(node, kinds.some(Boolean) && kinds.map(key));
}

/** @param {View} view @returns {Made} */
function makeMask(view) {
  const head = el("b");
  const requests = makeRequestChoice(view);
  const about = el("span", { class: "wb-soft" });
  const scale = el("p", { class: "wb-soft" });
  const key = el("p", { class: "wb-soft" });
  const list = makeTokenList(view, NEXT);
  const tools = el("div", { class: "wb-head wb-if-any" }, requests.root, about);
  view.root.append(el("p", {}, head), view.about, tools, scale, key, list.root, list.panel);
  return {
    remove: list.remove,
    draw(/** @type {TokensState} */ state, selected) {
      requests.draw(state);
      morph(about, aboutTokens(state));
      morph(head, state.rid ? `Mask of ${state.rid}` : "Mask");
      scale.hidden = !state.rid;
      morph(scale, `Height: how many of the ${count(state.vocab_size)} tokens might come, on a logarithmic scale`);
      drawKey(key, state);
      drawCurve(list.root, state, list.explain(state));
      requests.follow(state, selected);
    },
  };
}

export default widget(makeMask);
