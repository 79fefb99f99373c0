// @ts-check
// A conversation as the model reads it: tokens by role, stored ones underlined, the place marked where two turns part.

import { el, fill } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { pictureNode } from "../live/pictures.js";
import { same } from "../live/selection.js";
import { table } from "../live/table.js";
import { count } from "../live/text.js";
import { kindOfRole, layoutTemplate } from "./layout.js";

/** @import {Made, View} from "../live/mount.js" */
/** @import {SeenPicture} from "../live/pictures.js" */
/** @import {PromptToken, Stretch, TemplateState} from "./layout.js" */

/** @param {View} view @param {PromptToken} token @param {SeenPicture[]} pictures */
function tokenNode(view, [place, id, text, , node, picture, num = 1], pictures) {
  const chosen = node ? { kind: "node", id: node } : { kind: "token", id: `prompt ${place}` };
  const name = num > 1 ? `tokens ${place} to ${place + num - 1}` : `token ${place}, id ${id}`;
  const attrs = {
    title: `${name}${node ? `, in node ${node}` : ", not stored"}`,
    "data-token": place,
    "data-in": node || null,
    class: same(view.selected, chosen) && "wb-selected",
    onclick: () => view.select(chosen),
  };
  const shown = picture !== undefined && pictures[picture];
  return el(node ? "u" : "span", attrs, shown ? pictureNode(shown) : text);
}

/** @param {View} view @param {Stretch} stretch @param {number | null} breakAt @param {SeenPicture[]} pictures */
function stretchNodes(view, { role, gap, tokens }, breakAt, pictures) {
  const leftOut = gap > 0 && el("p", { class: "wb-soft" }, `… ${count(gap)} tokens, all are in view.fold.turn.tokens …`);
  const mark = (/** @type {number} */ place) => place === breakAt && el("b", { class: "wb-cut" }, "▼ breaks");
  const drawn = tokens.map((token) => [mark(token[0]), tokenNode(view, token, pictures)]);
  return [leftOut, el("span", { class: kindOfRole(role), "data-name": role }, drawn)];
}

/** @param {string[]} roles @param {boolean} isStored */
function keyOf(roles, isStored) {
  const swatch = (/** @type {string} */ kind, /** @type {string} */ words) =>
    el("span", { class: "wb-key" }, el("span", { class: kind }), words);
  const swatches = [...new Set(roles)].map((role) => swatch(kindOfRole(role).replace("wb-tok ", ""), role));
  const own = el("span", { class: "wb-key wb-own" }, "grey: the template");
  return el("p", {}, swatches, own, isStored && swatch("wb-reused", "underlined: stored now, click for its node"));
}

/** @param {View} view @returns {Made} */
function makeTemplate(view) {
  return {
    draw(/** @type {TemplateState} */ state) {
      const { sentences = [], roles = [], tokens = [], break_at: breakAt = null, around = [], pictures = [] } = state;
      const stretches = layoutTemplate(tokens, roles).map((stretch) => stretchNodes(view, stretch, breakAt, pictures));
      const isStored = tokens.some((token) => token[4] > 0);
      fill(
        view.root,
        el("p", {}, el("b", {}, "Chat template")),
        view.about,
        sentences.map((says) => el("p", {}, says)),
        el("div", { class: "wb-text" }, stretches),
        keyOf(roles, isStored),
        around.length > 0 && table(around, { head: ["turn", "same", "then"] }),
      );
    },
  };
}

export default widget(makeTemplate);
