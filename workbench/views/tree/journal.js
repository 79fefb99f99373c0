// @ts-check
// The journal of evictions under the radix tree, folded away; asked for while it is open.

import { el, fill, listenAll } from "../live/dom.js";
import { table } from "../live/table.js";
import { evictedText } from "./words.js";

/** @import {View} from "../live/mount.js" */
/** @import {TreeState} from "./layout.js" */
/**
 * @typedef {object} Journal
 * @property {string} [error]
 * @property {string} title
 * @property {string[]} head
 * @property {number[]} numeric columns that stand to the right
 * @property {string[][]} rows
 * @property {string} rest
 */

export const RENEW_MS = 1000; // what is asked of Python is asked again no sooner

/** Makes the journal. @param {View} view */
export function makeJournal(view) {
  const words = el("summary");
  const body = el("div", { class: "wb-journal" });
  const root = el("details", { hidden: true, "data-asks": "record" }, words, body);
  let latest = 0; // the engine's time of the state that is drawn
  let drawnTime = -1; // the engine's time of the journal that is drawn
  let askedAt = -RENEW_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** Requests the journal at once, or a moment later where it did so a moment ago. */
  function askSoon() {
    if (drawnTime === latest || timer !== undefined || !root.open) return;
    timer = setTimeout(askNow, Math.max(RENEW_MS - (performance.now() - askedAt), 0));
  }

  async function askNow() {
    timer = undefined;
    drawnTime = latest;
    askedAt = performance.now();
    const journal = /** @type {Journal} */ (await view.ask({ do: "detail", evictions: true }));
    if (journal.error) return fill(body, el("p", {}, journal.error));
    const { title, rows, head, numeric, rest } = journal;
    return fill(body, el("p", {}, title), table(rows, { head, numeric }), el("p", { class: "wb-soft" }, rest));
  }

  /** @param {TreeState} state */
  function draw(state) {
    const text = evictedText(state);
    root.hidden = !text;
    if (words.textContent !== text) words.textContent = text;
    latest = state.now ?? 0;
    askSoon();
  }

  const unlisten = listenAll([[root, "toggle", askSoon]]);
  const remove = () => {
    unlisten();
    clearTimeout(timer);
  };
  return { root, draw, remove };
}
