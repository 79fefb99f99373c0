// @ts-check
// Above the radix tree: what it holds, what it saved, and the running requests.

import { el, morph } from "../live/dom.js";
import { plural } from "../live/text.js";
import { chip } from "./chip.js";
import { savedText } from "./words.js";

/** @import {View} from "../live/mount.js" */
/** @import {TreeState} from "./layout.js" */

const MAX_RUNNING = 12; // requests named until all are asked for

/** Draws the title and the bar of what was reused. @param {HTMLElement} node @param {TreeState} state */
export function drawHead(node, state) {
  const { num_nodes: nodes = 0, num_tokens: stored = 0, num_referenced: wanted = 0 } = state;
  const part = (/** @type {string} */ kind, /** @type {number} */ tokens) => el("span", { class: kind, style: `flex:${tokens}` });
  const parts = wanted ? [part("wb-prefill", stored), part("wb-reused", Math.max(wanted - stored, 0))] : [];
  morph(
    node,
    el("b", {}, `Radix tree: ${plural(nodes, "node")}`),
    el("span", { class: "wb-count" }, savedText(state)),
    el("span", { class: "wb-save" }, parts),
  );
}

/** Makes the row of running requests. Each can be selected and aborted. @param {View} view */
export function makeRequests(view) {
  const root = el("div", { class: "wb-head" });
  let isAllShown = false;
  let drawnFrom = "";

  /** @param {string} rid */
  function chipWithAbort(rid) {
    const abort = (/** @type {Event} */ event) => {
      event.stopPropagation();
      view.ask({ do: "abort", rid });
    };
    const made = chip(view, rid, rid);
    made.append(
      el("button", { "data-asks": "engine", title: `abort ${rid}`, "aria-label": `abort ${rid}`, onclick: abort }, "✕"),
    );
    return made;
  }

  /** @param {number} more requests that are not named */
  function moreButton(more) {
    const turn = () => {
      isAllShown = !isAllShown;
      view.redraw();
    };
    return el("button", { onclick: turn }, isAllShown ? "fewer" : `and ${more} more`);
  }

  /** @param {TreeState} state */
  function draw({ running = [] }) {
    const rids = running.map(([rid]) => rid);
    const key = JSON.stringify([rids, view.selected, isAllShown]);
    if (key === drawnFrom) return;
    drawnFrom = key;
    const shown = rids.slice(0, isAllShown ? rids.length : MAX_RUNNING).map(chipWithAbort);
    const title = el("span", { class: "wb-soft" }, rids.length ? "running:" : "no request is running");
    root.replaceChildren(title, ...shown, ...(rids.length > MAX_RUNNING ? [moreButton(rids.length - MAX_RUNNING)] : []));
  }

  return { root, draw };
}
