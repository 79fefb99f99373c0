// @ts-check
// The line under a program's text for each gap that the model filled: what was asked for, and what it cost.

import { el } from "../live/dom.js";
import { same } from "../live/selection.js";
import { table } from "../live/table.js";
import { duration } from "../live/text.js";
import { isOf, promptLength, selectionOfPart } from "./layout.js";

/** @import {Child} from "../live/dom.js" */
/** @import {View} from "../live/mount.js" */
/** @import {Part} from "./layout.js" */

export const BAR_EM = 7; // the bar of the longest prompt

/** Returns whether the selection is the part, or its request. @param {View} view @param {Part} part */
export function isPartChosen(view, part) {
  const { selected } = view;
  return selected.kind === "request" ? isOf(part, String(selected.id)) : same(selected, { kind: "part", id: part.number });
}

/** Makes the bar of a prompt: what was reused, and what was computed. @param {Part} part @param {number} em of one token */
function promptBar(part, em) {
  const prompt = part.num_prompt ?? 0;
  const reused = part.num_cached ?? 0;
  const scale = prompt ? (em * promptLength(part)) / prompt : 0;
  const bar = (/** @type {string} */ kind, /** @type {number} */ tokens) =>
    tokens > 0 && el("span", { class: kind, style: `width:${(tokens * scale).toFixed(2)}em` });
  return el(
    "span",
    { class: "wb-read", style: `width:${BAR_EM}em` },
    bar("wb-reused", reused),
    bar("wb-prefill", prompt - reused),
  );
}

/** @param {Part} part */
function factsTable(part) {
  const { timings: t } = part;
  const times = t && `${duration(t.queue_s)} waiting, ${duration(t.prefill_s)} prefill, ${duration(t.decode_s)} decode`;
  const asked = [
    ["asked for", part.detail],
    ["request", part.requests],
    ["written at", part.place],
    ["time", times],
  ];
  const scores = part.scores.map(([option, score]) => [
    JSON.stringify(option),
    `${score}${option === part.text ? " chosen" : ""}`,
  ]);
  const samples = part.samples.map((text) => ["another sample", JSON.stringify(text)]);
  return table([...asked.filter(([, value]) => value), ...scores, ...samples]);
}

/** @param {View} view @param {Part} part @returns {Child[]} */
function lineButtons(view, part) {
  if (!part.rid) return [];
  const follow = () => view.select(selectionOfPart(part));
  const abort = () => view.ask({ do: "abort", rid: part.rid });
  const stop = !part.is_done && el("button", { class: "wb-abort", "data-asks": "engine", onclick: abort }, "abort");
  return [el("button", { class: "wb-follow", onclick: follow }, "show in all views"), " ", stop];
}

/**
 * Makes the line of one part.
 * @param {View} view
 * @param {Part} part
 * @param {number} em of one token
 * @param {Set<number>} open numbers of the parts whose line is unfolded
 */
export function partLine(view, part, em, open) {
  const attrs = {
    class: `wb-line${isPartChosen(view, part) ? " wb-selected" : ""}`,
    open: open.has(part.number),
    "data-line": part.number,
    ontoggle: () => (line.open ? open.add(part.number) : open.delete(part.number)),
  };
  const summary = el("summary", {}, promptBar(part, em), " ", el("b", {}, part.title), ` ${part.facts}`);
  /** @type {HTMLDetailsElement} */
  const line = el("details", attrs, summary, factsTable(part), lineButtons(view, part));
  return line;
}
