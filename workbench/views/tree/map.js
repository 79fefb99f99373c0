// @ts-check
// The map of the radix tree: a box a node on a canvas.

import { pattern, theme, themeName } from "../live/colours.js";
import { el, listenAll, morph } from "../live/dom.js";
import { same } from "../live/selection.js";
import { count, plural } from "../live/text.js";
import { boxAt, kindOfNode, layoutMap, longestText, numTexts, tieOf } from "./layout.js";

/** @import {Theme} from "../live/colours.js" */
/** @import {View} from "../live/mount.js" */
/** @import {Box, Layout, Row, Running} from "./layout.js" */

const LABEL = "map of the radix tree: a box a node, x its place in the text, y one row for each text";

/** Paints the boxes. @param {CanvasRenderingContext2D} pen @param {Box[]} boxes @param {Theme} colours */
function paintBoxes(pen, boxes, colours) {
  const fills = {
    wait: pattern(pen, "wait", colours.wait),
    reused: pattern(pen, "reused", colours.reused),
    decode: pattern(pen, "decode", colours.decode),
  };
  pen.strokeStyle = colours.line;
  pen.lineWidth = 0.5;
  for (const box of boxes) {
    pen.fillStyle = fills[kindOfNode(box.node)];
    pen.fillRect(box.x, box.y, box.width, box.height);
    if (box.height > 3 && box.width > 2) pen.strokeRect(box.x, box.y, box.width, box.height);
  }
}

/** Outlines the chosen boxes. @param {CanvasRenderingContext2D} pen @param {Box[]} boxes @param {Theme} colours */
function paintChosen(pen, boxes, colours) {
  pen.strokeStyle = colours.select;
  pen.lineWidth = 2;
  for (const box of boxes) pen.strokeRect(box.x + 1, box.y + 1, Math.max(box.width - 2, 1), Math.max(box.height - 2, 1));
}

/** Makes the map. A click calls `choose` with a node. @param {View} view @param {(id: number) => void} choose */
export function makeMap(view, choose) {
  const canvas = el("canvas", { class: "wb-tree-map", role: "img", "aria-label": LABEL });
  const longest = el("span");
  const leaves = el("span", { class: "wb-map-leaves" });
  const along = el("span", {}, "place in the text, in tokens →");
  const axes = el("div", { class: "wb-soft wb-map-axis" }, el("span", {}, "0"), along, longest);
  /** @type {Box[]} */
  let boxes = [];
  /** @type {unknown[]} */
  let drawnFrom = [];
  /** @type {[number, number] | null} */
  let size = null; // width and height in pixels of the page
  const measure = () => /** @type {[number, number]} */ ([canvas.clientWidth || 600, canvas.clientHeight || 104]);

  /** @param {Layout} layout @param {[number, number]} size */
  function paint(layout, [width, height]) {
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const ratio = globalThis.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    boxes = layoutMap(layout.lines, width, height);
    const colours = theme(view.root);
    const { selected } = view;
    paintBoxes(pen, boxes, colours);
    const isChosen = (/** @type {Box} */ box) => same(selected, { kind: "node", id: box.id }) || tieOf(box.node, selected);
    paintChosen(pen, boxes.filter(isChosen), colours);
  }

  /** Draws the map where something changed. @param {Row[]} rows @param {Layout} layout @param {Running[]} running */
  function draw(rows, layout, running) {
    size ??= measure();
    const key = JSON.stringify([running.map(([rid, end]) => [rid, end]), view.selected, size, themeName()]);
    if (drawnFrom[0] === rows && drawnFrom[1] === key) return;
    drawnFrom = [rows, key];
    paint(layout, size);
    morph(longest, count(longestText(layout.lines)));
    morph(leaves, `↓ ${plural(numTexts(layout.lines), "text")}`);
  }

  const onClick = (/** @type {MouseEvent} */ event) => {
    const frame = canvas.getBoundingClientRect();
    const box = boxAt(boxes, event.clientX - frame.left, event.clientY - frame.top);
    if (box) choose(box.id);
  };
  const unlisten = listenAll([[canvas, "click", onClick]]);
  const resized = new ResizeObserver(() => {
    size = measure();
    view.redraw();
  });
  resized.observe(canvas);
  const remove = () => {
    unlisten();
    resized.disconnect();
  };
  return { root: el("div", { class: "wb-map wb-if-any" }, leaves, canvas, axes), draw, remove };
}
