// @ts-check
// The tokens of one request as numbers, shared by the token strip and the mask's columns.

import { count, duration } from "../live/text.js";

/** @import {SeenPicture} from "../live/pictures.js" */
/** @import {Selection} from "../live/selection.js" */
/** @typedef {number | null} Known */
/**
 * A token of the state: text, kind (a place in `KINDS`), one digit or "-" for each measure, probability, entropy, rank,
 * seconds since the token before, allowed tokens, and the probability that the mask removed. What is not known is null.
 * @typedef {[string, number, string, Known, Known, Known, Known, Known, Known]} TokenRow
 */
/**
 * @typedef {object} TokensState
 * @property {string} [rid]
 * @property {number} [first] place of the first row in the output
 * @property {TokenRow[]} [rows]
 * @property {[string, number, string, string][]} [requests] id, tokens, why it ended, kind of its constraint
 * @property {boolean} [newest] whether the newest request is followed
 * @property {string} [finish]
 * @property {string} [grammar]
 * @property {number} [vocab_size]
 * @property {number | null} [detail_s] seconds that token detail took
 * @property {string} [by] the measure that colours, until another is chosen
 * @property {Record<string, string[]>} [measures] for each measure its words and the words of its five levels
 * @property {string} [no_detail] what to say where a measure, in the place of {}, was not recorded
 * @property {SeenPicture[]} [pictures] those of its prompt
 * @property {number | null} [step] the step that the view was opened with
 */
/** A token of the strip; `level` and `line` go from 0 to 4, null where it is not known or not drawn. */
/** @typedef {{position: number, text: string, kind: number, level: number | null, line: number | null}} TokenBox */

export const KINDS = ["free", "constrained", "forced", "overruled"];
export const SAYS = [
  "no constraint",
  "chosen among what the constraint allows",
  "the constraint left no other text",
  "the model's first choice was forbidden",
];

/** Returns the request and the position that a selection names; a request has no position. @param {Selection} selected */
export function placeOf(selected) {
  const id = String(selected.id ?? "");
  if (selected.kind === "request") return { rid: id, position: null };
  const at = id.lastIndexOf(":");
  if (selected.kind !== "token" || at <= 0) return { rid: "", position: null };
  return { rid: id.slice(0, at), position: Number(id.slice(at + 1)) };
}

/** Returns the position to explain: the selected token's, else the step that the view was opened with. */
/** @param {TokensState} state @param {Selection} selected */
export function placeIn(state, selected) {
  const { rid, position } = placeOf(selected);
  return rid === state.rid && position !== null ? position : (state.step ?? null);
}

/**
 * Lays out the strip: each token with the level of the measure `by`, underlined by the measure `line`.
 * @param {TokensState} state
 * @param {string} by
 * @param {string} line a measure, or "kind" for marks of how each token came about
 * @returns {TokenBox[]}
 */
export function layoutStrip({ rows = [], first = 0, measures = {} }, by, line) {
  const names = Object.keys(measures);
  const level = (/** @type {string} */ levels, /** @type {string} */ name) => {
    const digit = levels[names.indexOf(name)];
    return digit === undefined || digit === "-" ? null : Number(digit);
  };
  return rows.map(([text, kind, levels], i) => ({
    position: first + i,
    text,
    kind,
    level: level(levels, by),
    line: line === "kind" ? null : (level(levels, line) ?? 0),
  }));
}

/** Describes a token from its row alone. @param {TokenRow} row */
export function words(row) {
  const [, kind, , probability, entropy, rank, latency, allowed, removed] = row;
  const facts = [KINDS[kind]];
  if (allowed !== null && kind !== 2) facts.push(`${count(allowed)} allowed`);
  if (probability !== null) facts.push(`${share(probability)}, rank ${count(rank)}`);
  if (entropy !== null) facts.push(`entropy ${entropy.toFixed(2)} nats`);
  if (removed !== null) facts.push(`${share(removed)} removed by the mask`);
  if (latency !== null) facts.push(duration(latency));
  return facts.join("; ");
}

/** Writes a share in percent; only none is 0 % and only all is 100 %. @param {number} part */
export function share(part) {
  if (part > 0 && part < 0.001) return "under 0.1 %";
  if (part > 0.999 && part < 1) return "over 99.9 %";
  return `${(part * 100).toFixed(1).replace(/\.0$/, "")} %`;
}
