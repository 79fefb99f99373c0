// @ts-check
// The batch timeline's numbers: a state in, marks out. Times are microseconds of the log, places percent of the axis.

import { count } from "../live/text.js";

/** @typedef {"wait" | "compile" | "prefill" | "decode" | "paused"} StretchKind */
/**
 * The steps as columns; `prefill` and `decode` count tokens.
 * @typedef {object} Steps
 * @property {number[]} number
 * @property {number[]} start
 * @property {number[]} end
 * @property {number[]} prefill
 * @property {number[]} decode
 * @property {number[]} reused
 * @property {number[]} left
 * @property {number[]} waiting
 * @property {number[]} [pictured] tokens of pictures among both
 */
/**
 * The life of one request: a name, and its stretches as columns. `first` and `last` are steps, 0 outside of any.
 * @typedef {object} Lane
 * @property {string} rid
 * @property {string} [prompt]
 * @property {string} phase
 * @property {string} says
 * @property {number} out
 * @property {StretchKind[]} kind
 * @property {number[]} start
 * @property {number[]} end
 * @property {number[]} first
 * @property {number[]} last
 * @property {number[]} tokens
 * @property {string[]} note
 */
/**
 * @typedef {object} BatchState
 * @property {string} [title]
 * @property {number} [start]
 * @property {number} [end]
 * @property {[number, number][]} [breaks] from when, and how much time the axis leaves out
 * @property {Steps} [steps]
 * @property {Lane[]} [lanes]
 * @property {[string, string, string][]} [queue] request, since when it waits, and what for
 * @property {number} [waiting]
 * @property {number} [skip] latest requests that are left out
 * @property {number} [all] requests in the time shown
 */
/** @typedef {{left: number, width: number}} Place */
/** A bar of the two rows of steps: one step, or several in a row that computed as many tokens. */
/** @typedef {Place & {step: number, last: number, tokens: number, height: number}} Bar */
/**
 * A stretch of a lane as it is drawn.
 * @typedef {Place & {kind: StretchKind, first: number, last: number, tokens: number, note: string, seconds: number,
 *   isRetracted: boolean}} Part
 */
/** @typedef {{rid: string, prompt: string, phase: string, out: number, parts: Part[]}} DrawnLane */
/** @typedef {{left: number, seconds: number}} Break */

const PAGE = 40; // requests that are drawn at a time, as in drawn.py
const HAIR = 0.15; // percent of the axis, less than a pixel: steps no further apart are drawn as one
const LEAST_HEIGHT = 8; // percent of a row
const NO_STEPS = { number: [], start: [], end: [], prefill: [], decode: [], reused: [], left: [], waiting: [] };
export const KINDS_OF_STRETCH = /** @type {StretchKind[]} */ (["wait", "compile", "prefill", "decode", "paused"]);

/**
 * Makes an axis that leaves idle times out: `place` maps a time to it.
 * @param {Pick<BatchState, "start" | "end" | "breaks">} state
 */
export function axisOf({ start = 0, end = 0, breaks = [] }) {
  const leftOut = (/** @type {number} */ time) =>
    breaks.reduce((sum, [since, length]) => sum + Math.max(0, Math.min(length, time - since)), 0);
  const place = (/** @type {number} */ time) => Math.min(Math.max(time, start), end) - start - leftOut(time);
  return { place, length: place(end) };
}

/**
 * Lays out one row of steps. Steps in a row with as many tokens are one bar.
 * @param {number[]} counts tokens of each step
 * @param {number[]} numbers of the steps
 * @param {Place[]} places
 */
function layoutBars(counts, numbers, places) {
  const most = Math.max(0, ...counts);
  /** @type {Bar[]} */
  const marks = [];
  /** @type {Bar | null} */
  let before = null;
  for (const [i, tokens] of counts.entries()) {
    const { left, width } = places[i];
    if (before && before.tokens === tokens && left - (before.left + before.width) < HAIR) {
      before.last = numbers[i];
      before.width = left + width - before.left;
      continue;
    }
    const height = Math.max((100 * tokens) / most, LEAST_HEIGHT);
    before = tokens ? { step: numbers[i], last: numbers[i], tokens, height, left, width } : null;
    if (before) marks.push(before);
  }
  return { most, marks };
}

/** Lays out the batch. What ended before the axis begins is left out. @param {BatchState} state */
export function layoutBatch(state) {
  const { start = 0, steps = NO_STEPS, lanes = [], breaks = [] } = state;
  const { place, length } = axisOf(state);
  const at = (/** @type {number} */ time) => (100 * place(time)) / (length || 1);
  const between = (/** @type {number} */ from, /** @type {number} */ until) => ({ left: at(from), width: at(until) - at(from) });
  const places = steps.number.map((number, i) => ({ number, ...between(steps.start[i], steps.end[i]) }));
  const partOf = (/** @type {Lane} */ lane, /** @type {number} */ i) => ({
    kind: lane.kind[i],
    ...between(lane.start[i], lane.end[i]),
    first: lane.first[i],
    last: lane.last[i],
    tokens: lane.tokens[i],
    note: lane.note[i],
    seconds: (lane.end[i] - lane.start[i]) / 1e6,
    isRetracted: lane.note[i].startsWith("retracted"),
  });
  /** @type {DrawnLane[]} */
  const drawn = lanes.map((lane) => {
    const parts = lane.kind.flatMap((_, i) => (lane.end[i] < start ? [] : [partOf(lane, i)]));
    return { rid: lane.rid, prompt: lane.prompt ?? "", phase: lane.phase, out: lane.out, parts };
  });
  const used = new Set(drawn.flatMap((lane) => lane.parts.map((part) => part.kind)));
  return {
    seconds: length / 1e6,
    places,
    prefill: layoutBars(steps.prefill, steps.number, places),
    decode: layoutBars(steps.decode, steps.number, places),
    breaks: breaks.map(([since, leftOut]) => ({ left: at(since), seconds: leftOut / 1e6 })),
    kinds: KINDS_OF_STRETCH.filter((kind) => used.has(kind)),
    lanes: drawn,
  };
}

/** Finds the number of the step nearest to a place; null where none is near. */
/** @param {(Place & {number: number})[]} places @param {number} percent */
export function stepAt(places, percent) {
  const off = (/** @type {Place} */ { left, width }) => Math.max(left - percent, percent - left - width, 0);
  const nearest = places.reduce(
    (best, place) => (best && off(best) <= off(place) ? best : place),
    /** @type {(Place & {number: number}) | null} */ (null),
  );
  return nearest && off(nearest) < 1 ? nearest.number : null;
}

/**
 * Describes which requests are drawn, and how many to leave out for those before (`earlier`) and after them (`later`).
 * Returns null where all are drawn.
 * @param {Pick<BatchState, "skip" | "all"> & {lanes?: unknown[]}} state
 */
export function layoutTurns({ skip = 0, all = 0, lanes = [] }) {
  const last = skip + lanes.length;
  if (all <= lanes.length) return null;
  return {
    says: `requests ${count(lanes.length ? skip + 1 : skip)} to ${count(last)} of ${count(all)}, the latest being number 1`,
    earlier: last < all ? last : null,
    later: skip ? Math.max(skip - PAGE, 0) : null,
  };
}

/** Returns the waiting requests that are drawn, and in words how many more there are. */
/** @param {[string, string, string][]} [queue] @param {number} [numWaiting] */
export function layoutQueue(queue = [], numWaiting = queue.length) {
  const more = numWaiting - queue.length;
  return { rows: queue, more: more > 0 ? `and ${count(more)} more that wait, among the other requests` : "" };
}
