// @ts-check
// Numbers written for people, as `workbench.html.parts` writes them in Python.

const grouped = new Intl.NumberFormat("en-US");

/** Writes 1234567 as "1,234,567". @param {number | null} [number] */
export const count = (number) => grouped.format(Number(number ?? 0));

/** Writes a count and its noun. @param {number} number @param {string} noun */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Writes seconds as "4.2 ms" or "1 min 15 s"; "" for what is no duration. @param {number} seconds */
export function duration(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 0.00005) return "0 ms";
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
