// @ts-check
// The panel of one token: the row's own facts at once, the rest when Python has answered.

import { el, fill } from "../live/dom.js";
import { table } from "../live/table.js";
import { count } from "../live/text.js";
import { share, words } from "./layout.js";

/** @import {Child} from "../live/dom.js" */
/** @import {View} from "../live/mount.js" */
/** @import {TokensState} from "./layout.js" */
/** A token that was likely: its id, text, probability, and whether the constraint allowed it (null: not known). */
/** @typedef {[number, string, number, (boolean | null)?]} Likely */
/** A class of tokens in a mask: its name, how many of it are allowed, how many there are, and examples. */
/** @typedef {[string, number, number, string[]]} TokenClass */
/**
 * The reply to {do: "detail", id: [request, position]}. `classes` and what follows describe a mask.
 * @typedef {object} TokenDetail
 * @property {string} [error]
 * @property {Likely[]} [before]
 * @property {Likely[]} [after]
 * @property {TokenClass[]} [classes]
 * @property {string} [sentence]
 * @property {number} [num_allowed]
 * @property {string[]} [tokens]
 */
/** Requests the reason why a token was not allowed. @typedef {(token: number) => void} AskWhy */

const NO_DETAIL = "No token detail here: it was off, or the token was forced.";

/** @param {number} part @param {string} kind */
const shareBar = (part, kind) =>
  el("div", { class: "wb-share" }, el("span", { class: kind, style: `width:${(part * 100).toFixed(1)}%` }));

/** @param {string} text */
const mono = (text) => el("span", { class: "wb-mono" }, text);

/** @param {Likely} likely @param {AskWhy} askWhy @returns {Child[]} */
function likelyCells([id, text, part, allowed], askWhy) {
  const why = allowed === false ? "forbidden: why?" : "why?";
  const verdict = allowed === true ? "allowed" : el("button", { "data-asks": "record", onclick: () => askWhy(id) }, why);
  const bar = shareBar(part, allowed === false ? "wb-lost" : "wb-decode");
  return [mono(JSON.stringify(text)), share(part), bar, allowed !== undefined && verdict];
}

/** @param {string} title @param {Likely[]} rows @param {AskWhy} askWhy */
function likelyTable(title, rows, askWhy) {
  const cells = rows.map((row) => likelyCells(row, askWhy));
  return el("div", {}, el("p", { class: "wb-soft" }, title), table(cells, { numeric: [1] }));
}

/**
 * Shows the likeliest tokens before and after the mask.
 * @param {Likely[]} before
 * @param {Likely[]} after
 * @param {AskWhy} askWhy
 */
function likelyTables(before, after, askWhy) {
  if (!after.length) {
    const rows = before.map(([id, text, part]) => /** @type {Likely} */ ([id, text, part]));
    return el("div", { class: "wb-pair" }, likelyTable("the model's likeliest", rows, askWhy));
  }
  const tables = [likelyTable("before the mask", before, askWhy), likelyTable("after the mask", after, askWhy)];
  return el("div", { class: "wb-pair" }, tables);
}

/** Shows a mask: its classes of tokens, and some of the tokens. @param {TokenDetail & {classes: TokenClass[]}} detail */
function maskParts({ sentence, classes, tokens = [], num_allowed: numAllowed = 0 }) {
  const rows = classes
    .filter(([, allowed]) => allowed)
    .map(([name, allowed, total, examples]) => {
      const bar = shareBar(allowed / total, "wb-decode");
      return [name, `${count(allowed)} of ${count(total)}`, bar, mono(examples.join(" "))];
    });
  const chips = tokens.map((text) => el("span", {}, text));
  const rest = numAllowed - tokens.length;
  const more = rest > 0 && el("span", { class: "wb-soft" }, `and ${count(rest)} more`);
  return [el("p", {}, sentence), table(rows, { numeric: [1] }), el("div", { class: "wb-text wb-chips" }, chips, more)];
}

/** @param {TokenDetail} detail @param {HTMLElement} why @param {AskWhy} askWhy @returns {Child[]} */
function panelParts(detail, why, askWhy) {
  const { error, before, after = [], classes } = detail;
  if (error) return [el("p", {}, error)];
  const likely = before && [likelyTables(before, after, askWhy), why];
  const none = !before && !classes && el("p", { class: "wb-soft" }, NO_DETAIL);
  return [likely, none, classes && maskParts({ ...detail, classes })];
}

/**
 * Makes the panel. `numBehind` places behind the last token may be shown: a mask stands there before its token does.
 * @param {View} view
 * @param {number} numBehind
 */
export function makePanel(view, numBehind) {
  const root = el("div", { class: "wb-panel", hidden: true });
  const why = el("p", { class: "wb-why" });
  const body = el("div");
  let shown = ""; // request, position, and whether its token is there

  /** @param {string} rid @param {number} position @returns {AskWhy} */
  const askWhy = (rid, position) => async (token) => {
    const asked = shown;
    why.textContent = "…";
    const reply = await view.ask({ do: "detail", id: [rid, position], why: token });
    if (shown === asked) why.textContent = reply.why ?? reply.error ?? "";
  };

  /** @param {TokensState} state @param {number | null} position */
  async function draw({ rid = "", first = 0, rows = [] }, position) {
    const at = rid && position !== null ? position - first : -1;
    const isThere = at >= 0 && at < rows.length + numBehind;
    const row = rows[at];
    const wanted = isThere ? `${rid}:${position}:${Boolean(row)}` : "";
    if (wanted === shown) return;
    shown = wanted;
    why.textContent = "";
    root.hidden = !isThere;
    if (!isThere || position === null) return;
    const title = row ? `${position}: ${JSON.stringify(row[0])} ` : `${position}: what may come next`;
    body.replaceChildren();
    root.replaceChildren(el("p", {}, el("b", {}, title), row && words(row)), body);
    const detail = await view.ask({ do: "detail", id: [rid, position] });
    if (shown === wanted) fill(body, panelParts(detail, why, askWhy(rid, position)));
  }

  return { root, draw };
}
