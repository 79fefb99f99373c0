// @ts-check
// Throughput and memory: the numbers in words, and the charts, which are a plotly widget inside this one.

import { el, morph } from "../live/dom.js";
import { modelIn } from "../live/model.js";
import { widget } from "../live/mount.js";
import { layoutFacts } from "./layout.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {ThroughputState} from "./layout.js" */

/** Draws the charts' own view. Returns null where the page cannot. @param {View} view @param {HTMLElement} holder */
async function embed(view, holder) {
  try {
    const { model } = view;
    const charts = await model.widget_manager.create_view(await modelIn(model, "chart"));
    holder.replaceChildren(charts.el);
    requestAnimationFrame(() => window.dispatchEvent(new Event("resize"))); // only now it can know how wide it is
    return charts;
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    view.say(`the charts cannot be drawn here: ${why}\nview.figure() makes a figure of them`);
    return null;
  }
}

/** @param {ReturnType<typeof layoutFacts>[number]} fact */
const tile = ({ name, first, rest }) =>
  el(
    "div",
    { class: "wb-tile" },
    el("span", { class: "wb-soft" }, name),
    el("b", {}, first),
    el("span", { class: "wb-soft" }, rest),
  );

/** @param {View} view @returns {Made} */
function makeThroughput(view) {
  const head = el("p");
  const tiles = el("div", { class: "wb-tiles wb-if-any" });
  const holder = el("div", { class: "wb-plot" });
  view.root.append(head, view.about, tiles, holder);
  const embedded = embed(view, holder);
  return {
    draw(/** @type {ThroughputState} */ state) {
      morph(head, el("b", {}, state.title ?? ""));
      morph(tiles, ...layoutFacts(state).map(tile));
    },
    remove() {
      embedded.then((charts) => charts?.remove());
    },
  };
}

export default widget(makeThroughput);
