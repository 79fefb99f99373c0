// @ts-check
// Words of the radix tree's view.

import { count, duration, plural } from "../live/text.js";
import { tieOf } from "./layout.js";

/** @import {End, Layout, TreeNode, TreeState} from "./layout.js" */

/** Writes a text in one line. @param {string} text */
export const inOneLine = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");

/** @param {number} seconds */
const whole = (seconds) => (seconds < 60 ? `${Math.floor(Math.max(seconds, 0))} s` : duration(seconds));

/**
 * Returns the engine's time: the wall's while the engine runs, else that of its newest event.
 * @param {Pick<TreeState, "now">} state
 * @param {number | null} epoch seconds since 1970; null for an engine that ended
 * @param {number} wall seconds since 1970
 */
export function clockOf(state, epoch, wall) {
  const last = state.now ?? 0;
  return typeof epoch === "number" ? Math.max(last, wall - epoch) : last;
}

/** Describes how long ago something was, in words that change once a second. @param {number} seconds */
export const ago = (seconds) => (seconds < 1 ? "just now" : `${whole(seconds)} ago`);

/** Describes where a node's text stands. @param {number} numBefore tokens in the nodes above it */
export const placeInText = (numBefore) =>
  numBefore ? `after ${plural(numBefore, "token")} in the nodes above it` : "the beginning of the text";

/**
 * Returns the text at the end of a node's line.
 * @param {Pick<TreeNode, "hits" | "usedAt" | "holders" | "tokens">} node
 * @param {number} now
 */
export function sideText(node, now) {
  const found = node.hits ? `found ${plural(node.hits, "time")} · ` : "";
  const idle = now - node.usedAt;
  const lock = node.holders.length ? `held by ${node.holders.length}` : idle < 1 ? "used just now" : `idle ${whole(idle)}`;
  return `${plural(node.tokens, "token")} · ${found}${lock}`;
}

/** Names a running request at the end of its path, and its tokens that are not in the tree. @param {End} end */
export const chipText = ({ rid, own }) => `▶ ${rid}${own ? ` +${own}` : ""}`;

/** Describes how many tokens were asked for, and how many of them were reused. @param {TreeState} state */
export function savedText({ num_tokens: stored = 0, num_referenced: wanted = 0 }) {
  const saved = Math.max(wanted - stored, 0);
  const share = saved ? ` (${Math.round((100 * saved) / wanted)} %)` : "";
  return `of ${plural(wanted, "token")} asked for, ${count(stored)} computed and stored, ${count(saved)} reused${share}`;
}

/** Describes how much was evicted so far, and which request needed the room last. @param {TreeState} state */
export function evictedText(state) {
  const last = (state.changes ?? []).findLast(([, what, , who]) => what === "evicted" && who);
  return state.num_evicted ? `${plural(state.num_evicted, "token")} evicted${last ? `, the last for ${last[3]}` : ""}` : "";
}

/** Describes how a request is tied to the tree. @param {Layout} layout @param {string} rid */
export function requestText(layout, rid) {
  const ties = [...layout.nodes.values()].map((node) => tieOf(node, { kind: "request", id: rid }));
  const number = (/** @type {string} */ tie) => ties.filter((t) => t === tie).length;
  if (!ties.some(Boolean)) return `No node of the tree remembers request ${rid}.`;
  const found = `made ${number("made")} and found ${number("found")} that were there`;
  return `Request ${rid} holds ${plural(number("holds"), "node")}, ${found}.`;
}
