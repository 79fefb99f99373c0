// @ts-check
// The KV map's numbers: a state in, rows of marks out.

import { same } from "../live/selection.js";
import { count } from "../live/text.js";

/** @import {Selection} from "../live/selection.js" */

/** "f" is free, "t" in a node of the tree, "o" owned by a running request. @typedef {"f" | "t" | "o"} PageKind */
/**
 * `runs` is one text of "length kind owner" words; an owned run's owner is a place in `names` and `letters`.
 * @typedef {object} KvState
 * @property {string} [title]
 * @property {string} [runs]
 * @property {string[]} [names]
 * @property {string[]} [letters]
 * @property {number} [num_pages]
 * @property {number} [page_size]
 * @property {{free: number, tree: number, owned: number}} [counts]
 * @property {Record<string, number[]>} [paths] nodes that each running request reads
 */
/** Neighbouring pages of one owner; `id` is a node's number or a request's name, "" for free pages and for several owners. */
/** @typedef {{start: number, length: number, kind: PageKind, id: string, letter: string}} Run */
/** The part of a run in one row, `pages` wide. @typedef {Run & {pages: number, label: string}} Mark */
/** @typedef {{start: number, missing: number, marks: Mark[]}} PageRow */
/** @typedef {{rows: PageRow[], rowLength: number, shown: number}} Pages */

const NUM_ROWS = 16;
const MIN_ROW = 32; // pages
const LABEL_SHARE = 0.09; // of its row: a wider mark has a name
const LETTER_SHARE = 1 / 80; // of its row: a wider mark has a letter

/** Reads the runs of a state. @param {KvState} state */
function runsOf({ runs = "", names = [], letters = [] }) {
  /** @type {Run[]} */
  const found = [];
  let start = 0;
  for (const [, digits, letter, owner] of runs.matchAll(/(\d+)([fto])(\d*)/g)) {
    const kind = /** @type {PageKind} */ (letter);
    const length = Number(digits);
    const id = kind === "o" ? (names[Number(owner || NaN)] ?? "") : owner;
    const before = found.at(-1);
    if (before?.kind === kind && before.id === id) before.length += length;
    else found.push({ start, length, kind, id, letter: kind === "o" ? (letters[Number(owner || NaN)] ?? "") : "" });
    start += length;
  }
  return found;
}

/** Lays out the pages in at most `NUM_ROWS` rows. @param {KvState} state @returns {Pages} */
export function layoutPages(state) {
  const runs = runsOf(state);
  const shown = runs.reduce((sum, run) => sum + run.length, 0);
  let rowLength = MIN_ROW;
  while (rowLength * NUM_ROWS < shown) rowLength *= 2;
  const rows = Array.from({ length: Math.ceil(shown / rowLength) }, (_, r) => ({
    start: r * rowLength,
    missing: Math.max((r + 1) * rowLength - shown, 0),
    marks: /** @type {Mark[]} */ ([]),
  }));
  for (const run of runs) {
    const last = run.start + run.length;
    for (let r = Math.floor(run.start / rowLength); r * rowLength < last; r++) {
      const from = Math.max(run.start, r * rowLength);
      const pages = Math.min(last, (r + 1) * rowLength) - from;
      rows[r].marks.push({ ...run, pages, label: labelOf(run, pages / rowLength) });
    }
  }
  return { rows, rowLength, shown };
}

/** Names a run's owner: "#17" for a node, a request by its id. @param {Run} run */
export function nameOf(run) {
  if (run.kind === "f") return "";
  if (!run.id) return "several";
  return run.kind === "t" ? `#${run.id}` : run.id;
}

/** Returns the name where there is room for it, else the letter, else "". @param {Run} run @param {number} share of its row */
function labelOf(run, share) {
  if (share >= LABEL_SHARE) return nameOf(run);
  return run.id && share >= LETTER_SHARE ? run.letter : "";
}

/** @param {Run} run */
export function runInWords(run) {
  const pages = run.length === 1 ? `page ${run.start}` : `pages ${run.start} to ${run.start + run.length - 1}`;
  return `${pages}: ${nameOf(run) || "free"}`;
}

/** Returns the nodes that the selected request reads, as text. @param {KvState} state @param {Selection} selected */
export const nodesRead = (state, selected) =>
  new Set(selected.kind === "request" ? (state.paths?.[String(selected.id)] ?? []).map(String) : []);

/** Returns what a click on a run selects; null for none. @param {Run | undefined} run @returns {Selection | null} */
export function selectionOf(run) {
  if (!run?.id) return null;
  return run.kind === "t" ? { kind: "node", id: Number(run.id) } : { kind: "request", id: run.id };
}

/** @param {Run} run @param {Selection} selected */
export const isOwned = (run, selected) => Boolean(run.id) && same(selected, selectionOf(run));

/** @param {Run} run @param {Set<string>} read */
export const isRead = (run, read) => run.kind === "t" && read.has(run.id);

/**
 * Describes in one line what is selected, or how many pages have never been used.
 * @param {Pages} made
 * @param {Selection} selected
 * @param {number} numPages
 * @param {number} pageSize
 * @param {Set<string>} [read]
 */
export function inWords(made, selected, numPages, pageSize, read = new Set()) {
  const marks = made.rows.flatMap((row) => row.marks);
  const pagesOf = (/** @type {Mark[]} */ some) => some.reduce((sum, mark) => sum + mark.pages, 0);
  const words = (/** @type {number} */ pages) => `${count(pages)} pages (${count(pages * pageSize)} tokens)`;
  const own = pagesOf(marks.filter((mark) => isOwned(mark, selected)));
  const shared = pagesOf(marks.filter((mark) => isRead(mark, read)));
  if (selected.kind === "node" && own) return `node #${selected.id} of the tree has ${words(own)}`;
  if (own || shared) {
    return `${selected.id} has ${words(own)} for itself, and reads ${words(shared)} in the tree, outlined with dashes`;
  }
  const rest = numPages - made.shown;
  const unused = rest > 0 ? `${count(rest)} pages behind these have never been used; ` : "";
  return `${unused}click a page to see its owner in all views`;
}
