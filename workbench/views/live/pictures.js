// @ts-check
// Pictures of prompts: a block with a small form and words, as in Python (views/seen.py).

import { el } from "./dom.js";

/** @typedef {{words: string, thumbnail: string}} SeenPicture */

/** Makes the block of a picture. @param {SeenPicture} picture */
export function pictureNode({ words, thumbnail }) {
  const isSafe = thumbnail.startsWith("data:image/");
  return el("span", { class: "wb-picture" }, isSafe && el("img", { src: thumbnail, alt: "" }), words);
}

/** Makes a line of pictures behind some words; false for none. @param {SeenPicture[]} pictures @param {string} before */
export function pictureLine(pictures, before = "") {
  return pictures.length > 0 && el("p", {}, before, pictures.map(pictureNode));
}
