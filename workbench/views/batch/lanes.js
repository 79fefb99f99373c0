// @ts-check
// The rows of the batch timeline: two of steps, and one for each request.

import { el, fill, morph } from "../live/dom.js";
import { same } from "../live/selection.js";
import { count, duration } from "../live/text.js";
import { partInWords, shortened } from "./words.js";

/** @import {Child} from "../live/dom.js" */
/** @import {Selection} from "../live/selection.js" */
/** @import {Bar, Break, DrawnLane, Part, layoutBatch} from "./layout.js" */
/** @typedef {ReturnType<typeof layoutBatch>} Batch */

/** @param {number} left @param {number} [width] percent of the axis */
const placed = (left, width) => `left:${left.toFixed(3)}%${width === undefined ? "" : `;width:${width.toFixed(3)}%`}`;

/** Makes a row: a name, a track, and a note behind it. @param {Child} name @param {string} [kind] a class of the track */
export function makeRow(name, kind = "") {
  const track = el("div", { class: `wb-track${kind}` });
  const note = el("span");
  return { root: el("div", { class: "wb-lane" }, el("span", {}, name), track, note), track, note };
}

/** @param {Break[]} breaks */
const dashes = (breaks) =>
  breaks.map(({ left, seconds }) =>
    el("span", { class: "wb-break", style: placed(left), title: `${duration(seconds)} without any request` }),
  );

/** @param {Bar} bar @param {string} kind */
function barMark({ step, last, tokens, height, left, width }, kind) {
  const steps = step === last ? `step ${step}` : `each of steps ${step} to ${last}`;
  const style = `${placed(left, width)};height:${height.toFixed(0)}%`;
  return el("span", { class: `wb-${kind}`, style, title: `${steps}: ${count(tokens)} ${kind} tokens` });
}

/**
 * Makes a row of steps.
 * @param {"prefill" | "decode"} kind
 */
export function makeStepRow(kind) {
  const row = makeRow(`${kind} tokens`, " wb-tall");
  /** @param {Batch} batch @param {Selection} selected */
  function draw(batch, selected) {
    const { most, marks } = batch[kind];
    const chosen = batch.places.find(({ number }) => same(selected, { kind: "step", id: number }));
    const outline = chosen && el("span", { class: "wb-selected", style: placed(chosen.left, chosen.width) });
    morph(
      row.track,
      marks.map((bar) => barMark(bar, kind)),
      outline,
      dashes(batch.breaks),
    );
    morph(row.note, most ? `up to ${count(most)}` : "none");
  }
  return { root: row.root, draw };
}

/** @param {Part} part @returns {Child[]} */
function stretchMarks({ kind, left, width, first, last, ...part }) {
  const title = partInWords({ kind, first, last, ...part });
  const step = first && first === last ? first : null;
  const mark = el("span", { class: `wb-${kind}`, style: placed(left, width), title, "data-step": step });
  return [mark, part.isRetracted && el("b", { class: "wb-mark", style: placed(left), title: part.note }, "▼")];
}

/** @param {string} rid */
function makeLane(rid) {
  const prompt = el("span", { class: "wb-soft" });
  const row = makeRow([el("button", { class: "wb-plain", title: rid, "aria-label": rid }, shortened(rid)), " ", prompt]);
  row.root.dataset.rid = rid;
  /** @param {DrawnLane} lane @param {Break[]} breaks @param {Selection} selected */
  function draw(lane, breaks, selected) {
    if (prompt.textContent !== lane.prompt) prompt.textContent = prompt.title = lane.prompt;
    morph(row.track, lane.parts.map(stretchMarks), dashes(breaks));
    morph(row.note, lane.phase === "waiting" ? "waiting" : `${count(lane.out)} out`);
    row.root.classList.toggle("wb-selected", same(selected, { kind: "request", id: rid }));
  }
  return { root: row.root, draw };
}

/** Makes the rows of requests: a request keeps its row while it is drawn. */
export function makeLanes() {
  const root = el("div", { class: "wb-lanes" });
  /** @type {Map<string, ReturnType<typeof makeLane>>} */
  const rows = new Map();
  /** @param {Batch} batch @param {Selection} selected */
  function draw({ lanes, breaks }, selected) {
    const shown = lanes.map((lane) => {
      const row = rows.get(lane.rid) ?? makeLane(lane.rid);
      rows.set(lane.rid, row);
      row.draw(lane, breaks, selected);
      return row.root;
    });
    const drawn = new Set(lanes.map((lane) => lane.rid));
    for (const rid of rows.keys()) if (!drawn.has(rid)) rows.delete(rid);
    const present = root.children;
    if (present.length !== shown.length || shown.some((row, i) => row !== present[i])) fill(root, shown);
  }
  return { root, draw };
}
