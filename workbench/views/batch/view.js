// @ts-check
// The batch timeline: two rows of steps, under them a waterfall of each request, and in words what is selected.

import { el, hitBy, listenAll, morph } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { duration } from "../live/text.js";
import { makeAbout, makeQueue, makeTurns } from "./about.js";
import { makeLanes, makeRow, makeStepRow } from "./lanes.js";
import { layoutBatch, stepAt } from "./layout.js";
import { KEY } from "./words.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {Selection} from "../live/selection.js" */
/** @import {Batch} from "./lanes.js" */
/** @import {BatchState} from "./layout.js" */

/**
 * Returns what a click selects: a step, a request, or null.
 * @param {MouseEvent} event
 * @param {Batch} batch
 * @returns {Selection | null}
 */
function clicked(event, batch) {
  const hit = hitBy(event);
  const track = hit?.closest(".wb-tall");
  if (track) {
    const { left, width } = track.getBoundingClientRect();
    const step = stepAt(batch.places, (100 * (event.clientX - left)) / width);
    return step === null ? null : { kind: "step", id: step };
  }
  const step = hit?.closest("[data-step]")?.getAttribute("data-step");
  if (step) return { kind: "step", id: Number(step) };
  const rid = hit?.closest("[data-rid]")?.getAttribute("data-rid");
  return rid ? { kind: "request", id: rid } : null;
}

/** @param {HTMLElement} node @param {Batch} batch */
function drawKey(node, { kinds, lanes }) {
  const key = kinds.map((kind) => el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), KEY[kind]));
  const isRetracted = lanes.some((lane) => lane.parts.some((part) => part.isRetracted));
  morph(node, key, isRetracted && el("span", { class: "wb-key" }, el("b", { class: "wb-mark" }, "▼"), " retracted"));
}

/** @param {View} view @returns {Made} */
function makeBatch(view) {
  const head = el("p");
  const key = el("div");
  const prefill = makeStepRow("prefill");
  const decode = makeStepRow("decode");
  const lanes = makeLanes();
  const chart = el("div", { class: "wb-chart wb-if-any" }, prefill.root, decode.root, lanes.root);
  const scale = makeRow("");
  scale.root.classList.add("wb-if-any");
  scale.track.className = "wb-soft wb-ends";
  const gaps = el("p", { class: "wb-soft" });
  const turns = makeTurns(view);
  const queue = makeQueue();
  const about = makeAbout(view);
  view.root.append(head, view.about, key, chart, scale.root, gaps, turns.root, queue.root, about.root);
  let batch = layoutBatch({});
  const onClick = (/** @type {MouseEvent} */ event) => {
    const found = clicked(event, batch);
    if (found) view.select(found);
  };
  return {
    remove: listenAll([[chart, "click", onClick]]),
    draw(/** @type {BatchState} */ state, selected) {
      batch = layoutBatch(state);
      morph(head, el("b", {}, state.title ?? ""));
      drawKey(key, batch);
      for (const row of [prefill, decode, lanes]) row.draw(batch, selected);
      morph(scale.track, el("span", {}, "0"), el("span", {}, duration(batch.seconds)));
      const cut = batch.breaks.reduce((sum, gap) => sum + gap.seconds, 0);
      morph(gaps, cut > 0 && `${duration(cut)} without any request left out at the dashed lines`);
      for (const part of [turns, queue, about]) part.draw(state);
    },
  };
}

export default widget(makeBatch);
