// @ts-check

/** @import {SeenPicture} from "../live/pictures.js" */
/**
 * A token of the prompt: its place, id, text, the number of its message (null: the template's own), and its node or 0. For all
 * tokens of a picture there is one, with the number of the picture, and how many tokens that are.
 * @typedef {[number, number, string, number | null, number, number?, number?]} PromptToken
 */
/**
 * @typedef {object} TemplateState
 * @property {string[]} [sentences]
 * @property {string[]} [roles] of the messages
 * @property {PromptToken[]} [tokens]
 * @property {number | null} [break_at] the first token in which two turns differ
 * @property {SeenPicture[]} [pictures]
 * @property {string[][]} [around] both turns around that token
 */
/** The text of one message, or of the template between two. `gap` tokens before it are not drawn. */
/** @typedef {{role: string | null, gap: number, tokens: PromptToken[]}} Stretch */

const ROLES = ["system", "user", "assistant", "tool"];

/** Cuts a prompt into stretches. @param {PromptToken[]} tokens @param {string[]} roles */
export function layoutTemplate(tokens, roles) {
  /** @type {Stretch[]} */
  const stretches = [];
  /** @type {number | null | undefined} */
  let before;
  let next = 0;
  for (const token of tokens) {
    const [place, , , message, , , count = 1] = token;
    const gap = place - next;
    if (!stretches.length || message !== before || gap) {
      stretches.push({ role: message === null ? null : roles[message], gap, tokens: [] });
    }
    stretches.at(-1)?.tokens.push(token);
    before = message;
    next = place + count;
  }
  return stretches;
}

/** Returns the class of a role's tokens; null stands for the template. @param {string | null} role */
export function kindOfRole(role) {
  if (role === null) return "wb-tok wb-own";
  return `wb-tok wb-said${ROLES.includes(role) ? ` wb-by-${role}` : ""}`;
}
