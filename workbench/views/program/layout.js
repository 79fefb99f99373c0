// @ts-check

/** @import {Selection} from "../live/selection.js" */
/**
 * A part of a program's text, as the fold sends it.
 * @typedef {object} Part
 * @property {number} number
 * @property {string} kind
 * @property {string} name
 * @property {string} text
 * @property {string} detail
 * @property {string} place
 * @property {string} rid
 * @property {string} requests
 * @property {string} title
 * @property {string} facts
 * @property {boolean} is_done
 * @property {boolean} replayed
 * @property {number | null} num_prompt
 * @property {number | null} num_cached
 * @property {number} num_requests
 * @property {number} num_left_out characters of the text that are not sent
 * @property {string[]} samples
 * @property {[string, string][]} scores
 * @property {{queue_s: number, prefill_s: number, decode_s: number}} [timings]
 * @property {Part[][]} [branches] of a fork
 */
/**
 * One run of a program.
 * @typedef {object} Program
 * @property {string} program
 * @property {string} title
 * @property {string} calls
 * @property {string} lasted
 * @property {[number, number, number]} totals tokens reused, computed, written
 * @property {string} error
 * @property {Part[]} parts
 * @property {boolean} is_whole whether all parts were sent
 */
/** `programs` lists id, name and whether it runs, the newest last. */
/** @typedef {{programs?: [string, string, boolean][]} & Partial<Program>} ProgramState */
/** Parts in one line of text together, or one part that begins or ends such a block. */
/** @typedef {{edge?: undefined, parts: Part[]} | {edge: Part, parts?: undefined}} Block */

const EDGES = ["rolebegin", "roleend", "fork", "join"];

/** Joins parts that stand in one line of text to blocks. @param {Part[]} parts */
export function layoutProgram(parts) {
  /** @type {Block[]} */
  const blocks = [];
  for (const part of parts) {
    const last = blocks.at(-1);
    if (EDGES.includes(part.kind)) blocks.push({ edge: part });
    else if (last?.parts) last.parts.push(part);
    else blocks.push({ parts: [part] });
  }
  return blocks;
}

/** Returns the tokens of a part's prompt; for a selection the mean of its requests. @param {Part} part */
export const promptLength = (part) => (part.num_prompt ?? 0) / (part.num_requests || 1);

/** Returns the tokens of the longest prompt, branches included. @param {Part[]} parts @returns {number} */
export const longestPrompt = (parts) =>
  Math.max(0, ...parts.flatMap((part) => [promptLength(part), ...(part.branches ?? []).map(longestPrompt)]));

/**
 * Returns whether an id is that of the part's request, or of one of its samples or options.
 * @param {Part} part
 * @param {string} rid
 */
export const isOf = (part, rid) => Boolean(part.rid) && (rid === part.rid || rid.startsWith(`${part.rid}-`));

/** Returns whether the part asked the engine for something. @param {Part} part */
export const isAsked = (part) => part.kind === "gen" || part.kind === "select";

/** Returns what a click on a part selects. @param {Part} part @returns {Selection} */
export const selectionOfPart = (part) => (part.rid ? { kind: "request", id: part.rid } : { kind: "part", id: part.number });
