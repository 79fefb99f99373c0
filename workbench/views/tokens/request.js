// @ts-check
// Shared by the views of one request: a list of requests to choose from, tokens that are picked by click or arrow, a panel.

import { el, listenAll } from "../live/dom.js";
import { count, duration, plural } from "../live/text.js";
import { placeIn, placeOf } from "./layout.js";
import { makePanel } from "./panel.js";

/** @import {View} from "../live/mount.js" */
/** @import {Selection} from "../live/selection.js" */
/** @import {TokensState} from "./layout.js" */

/**
 * Makes a labelled choice. `fill` gives it options, [value, text] each; while the reader uses it, it stays as it is.
 * @param {string} label
 * @param {(value: string) => void} onChoice
 * @param {string | null} [asks]
 */
export function makeChoice(label, onChoice, asks = null) {
  /** @type {HTMLSelectElement} */
  const select = el("select", { onchange: () => onChoice(select.value) });
  let shown = "";
  /** @param {[string, string][]} options @param {string} value */
  function fill(options, value) {
    const wanted = JSON.stringify([options, value]);
    if (wanted === shown || document.activeElement === select) return;
    shown = wanted;
    select.replaceChildren(...options.map(([id, text]) => el("option", { value: id, selected: id === value }, text)));
  }
  return { root: el("label", { class: "wb-soft", "data-asks": asks }, `${label} `, select), fill };
}

/** Makes the choice between requests. @param {View} view */
export function makeRequestChoice(view) {
  const show = (/** @type {string} */ rid) => view.ask({ do: "show", rid: rid || null });
  const choice = makeChoice("request", show, "record");
  let followed = "";

  /** @param {TokensState} state */
  function draw({ requests = [], newest, rid = "" }) {
    const listed = requests.map(([id, num, finish, kind]) => {
      const text = [id, plural(num, "token"), kind, finish ? "" : "running"].filter(Boolean).join(" · ");
      return /** @type {[string, string]} */ ([id, text]);
    });
    choice.fill([["", "the newest"], ...listed], newest ? "" : rid);
  }

  /** Shows the request that was selected elsewhere, once. @param {TokensState} state @param {Selection} selected */
  function follow({ requests = [], rid: shown }, selected) {
    const { rid } = placeOf(selected);
    if (rid && rid !== shown && rid !== followed && requests.some(([id]) => id === rid)) show(rid);
    followed = rid;
  }

  return { root: choice.root, draw, follow };
}

/** Describes how many tokens are drawn, under which constraint, and what token detail cost. @param {TokensState} state */
export function aboutTokens({ rid, rows = [], first = 0, grammar, detail_s: detail }) {
  if (!rid) return "";
  const all = plural(first + rows.length, "token");
  const shown = first > 0 ? `the last ${count(rows.length)} of ${all}, view.fold.shown.tokens has all` : all;
  const cost = typeof detail === "number" && `token detail took ${duration(detail)}`;
  return [shown, grammar, cost].filter(Boolean).join(" · ");
}

/**
 * Makes the list that a view draws its tokens into, and the panel of the chosen one.
 * @param {View} view
 * @param {number} [numBehind]
 */
export function makeTokenList(view, numBehind = 0) {
  const root = el("div", { tabindex: 0, role: "listbox", "aria-label": "tokens" });
  const panel = makePanel(view, numBehind);
  /** @type {TokensState} */
  let state = {};
  const pick = (/** @type {number} */ position) => view.select({ kind: "token", id: `${state.rid}:${position}` });

  const onClick = (/** @type {MouseEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    const position = target.closest("[data-position]")?.getAttribute("data-position");
    if (position) pick(Number(position));
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const position = placeIn(state, view.selected);
    if (!step || position === null) return;
    event.preventDefault();
    const { first = 0, rows = [] } = state;
    const next = position + step;
    if (next >= first && next < first + rows.length) pick(next);
  };
  const remove = listenAll([
    [root, "click", onClick],
    [root, "keydown", onKey],
  ]);

  /** Explains the chosen token. Returns its position; null where none is chosen. @param {TokensState} next */
  function explain(next) {
    state = next;
    const at = placeIn(state, view.selected);
    panel.draw(state, at);
    return at;
  }

  return { root, panel: panel.root, explain, remove };
}
