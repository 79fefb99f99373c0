// @ts-check
// A value over the moments of a recording, kept as the changes from one to the next. `track.py` writes it.

/** @typedef {{set: Record<string, Change>, drop?: string[]}} ObjectChange */
/** @typedef {{from: number, length: number, at: Record<string, Change>}} ListChange */
/** @typedef {[unknown] | ObjectChange | ListChange} Change */
/** @typedef {[number, Change][]} Track each change with the moment at which it happened */

/**
 * Returns the value after a change; what did not change is the same object as before.
 * @param {any} old
 * @param {any} change
 * @returns {any}
 */
export function changed(old, change) {
  if (Array.isArray(change)) return change[0];
  if (change.set) {
    const next = { ...old };
    for (const key of change.drop ?? []) delete next[key];
    for (const [key, one] of Object.entries(change.set)) next[key] = changed(next[key], one);
    return next;
  }
  const next = old.slice(change.from, change.from + change.length);
  for (const [i, one] of Object.entries(change.at)) next[Number(i)] = changed(next[Number(i)], one);
  return next;
}

/** Returns the function from a moment to the value then; undefined before the first change. @param {Track} track */
export function valuesOf(track) {
  /** @type {any} */
  let value;
  const values = track.map(([moment, change]) => {
    value = changed(value, change);
    return { moment, value };
  });
  return (/** @type {number} */ moment) => values.findLast((one) => one.moment <= moment)?.value;
}
