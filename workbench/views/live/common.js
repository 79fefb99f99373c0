// What all views share. Joined in front of each view's own file (text, no bundler), so everything here is in scope there.
// Text from outside goes through `el` or `textContent` only: nothing is ever parsed as HTML.

export const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes: `class`, `style`, `data-*`, `on<event>` functions, ...; null, undefined and false are left out. */
export function el(tag, attrs = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "line", "circle", "text", "title", "defs", "pattern"].includes(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...listed(children).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

const parsed = (value) => (typeof value === "string" ? JSON.parse(value || "{}") : (value ?? {}));

/**
 * The state a view's fold made. It travels as one JSON text; large parts that change seldom have traits of their own.
 * `told` holds what the ticker said of them since the model itself spoke.
 * What did not change since the last call with the same `memo` is the same object again.
 */
export function stateOf(model, parts = [], memo = {}, told = {}) {
  for (const name of ["state", ...parts]) {
    const raw = told[name] ?? model.get(name);
    if (!memo[name] || memo[name].raw !== raw) memo[name] = { raw, value: parsed(raw) };
  }
  return { ...memo.state.value, ...Object.fromEntries(parts.map((name) => [name, memo[name].value])) };
}

/** Calls `fn` at most once per animation frame, with the last arguments; `.cancel()` drops what is pending. */
export function throttle(fn) {
  let frame = null;
  let last = [];
  const later = (...args) => {
    last = args;
    frame ??= requestAnimationFrame(() => {
      frame = null;
      fn(...last);
    });
  };
  later.cancel = () => {
    if (frame !== null) cancelAnimationFrame(frame);
    frame = null;
  };
  return later;
}

export const same = (a, b) => (a?.kind ?? "") === (b?.kind ?? "") && String(a?.id ?? "") === String(b?.id ?? "");

/** The selection of an engine, shared by all views in the page without the kernel, so also while a cell is busy. */
const SELECT = "workbench-select";
export const shared = {
  select(engine, selected) {
    document.dispatchEvent(new CustomEvent(SELECT, { detail: { engine, selected: selected ?? {} } }));
  },
  onSelect(engine, fn) {
    const listen = (event) => event.detail.engine === engine && fn(event.detail.selected);
    document.addEventListener(SELECT, listen);
    return () => document.removeEventListener(SELECT, listen);
  },
};

/** What lies where a click was made: marks are replaced while they move, and the one that was pressed may be gone. */
export function hitBy(event) {
  return event.currentTarget.getRootNode().elementFromPoint?.(event.clientX, event.clientY) ?? event.target;
}

const listed = (children) => children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false);

/** Makes the children of a node like these. What is alike stays, so a page lays out and paints only what changed; listeners of the new ones are lost. */
export function morph(node, ...children) {
  let at = node.firstChild;
  for (const child of listed(children)) {
    const next = child instanceof Node ? child : document.createTextNode(String(child));
    if (!at) node.append(next);
    else at = become(at, next).nextSibling;
  }
  while (at) {
    const rest = at;
    at = at.nextSibling;
    rest.remove();
  }
}

/** Makes one node like another, or puts that in its place. Returns the one that is there then. */
function become(node, next) {
  if (node.isEqualNode(next)) return node;
  if (node.nodeName !== next.nodeName) {
    node.replaceWith(next);
    return next;
  }
  if (node.nodeType === Node.TEXT_NODE) node.data = next.data;
  else {
    for (const { name } of [...node.attributes]) if (!next.hasAttribute(name)) node.removeAttribute(name);
    for (const { name, value } of next.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    morph(node, ...next.childNodes);
  }
  return node;
}

/**
 * One child for each item, in order. A key, which no other item has, stands for all that is drawn of it: where it stays, the child
 * does. A child whose item is gone becomes the one that comes in its place (`morph`).
 */
export function patch(parent, items, key, make) {
  const kept = parent.wbKept ?? new Map();
  const next = new Map(items.map((item) => [key(item), item]));
  const gone = new Set([...kept].filter(([name]) => !next.has(name)).map(([, child]) => child));
  let at = parent.firstChild;
  for (const [name, item] of next) {
    let child = kept.get(name);
    if (child) {
      while (gone.has(at)) at = at.nextSibling;
    } else if (gone.delete(at)) {
      child = at = become(at, make(item));
    } else child = make(item);
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
    next.set(name, child);
  }
  for (const child of gone) child.remove();
  parent.wbKept = next;
}

/** Another text for another theme of the page; costs no layout. */
export function themeName() {
  const { className, dataset } = document.body;
  return `${className} ${dataset.jpThemeLight} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
}

/** The colours in force at `root`, resolved: for canvases, which know no CSS variables. */
export function theme(root) {
  const style = getComputedStyle(root);
  const names = ["ink", "soft", "ground", "line", "wait", "prefill", "decode", "reused", "lost", "select"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--wb-${name}`).trim() || "gray"]));
}

/** A fill with a pattern besides the hue: "reused" hatched down, "prefill" hatched up, "wait" dotted, "lost" upright; else plain. */
export function pattern(context, kind, colour) {
  const lines = { reused: [[0, 0, 8, 8]], prefill: [[0, 8, 8, 0]], lost: [[4, 0, 4, 8]] }[kind];
  if (!lines && kind !== "wait") return colour;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.globalAlpha = 0.35;
  pen.fillStyle = pen.strokeStyle = colour;
  if (kind !== "wait") pen.fillRect(0, 0, 8, 8);
  pen.globalAlpha = 1;
  pen.lineWidth = 2;
  if (kind === "wait") pen.fillRect(3, 3, 2, 2);
  for (const [x0, y0, x1, y1] of lines ?? []) {
    for (const shift of [-8, 0, 8]) {
      pen.beginPath();
      pen.moveTo(x0 + (kind === "lost" ? 0 : shift), y0);
      pen.lineTo(x1 + (kind === "lost" ? 0 : shift), y1);
      pen.stroke();
    }
  }
  return context.createPattern(tile, "repeat");
}

const grouped = new Intl.NumberFormat("en-US");
export const count = (number) => grouped.format(Number(number ?? 0));

export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (!(seconds >= 0)) return "";
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What a message of the ticker says of one view. All views of the page get the same buffer: the first reads it for all. */
function newsOf(key, buffers) {
  const message = buffers[0];
  message.parsed ??= JSON.parse(new TextDecoder().decode(message));
  return message.parsed[key];
}

/**
 * Calls `fn` with what the ticker tells of this view, and `onDead` where no kernel stands behind it. A promise of the function
 * that ends it, or of null where the page has no way to the ticker: then Python writes to the view's own traits.
 */
async function hear(model, fn, onDead) {
  try {
    const ticker = await model.widget_manager.get_model(model.get("ticker").slice("IPY_MODEL_".length));
    if (ticker.comm_live === false) onDead();
    const listen = (_, buffers) => {
      const news = newsOf(model.get("key"), buffers);
      if (news) fn(news);
    };
    ticker.on("msg:custom", listen);
    return () => ticker.off("msg:custom", listen);
  } catch {
    return null;
  }
}

const ENDS = ["restarting", "autorestarting", "terminating", "dead"]; // what a kernel says of itself when it forgets its views

/** Calls `fn` when the kernel that made the view ends. Returns what stops it. */
function onKernelEnd(model, fn) {
  const kernel = model.widget_manager?.kernel;
  const listen = (_, status) => ENDS.includes(status) && fn();
  kernel?.statusChanged?.connect(listen);
  return () => kernel?.statusChanged?.disconnect(listen);
}

const GONE = "the kernel that drew this has ended: this is the last state it told\nrun the cell again for a view that moves";
const BUSY_MS = 2500;
const SETTLE_MS = 1000;
let lastAsked = 0;

/** Sends {do: ..., ...} to Python; a promise of its reply. `onSlow` is called when the kernel is busy with something else. */
export function ask(model, message, onSlow = () => {}) {
  const number = `${Date.now()}-${++lastAsked}`;
  return new Promise((resolve) => {
    const slow = setTimeout(onSlow, BUSY_MS);
    const listen = (content) => {
      if (content?.ask !== number) return;
      clearTimeout(slow);
      model.off("msg:custom", listen);
      resolve(content.reply);
    };
    model.on("msg:custom", listen);
    model.send({ ...message, ask: number });
  });
}

/**
 * What every `render` does. `make(view)` builds the view's elements under `view.root` and returns
 * `{ draw(state, selected), hear?(news, state), remove?() }`; `draw` is called once per frame at most, when the state or the
 * selection changed and the view is in sight; `hear` makes of what the ticker tells what the model itself would say.
 * `view.select({kind, id})` selects in all views of the engine, `view.ask({do: ...})` asks Python, `view.say(text)` writes the note.
 * `view.about` says what one sees, or what to do where there is nothing to see: each view has a place for it, under its title,
 * and marks with the class `wb-if-any` what is not drawn then.
 * What needs Python carries `data-asks`, "kernel" or "engine", and is hidden once that has ended.
 * `parts` names further traits with JSON texts, which `state` then holds too. `view.redraw()` draws again.
 * Returns the cleanup. The root carries `data-ms` (the last draw's milliseconds) and `data-draws` for tests and benchmarks.
 */
export function mount(model, root, make, parts = []) {
  const engine = model.get("engine");
  root.classList.add("wb", "wb-live");
  const note = el("p", { class: "wb-note", role: "status" });
  const inner = el("div", { class: "wb-view" });
  const empty = el("p", { class: "wb-empty" });
  const about = el("div", {}, el("p", { class: "wb-soft wb-sees" }, model.get("sees") ?? ""), empty);
  const still = el("style");
  root.append(still, note, inner);
  const hideStill = () => {
    const key = model.get("still_key");
    still.textContent = key ? `.${key},.jp-OutputArea-child:has(.${key}){display:none}` : "";
  };
  let selected = model.get("selected") ?? {};
  const memo = {};
  const told = {};
  let state = stateOf(model, parts, memo);
  let draws = 0;
  const say = (text) => {
    note.textContent = text ?? "";
    note.hidden = !text;
  };
  let isGone = false;
  const view = {
    model,
    root: inner,
    about,
    engine,
    say,
    redraw: () => draw(),
    get selected() {
      return selected;
    },
    select(next) {
      shared.select(engine, same(next, selected) ? {} : next);
      model.set("selected", selected); // Python tells the other views' models
      if (!isGone) model.save_changes();
    },
    get isGone() {
      return isGone;
    },
    ask: (message) =>
      isGone ? Promise.resolve({ error: GONE.split("\n")[0] }) : ask(model, message, () => say("the kernel is busy: this is done as soon as it answers, at the latest when the cell ends\nto stop everything now, interrupt the cell")).then(
        (reply) => {
          onNote();
          return reply;
        },
      ),
  };
  const made = make(view);
  let isSeen = true;
  let isStale = false;
  const draw = throttle(() => {
    isStale = !isSeen;
    if (isStale) return;
    const began = performance.now();
    if (empty.textContent !== (state.empty ?? "")) empty.textContent = state.empty ?? "";
    root.classList.toggle("wb-is-empty", Boolean(state.empty));
    made.draw(state, selected);
    root.dataset.ms = (performance.now() - began).toFixed(2);
    root.dataset.draws = String(++draws);
  });
  // What is scrolled out of sight is drawn when it comes back: a laptop has better things to do.
  const sight = new IntersectionObserver((entries) => {
    isSeen = entries.at(-1).isIntersecting;
    if (isSeen && isStale) draw();
  });
  sight.observe(root);
  const onState = () => {
    state = stateOf(model, parts, memo, told);
    draw();
  };
  const onTrait = Object.fromEntries(
    ["state", ...parts].map((name) => [
      `change:${name}`,
      () => {
        delete told[name];
        onState();
      },
    ]),
  );
  const onNote = () => say(isGone ? GONE : model.get("note"));
  const onEnded = () => root.classList.toggle("wb-ended", Boolean(model.get("ended")));
  const onDead = () => {
    isGone = true;
    root.classList.add("wb-no-kernel");
    onNote();
    draw();
  };
  const offKernel = onKernelEnd(model, onDead);
  let chosenAt = -Infinity;
  const onSelected = () => {
    const next = model.get("selected") ?? {};
    // What Python says of a click is late news: a second click may have followed.
    if (!same(next, selected) && performance.now() - chosenAt > SETTLE_MS) shared.select(engine, next);
  };
  const off = shared.onSelect(engine, (next) => {
    chosenAt = performance.now();
    selected = next;
    draw();
  });
  for (const [change, fn] of Object.entries(onTrait)) model.on(change, fn);
  model.on("change:note", onNote);
  model.on("change:ended", onEnded);
  model.on("change:still_key", hideStill);
  model.on("change:selected", onSelected);
  let gone = false;
  let isShown = false;
  const hearing = hear(model, (news) => {
    Object.assign(told, made.hear?.(news, state) ?? news);
    onState();
  }, onDead);
  hearing.then((stop) => {
    isShown = !gone && !isGone;
    if (isShown) ask(model, { do: "shown", hears: stop !== null });
  });
  onNote();
  onEnded();
  hideStill();
  draw();
  return () => {
    draw.cancel();
    sight.disconnect();
    off();
    for (const [change, fn] of Object.entries(onTrait)) model.off(change, fn);
    offKernel();
    model.off("change:note", onNote);
    model.off("change:ended", onEnded);
    model.off("change:still_key", hideStill);
    model.off("change:selected", onSelected);
    made.remove?.();
    gone = true;
    hearing.then((stop) => {
      stop?.();
      if (isShown && !isGone) model.send({ do: "hidden", hears: stop !== null });
    });
  };
}
