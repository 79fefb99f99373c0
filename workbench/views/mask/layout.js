// @ts-check

/** @import {TokensState} from "../tokens/layout.js" */
/** A token as a column; `height` goes from 0 to 1, `breaks` counts line breaks of its text. */
/** @typedef {{position: number, text: string, kind: number, height: number, breaks: number}} Column */

const FORCED = 2; // a place in `KINDS`

/**
 * Lays out the columns: as high as the logarithm of the number of allowed tokens.
 * @param {TokensState} state
 * @returns {Column[]}
 */
export function layoutColumns({ rows = [], first = 0, vocab_size: size = 0 }) {
  const most = Math.log(Math.max(size, 2));
  return rows.map((row, i) => {
    const [text, kind] = row;
    const allowed = Math.min(Math.max(row[7] ?? size, 1), Math.max(size, 1));
    return {
      position: first + i,
      text: text.replaceAll("\n", "⏎"),
      kind,
      height: kind === FORCED ? 0 : Math.log(allowed) / most,
      breaks: text.split("\n").length - 1,
    };
  });
}
