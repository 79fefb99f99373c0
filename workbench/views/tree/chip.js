// @ts-check
import { el } from "../live/dom.js";
import { same } from "../live/selection.js";

/** @import {View} from "../live/mount.js" */

/** Makes a request's name, which selects the request in all views. @param {View} view @param {string} rid @param {string} text */
export function chip(view, rid, text) {
  const request = { kind: "request", id: rid };
  const select = (/** @type {Event} */ event) => {
    event.stopPropagation();
    view.select(request);
  };
  const on = same(view.selected, request) ? " wb-on" : "";
  return el("span", { class: `wb-chip${on}`, "data-request": rid, title: `request ${rid}`, onclick: select }, text);
}
