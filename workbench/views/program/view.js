// @ts-check
// A program's text with its gaps while it is written; every gap is tied to the request that writes it.

import { el, fill } from "../live/dom.js";
import { widget } from "../live/mount.js";
import { count } from "../live/text.js";
import { isAsked, layoutProgram, longestPrompt, selectionOfPart } from "./layout.js";
import { BAR_EM, isPartChosen, partLine } from "./line.js";

/** @import {Child} from "../live/dom.js" */
/** @import {Made, View} from "../live/mount.js" */
/** @import {Part, Program, ProgramState} from "./layout.js" */
/** The tools of a drawing: the view, the width of one token in em, and the parts whose line is unfolded. */
/** @typedef {{view: View, em: number, open: Set<number>}} Pen */

const JOINED = /** @type {Record<string, string>} */ ({
  gather_variable: "join: each name that the branches made is a list from here on",
  concate_and_append: "join: the texts of the branches follow here",
});
const NOT_WHOLE = "… the program has more parts than are drawn here: state.show() draws them all";

/** @param {View} view @param {Part} part */
function inline(view, part) {
  if (part.kind === "text") return el("span", {}, part.text);
  if (part.kind === "varbegin") return el("span", { class: "wb-tag", "data-name": `${part.name} {` });
  if (part.kind === "varend") return el("span", { class: "wb-tag", "data-name": "}" });
  if (!isAsked(part)) return el("span", { class: "wb-soft" }, `[${part.kind} ${part.detail}]`);
  const kinds = ["wb-gap", part.replayed && "wb-given", !part.is_done && "wb-open", isPartChosen(view, part) && "wb-selected"];
  const attrs = {
    class: kinds.filter(Boolean).join(" "),
    "data-name": part.name || part.kind,
    "data-part": part.number,
    onclick: () => view.select(selectionOfPart(part)),
  };
  return el("span", attrs, part.text, part.num_left_out ? " …" : "");
}

/** @param {Pen} pen @param {Part} part @returns {Child} */
function edge(pen, part) {
  if (part.kind === "rolebegin") return el("p", { class: "wb-role" }, part.name);
  if (part.kind === "join") return el("p", { class: "wb-soft" }, JOINED[part.detail] ?? part.detail);
  if (part.kind === "roleend") return null;
  const says = `fork into ${part.detail}: each goes on from here and shares all the text above`;
  const branches = (part.branches ?? []).map((inner, i) =>
    el("div", { class: "wb-branch" }, el("p", { class: "wb-soft" }, `branch ${i}`), blocks(pen, inner)),
  );
  return [el("p", { class: "wb-soft" }, says), el("div", { class: "wb-fork" }, branches)];
}

/** @param {Pen} pen @param {Part[]} parts @returns {Child[]} */
function blocks(pen, parts) {
  const { view, em, open } = pen;
  return layoutProgram(parts).map((block) => {
    if (block.edge) return edge(pen, block.edge);
    const text = el(
      "div",
      { class: "wb-text" },
      block.parts.map((part) => inline(view, part)),
    );
    return [text, block.parts.filter(isAsked).map((part) => partLine(view, part, em, open))];
  });
}

/** @param {[number, number, number]} totals */
function totalsKey([reused, computed, made]) {
  const key = (/** @type {string} */ name, /** @type {number} */ tokens, /** @type {string} */ kind) =>
    el("span", { class: "wb-key" }, el("span", { class: kind }), `tokens ${name} `, el("b", {}, count(tokens)));
  const keys = [key("reused", reused, "wb-reused"), key("computed", computed, "wb-prefill"), key("written", made, "wb-decode")];
  return el("p", {}, keys);
}

/** @param {Pen} pen @param {Program} program @param {Child} choice between programs */
function drawProgram(pen, program, choice) {
  const lasted = el("span", { class: "wb-soft" }, `${program.calls}, ${program.lasted}`);
  fill(
    pen.view.root,
    el("p", {}, el("b", {}, program.title), " ", lasted, " ", choice),
    pen.view.about,
    totalsKey(program.totals),
    blocks(pen, program.parts),
    !program.is_whole && el("p", { class: "wb-soft" }, NOT_WHOLE),
    program.error && el("p", {}, el("b", {}, "failed "), program.error),
  );
}

/** @param {View} view @returns {Made} */
function makeProgram(view) {
  const open = /** @type {Set<number>} */ (new Set());
  /** @type {Program | null} */
  let other = null; // an earlier program that was asked for

  /** Makes the choice between programs. @param {[string, string, boolean][]} programs @param {string} shown */
  function choice(programs, shown) {
    const onchange = async () => {
      const isNewest = select.value === programs.at(-1)?.[0];
      const reply = isNewest ? null : await view.ask({ do: "detail", id: select.value });
      other = reply?.error ? null : reply;
      view.redraw();
    };
    const options = programs.map(([id, name, isRunning]) =>
      el("option", { value: id, selected: id === shown }, `${name}${isRunning ? " (running)" : ""} ${id}`),
    );
    /** @type {HTMLSelectElement} */
    const select = el("select", { "data-asks": "record", "aria-label": "program", onchange }, options);
    return select;
  }

  return {
    draw(/** @type {ProgramState} */ state) {
      const shown = /** @type {Partial<Program>} */ (other ?? state);
      if (!shown.parts) return view.root.replaceChildren(el("p", {}, el("b", {}, "Program")), view.about);
      const program = /** @type {Program} */ (shown);
      const { programs = [] } = state;
      const em = BAR_EM / (longestPrompt(program.parts) || 1);
      drawProgram({ view, em, open }, program, programs.length > 1 && choice(programs, program.program));
    },
  };
}

export default widget(makeProgram);
