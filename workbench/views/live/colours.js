// @ts-check
// Colours and patterns for canvases, which know no CSS variables.

const NAMES = /** @type {const} */ (["ink", "soft", "ground", "line", "wait", "prefill", "decode", "reused", "lost", "select"]);
const TILE = 8; // pixels of a pattern's tile

/** @typedef {Record<typeof NAMES[number], string>} Theme */

/** Names the page's theme: another text for another theme. Costs no layout. */
export function themeName() {
  const { className, dataset } = document.body;
  return `${className} ${dataset.jpThemeLight} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
}

/** Resolves the colours in force at an element. @param {Element} root @returns {Theme} */
export function theme(root) {
  const style = getComputedStyle(root);
  const found = NAMES.map((name) => [name, style.getPropertyValue(`--wb-${name}`).trim() || "gray"]);
  return Object.fromEntries(found);
}

/** Lines of a tile, as [x0, y0, x1, y1]; upright lines stand once, others run on from tile to tile. */
const LINES = /** @type {Record<string, number[]>} */ ({
  reused: [0, 0, TILE, TILE],
  prefill: [0, TILE, TILE, 0],
  lost: [TILE / 2, 0, TILE / 2, TILE],
});

/**
 * Makes a fill that differs in pattern besides the hue: "reused" hatched down, "prefill" up, "lost" upright, "wait" dotted.
 * Any other kind is plain.
 * @param {CanvasRenderingContext2D} context
 * @param {string} kind
 * @param {string} colour
 */
export function pattern(context, kind, colour) {
  const line = LINES[kind];
  if (!line && kind !== "wait") return colour;
  const tile = document.createElement("canvas");
  tile.width = tile.height = TILE;
  const pen = tile.getContext("2d");
  if (!pen) return colour;
  pen.fillStyle = pen.strokeStyle = colour;
  if (line) hatch(pen, line, kind === "lost" ? [0] : [-TILE, 0, TILE]);
  else pen.fillRect(3, 3, 2, 2);
  return context.createPattern(tile, "repeat") ?? colour;
}

/** @param {CanvasRenderingContext2D} pen @param {number[]} line @param {number[]} shifts */
function hatch(pen, [x0, y0, x1, y1], shifts) {
  pen.globalAlpha = 0.35;
  pen.fillRect(0, 0, TILE, TILE);
  pen.globalAlpha = 1;
  pen.lineWidth = 2;
  for (const shift of shifts) {
    pen.beginPath();
    pen.moveTo(x0 + shift, y0);
    pen.lineTo(x1 + shift, y1);
    pen.stroke();
  }
}
