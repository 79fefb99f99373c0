// @ts-check
import { el } from "./dom.js";

/** @import {Child} from "./dom.js" */

/** @param {Child[]} cells @param {"td" | "th"} tag @param {number[]} numeric */
function tableRow(cells, tag, numeric) {
  const made = cells.map((cell, i) => el(tag, { class: numeric.includes(i) && "wb-num" }, cell));
  return el("tr", {}, made);
}

/**
 * Makes a table of cells. `numeric` columns stand to the right.
 * @param {Child[][]} rows
 * @param {{head?: string[], numeric?: number[]}} [options]
 */
export function table(rows, { head = [], numeric = [] } = {}) {
  const body = rows.map((cells) => tableRow(cells, "td", numeric));
  return el("table", {}, head.length > 0 && el("thead", {}, tableRow(head, "th", numeric)), el("tbody", {}, body));
}
