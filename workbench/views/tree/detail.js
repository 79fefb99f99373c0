// @ts-check
// The selection in full: a node's text and the requests that made and found it, or how a request is tied to the tree.

import { el, fill, morph } from "../live/dom.js";
import { pictureLine } from "../live/pictures.js";
import { count, plural } from "../live/text.js";
import { chip } from "./chip.js";
import { RENEW_MS } from "./journal.js";
import { ago, placeInText, requestText } from "./words.js";

/** @import {Child} from "../live/dom.js" */
/** @import {View} from "../live/mount.js" */
/** @import {SeenPicture} from "../live/pictures.js" */
/** @import {Layout} from "./layout.js" */
/**
 * The reply to {do: "detail", id: node}.
 * @typedef {object} NodeFacts
 * @property {string} [error]
 * @property {number} id
 * @property {number[]} children
 * @property {number[]} token_ids
 * @property {string} text
 * @property {string} text_before
 * @property {number} num_before
 * @property {number} num_hits
 * @property {string} made_by
 * @property {number} made_at
 * @property {string[]} used_by
 * @property {string[]} held_by
 * @property {SeenPicture[]} [pictures] those that have tokens in it
 * @property {string} [in_python] how a cell asks for it; a recording has no cells
 */

/** Copies to the clipboard; where the page may not, selects the text. @param {HTMLElement} button @param {HTMLElement} text */
async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text.textContent ?? "");
    button.textContent = "copied";
  } catch {
    getSelection()?.selectAllChildren(text);
  }
}

/** @param {string} text Python code */
function copied(text) {
  const code = el("code", {}, text);
  /** @type {HTMLButtonElement} */
  const button = el("button", { title: "copy", onclick: () => copy(button, code) }, "copy");
  return el("span", { "data-asks": "kernel" }, code, " ", button);
}

/** @param {View} view @param {NodeFacts} facts @param {HTMLElement} age @returns {[string, Child][]} */
function factRows(view, facts, age) {
  const by = (/** @type {string} */ rid) => chip(view, rid, rid);
  const free = facts.children.length ? "yes, after the nodes below it" : "yes";
  const found = facts.used_by.length ? [`${plural(facts.num_hits, "time")}: `, facts.used_by.map(by)] : "not yet";
  /** @type {[string, Child][]} */
  const asked = facts.in_python ? [["in Python", copied(facts.in_python)]] : [];
  return [
    ...asked,
    ["tokens", `${count(facts.token_ids.length)}, ${placeInText(facts.num_before)}`],
    ["made by", [by(facts.made_by), " ", age]],
    ["found by", found],
    ["evictable", facts.held_by.length ? ["no: running requests use it: ", facts.held_by.map(by)] : free],
  ];
}

/** Makes the panel. @param {View} view */
export function makeDetail(view) {
  const root = el("div", { class: "wb-detail wb-if-any" });
  /** @type {string | number | null} */
  let shownNode = null;
  let shownKey = ""; // the node as it was when it was asked for
  let askedAt = 0;
  /** @type {{node: HTMLElement, at: number} | null} */
  let age = null; // the words that say when the node was made, and when that was

  /** @param {string} text */
  function say(text) {
    age = null;
    morph(root, el("p", { class: "wb-soft" }, text));
  }

  /** @param {NodeFacts} facts */
  function show(facts) {
    if (facts.error) return say(facts.error);
    age = { node: el("span"), at: facts.made_at };
    const rows = factRows(view, facts, age.node);
    fill(
      root,
      el("p", {}, el("b", {}, `node ${facts.id}`)),
      el("div", { class: "wb-text" }, el("span", { class: "wb-soft" }, facts.text_before), el("u", {}, facts.text)),
      pictureLine(facts.pictures ?? []),
      el(
        "table",
        {},
        rows.map(([name, value]) => el("tr", {}, el("th", {}, name), el("td", {}, value))),
      ),
    );
  }

  /** @param {Layout} layout @param {string | number} id */
  async function askFor(layout, id) {
    const node = layout.nodes.get(Number(id));
    const key = node ? JSON.stringify([id, node.hits, node.holders]) : `${id}`;
    if (key === shownKey || (id === shownNode && performance.now() - askedAt < RENEW_MS)) return;
    if (id !== shownNode) say(`node ${id}: asking …`);
    shownNode = id;
    shownKey = key;
    askedAt = performance.now();
    const facts = await view.ask({ do: "detail", id });
    if (shownNode !== id) return;
    show(facts);
    view.redraw();
  }

  /** @param {Layout} layout @param {number} now */
  function draw(layout, now) {
    if (age) age.node.textContent = ago(now - age.at);
    const { kind, id } = view.selected;
    if (kind === "node" && id !== undefined) {
      askFor(layout, id);
      return;
    }
    shownNode = null;
    shownKey = "";
    const hint = view.isGone ? "" : "Click a node for its text, who made it and who found it.";
    say(kind === "request" ? requestText(layout, String(id)) : hint);
  }

  return { root, draw };
}
