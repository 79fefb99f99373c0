// @ts-check
// Elements: made, changed in place, and found under a click.
// Text from outside goes through `el` or `textContent` only: nothing is ever parsed as HTML.

/** @typedef {Node | string | number | boolean | null | undefined | Child[]} Child */
/** @typedef {string | number | boolean | null | undefined | ((event: Event) => unknown)} Attr */

/** @param {unknown[]} children @returns {any[]} */
const listed = (children) => children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false);

/**
 * Makes an element. `attrs` are attributes, and functions called `on<event>`; null, undefined and false are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {{[name: string]: Attr}} [attrs]
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attrs = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  fill(node, ...children);
  return node;
}

/** Replaces all children of a node by these. @param {ParentNode} node @param {Child[]} children */
export function fill(node, ...children) {
  node.replaceChildren(...listed(children).map((c) => (c instanceof Node ? c : String(c))));
}

/**
 * Makes the children of a node like these. Nodes that are alike stay, so a page lays out and paints only what changed.
 * Listeners of the new nodes are lost.
 * @param {Node} node
 * @param {Child[]} children
 */
export function morph(node, ...children) {
  let at = node.firstChild;
  for (const child of listed(children)) {
    const next = /** @type {ChildNode} */ (child instanceof Node ? child : document.createTextNode(String(child)));
    if (!at) node.appendChild(next);
    else at = become(at, next).nextSibling;
  }
  while (at) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
}

/**
 * Makes one node like another, or replaces it. Returns the node that is in the page then.
 * @param {ChildNode} node
 * @param {ChildNode} next
 * @returns {ChildNode}
 */
function become(node, next) {
  if (node.isEqualNode(next)) return node;
  if (node instanceof Text && next instanceof Text) {
    node.data = next.data;
    return node;
  }
  if (!(node instanceof Element && next instanceof Element) || node.nodeName !== next.nodeName) {
    node.replaceWith(next);
    return next;
  }
  for (const { name } of [...node.attributes]) if (!next.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of next.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  morph(node, ...next.childNodes);
  return node;
}

/** Children of each patched parent by their keys. @type {WeakMap<Node, Map<string, ChildNode>>} */
const keptChildren = new WeakMap();

/**
 * Gives a parent one child for each item, in order. A key belongs to one item and covers all that is drawn of it: while the
 * key stays, so does the child. The child of an item that left becomes the one that takes its place (`morph`).
 * @template T
 * @param {Node} parent
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} make
 */
export function patch(parent, items, key, make) {
  const kept = keptChildren.get(parent) ?? new Map();
  const wanted = new Map(items.map((item) => [key(item), item]));
  const gone = new Set([...kept].filter(([name]) => !wanted.has(name)).map(([, child]) => child));
  /** @type {Map<string, ChildNode>} */
  const next = new Map();
  let at = parent.firstChild;
  for (const [name, item] of wanted) {
    let child = kept.get(name);
    if (child) {
      while (at && gone.has(at)) at = at.nextSibling;
    } else if (at && gone.delete(at)) {
      child = at = become(at, make(item));
    } else child = make(item);
    if (child === at) at = child.nextSibling;
    else parent.insertBefore(child, at);
    next.set(name, child);
  }
  for (const child of gone) child.remove();
  keptChildren.set(parent, next);
}

/**
 * Finds the element under a click. Marks are replaced while they move, so the one that was pressed may have left the page.
 * @param {MouseEvent} event
 * @returns {Element | null}
 */
export function hitBy(event) {
  const root = event.currentTarget instanceof Node ? event.currentTarget.getRootNode() : null;
  const under = root && "elementFromPoint" in root ? root : document;
  return /** @type {Document | ShadowRoot} */ (under).elementFromPoint(event.clientX, event.clientY);
}

/**
 * Wraps `fn` so that it runs at most once per animation frame, with the last arguments. `.cancel()` drops a pending call.
 * @template {unknown[]} A
 * @param {(...args: A) => void} fn
 * @returns {((...args: A) => void) & {cancel: () => void}}
 */
export function throttle(fn) {
  /** @type {number | null} */
  let frame = null;
  /** @type {A} */
  let last;
  const later = (/** @type {A} */ ...args) => {
    last = args;
    frame ??= requestAnimationFrame(() => {
      frame = null;
      fn(...last);
    });
  };
  const cancel = () => {
    if (frame !== null) cancelAnimationFrame(frame);
    frame = null;
  };
  return Object.assign(later, { cancel });
}

/**
 * Adds listeners, [target, event, function] each. Returns the function that removes them.
 * @param {[EventTarget, string, (event: any) => void][]} listeners
 */
export function listenAll(listeners) {
  for (const [target, name, fn] of listeners) target.addEventListener(name, fn);
  return () => {
    for (const [target, name, fn] of listeners) target.removeEventListener(name, fn);
  };
}
