// @ts-check
// The selection of an engine: all its views in the page share it without the kernel, so also while a cell is busy.

/**
 * `kind` is "request", "node", "step", "token", "page" or "part"; {} is no selection.
 * @typedef {{kind?: string, id?: string | number}} Selection
 */

const SELECT = "workbench-select";

/** Compares two selections. Ids are equal as text. @param {Selection | null} [a] @param {Selection | null} [b] */
export const same = (a, b) => (a?.kind ?? "") === (b?.kind ?? "") && String(a?.id ?? "") === String(b?.id ?? "");

/** Selects in all views of an engine. @param {string} engine @param {Selection} selected */
export function selectIn(engine, selected) {
  document.dispatchEvent(new CustomEvent(SELECT, { detail: { engine, selected } }));
}

/**
 * Calls `fn` with each new selection of an engine. Returns the function that ends this.
 * @param {string} engine
 * @param {(selected: Selection) => void} fn
 */
export function onSelect(engine, fn) {
  const listen = (/** @type {Event} */ event) => {
    const { detail } = /** @type {CustomEvent<{engine: string, selected: Selection}>} */ (event);
    if (detail.engine === engine) fn(detail.selected);
  };
  document.addEventListener(SELECT, listen);
  return () => document.removeEventListener(SELECT, listen);
}
