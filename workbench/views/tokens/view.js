// @ts-check
// The tokens of one request as a strip, coloured by one measure and underlined by another.

import { el, morph, patch } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { pictureLine } from "../live/pictures.js";
import { KINDS, layoutStrip, SAYS, words } from "./layout.js";
import { aboutTokens, makeChoice, makeRequestChoice, makeTokenList } from "./request.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {TokenBox, TokensState} from "./layout.js" */

/** Element and class of each kind: a mark besides the colour. */
const TAGS = /** @type {["span" | "i" | "b", string][]} */ ([
  ["span", ""],
  ["span", "wb-con"],
  ["i", ""],
  ["b", "wb-over"],
]);
const ALWAYS_KNOWN = ["latency", "allowed"]; // measures that need no token detail

/** @param {TokenBox} box @param {string} title @param {boolean} isChosen */
function drawToken(box, title, isChosen) {
  const [tag, name] = box.line === null ? TAGS[box.kind] : TAGS[0];
  const classes = [name, box.level !== null && `wb-l${box.level}`, isChosen && "wb-selected"].filter(Boolean).join(" ");
  const style = box.line ? `border-bottom:${box.line}px solid var(--wb-ink)` : null;
  return el(tag, { class: classes || null, style, title, "data-position": box.position, role: "option" }, box.text || "\u200b");
}

/**
 * Draws the tokens.
 * @param {HTMLElement} strip
 * @param {TokensState} state
 * @param {TokenBox[]} boxes
 * @param {number | null} chosen
 */
function drawStrip(strip, { rid, rows = [], first = 0 }, boxes, chosen) {
  strip.className = "wb-if-any wb-text wb-out wb-strip";
  const rowOf = (/** @type {TokenBox} */ box) => rows[box.position - first];
  patch(
    strip,
    boxes,
    (box) => JSON.stringify([rid, Object.values(box), box.position === chosen, rowOf(box).slice(3)]),
    (box) => drawToken(box, `${box.position}: ${words(rowOf(box))}`, box.position === chosen),
  );
}

/** Describes what the colours mean. @param {HTMLElement} node @param {TokensState} state @param {string} by */
function drawScale(node, { rid, rows = [], measures = {}, no_detail: noDetail = "" }, by) {
  node.hidden = !rid;
  const isUnknown = rows.length > 0 && rows.every((row) => row[3] === null) && !ALWAYS_KNOWN.includes(by);
  const [meaning, ...levels] = measures[by] ?? [""];
  const steps = levels.map((level, i) => el("span", { class: `wb-step wb-l${i}` }, level));
  if (isUnknown) morph(node, `No colours: ${noDetail.replace("{}", by)}`);
  else morph(node, `${by}, ${meaning}: `, steps);
}

/** Describes what the marks mean, where there are any. @param {HTMLElement} node @param {TokensState} state */
function drawLegend(node, { rows = [] }) {
  const kinds = [...new Set(rows.map((row) => row[1]))].sort();
  const key = (/** @type {number} */ kind) => {
    const [tag, name] = TAGS[kind];
    return el("span", {}, el(tag, { class: name || null }, KINDS[kind]), `: ${SAYS[kind]}`);
  };
  morph(node, kinds.some(Boolean) && kinds.map(key));
}

/** @param {View} view @returns {Made} */
function makeTokens(view) {
  let by = "";
  let line = "kind";
  const head = el("b");
  const requests = makeRequestChoice(view);
  const colour = makeChoice("colour", (name) => {
    by = name;
    view.redraw();
  });
  const under = makeChoice("underline", (name) => {
    line = name;
    view.redraw();
  });
  const about = el("span", { class: "wb-soft" });
  const shown = el("div"); // the pictures of the prompt
  const scale = el("p", { class: "wb-soft wb-scale" });
  const legend = el("p", { class: "wb-soft wb-kinds" });
  const list = makeTokenList(view);
  const tools = el("div", { class: "wb-head wb-if-any" }, requests.root, colour.root, under.root, about);
  view.root.append(el("p", {}, head), view.about, tools, shown, scale, legend, list.root, list.panel);
  return {
    remove: list.remove,
    draw(/** @type {TokensState} */ state, selected) {
      by = by || state.by || "";
      const measures = Object.keys(state.measures ?? {}).map((name) => /** @type {[string, string]} */ ([name, name]));
      requests.draw(state);
      colour.fill(measures, by);
      under.fill([["kind", "how it came about"], ...measures], line);
      morph(about, aboutTokens(state));
      morph(head, state.rid ? `Tokens of ${state.rid}` : "Tokens");
      morph(shown, pictureLine(state.pictures ?? [], "Its prompt has "));
      drawScale(scale, state, by);
      drawLegend(legend, state);
      drawStrip(list.root, state, layoutStrip(state, by, line), list.explain(state));
      requests.follow(state, selected);
    },
  };
}

export default widget(makeTokens);
