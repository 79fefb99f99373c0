// @ts-check
// Sentences about steps and stretches of the batch timeline.

import { count, duration } from "../live/text.js";

/** @import {BatchState, Part} from "./layout.js" */

const NAMES = { wait: "queue", compile: "constraint", prefill: "prefill", decode: "decode", paused: "held up" };
export const KEY = {
  wait: "in the queue",
  compile: "its constraint is compiled",
  prefill: "a chunk of the prompt",
  decode: "decode",
  paused: "held up: a step was made without it",
};

/** Shortens a long id and keeps both ends: samples and options of one call differ in the last characters. @param {string} rid */
export const shortened = (rid) => (rid.length > 12 ? `${rid.slice(0, 6)}…${rid.slice(-4)}` : rid);

/**
 * Returns the numbers of a step, its members, and the requests outside of it with their reasons; null for one not drawn.
 * @param {BatchState} state
 * @param {number} number
 */
export function aboutStep({ steps, lanes = [] }, number) {
  const i = steps?.number.indexOf(number) ?? -1;
  if (!steps || i < 0) return null;
  const middle = (steps.start[i] + steps.end[i]) / 2;
  const members = [];
  const outside = [];
  for (const { rid, kind: kinds, first, last, start, end, tokens, note } of lanes) {
    for (const [j, kind] of kinds.entries()) {
      if (first[j] && first[j] <= number && number <= last[j]) {
        members.push({ rid, kind, tokens: kind === "prefill" ? tokens[j] : null });
      } else if (!first[j] && start[j] <= middle && middle < end[j]) {
        outside.push({ rid, kind, note: note[j] });
      }
    }
  }
  const counts = { prefill: steps.prefill[i], decode: steps.decode[i], reused: steps.reused[i] };
  const pictured = steps.pictured?.[i] ?? 0;
  const rest = { pictured, left: steps.left[i], waiting: steps.waiting[i], seconds: (steps.end[i] - steps.start[i]) / 1e6 };
  return { number, ...counts, ...rest, members, outside };
}

/** Describes in lines what `aboutStep` returned. @param {NonNullable<ReturnType<typeof aboutStep>>} step */
export function stepInWords(step) {
  const inside = step.members.map(({ rid, kind, tokens }) =>
    kind === "prefill" ? `${rid} (${count(tokens)} of its prompt)` : rid,
  );
  const outside = step.outside.map(({ rid, kind, note }) => `${rid} (${note || NAMES[kind]})`);
  const counts = [
    duration(step.seconds),
    `${count(step.prefill)} prefill and ${count(step.decode)} decode tokens`,
    ...(step.pictured ? [`${count(step.pictured)} of them of pictures`] : []),
    `${count(step.reused)} reused`,
    `budget left ${count(step.left)}`,
    `${count(step.waiting)} waiting`,
  ];
  const lines = [`step ${step.number}: ${counts.join(", ")}`, `in it: ${inside.join(", ") || "none of those drawn"}`];
  return outside.length ? [...lines, `not in it: ${outside.join(", ")}`] : lines;
}

/** @param {Pick<Part, "kind" | "seconds" | "first" | "last" | "tokens" | "note">} part */
export function partInWords(part) {
  const steps = part.first === part.last ? `step ${part.first}` : `steps ${part.first} to ${part.last}`;
  const inside = part.first ? [steps, `${count(part.tokens)} tokens`] : [];
  return [`${NAMES[part.kind]} ${duration(part.seconds)}`, ...inside, ...(part.note ? [part.note] : [])].join(", ");
}
