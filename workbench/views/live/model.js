// @ts-check
// The two ways between a page and Python: traits of the widget's model down, messages up.

/**
 * The model that anywidget and Jupyter give a view, as far as it is used.
 * @typedef {object} Model
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {(event: string, fn: (...args: any[]) => void) => void} on
 * @property {(event: string, fn: (...args: any[]) => void) => void} off
 * @property {(message: object) => void} send
 * @property {() => void} save_changes
 * @property {boolean} [comm_live]
 * @property {WidgetManager} widget_manager
 */
/**
 * @typedef {object} WidgetManager
 * @property {(id: string) => Promise<Model>} get_model
 * @property {(model: Model) => Promise<{el: HTMLElement, remove: () => void}>} create_view
 * @property {{statusChanged?: {connect: (fn: Listener) => void, disconnect: (fn: Listener) => void}}} [kernel]
 */
/** @typedef {(sender: unknown, status: string) => void} Listener */
/** @typedef {Record<string, string>} Traits */
/** Traits as they were read last, so that what did not change is the same object again. */
/** @typedef {Record<string, {raw: unknown, value: any}>} Memo */

const REFERENCE = "IPY_MODEL_";

/** Finds the model that a trait refers to. @param {Model} model @param {string} trait */
export const modelIn = (model, trait) => model.widget_manager.get_model(model.get(trait).slice(REFERENCE.length));

/** @param {unknown} value */
const parsed = (value) => (typeof value === "string" ? JSON.parse(value || "{}") : (value ?? {}));

/**
 * Reads the state that a view's fold made. It travels as one JSON text; large parts that seldom change have traits of their
 * own, named in `parts`. `fresh` holds traits that arrived by the ticker and are newer than the model's.
 * @param {Pick<Model, "get">} model
 * @param {string[]} [parts]
 * @param {Memo} [memo]
 * @param {Traits} [fresh]
 */
export function stateOf(model, parts = [], memo = {}, fresh = {}) {
  for (const name of ["state", ...parts]) {
    const raw = fresh[name] ?? model.get(name);
    if (!memo[name] || memo[name].raw !== raw) memo[name] = { raw, value: parsed(raw) };
  }
  return { ...memo.state.value, ...Object.fromEntries(parts.map((name) => [name, memo[name].value])) };
}

const BUSY_MS = 2500;
let lastAsked = 0;

/**
 * Sends {do: ..., ...} to Python. Returns a promise of the reply, which is {error: ...} where the kernel ends before it. Calls
 * `onSlow` when the kernel is busy with something else.
 * @param {Model} model
 * @param {{do: string, [name: string]: unknown}} message
 * @param {() => void} [onSlow]
 * @returns {Promise<any>}
 */
export function ask(model, message, onSlow = () => {}) {
  const number = `${Date.now()}-${++lastAsked}`;
  return new Promise((resolve) => {
    const slow = setTimeout(onSlow, BUSY_MS);
    const end = (/** @type {unknown} */ reply) => {
      clearTimeout(slow);
      model.off("msg:custom", listen);
      forget();
      resolve(reply);
    };
    const listen = (/** @type {{ask?: string, reply?: unknown}} */ content) => {
      if (content?.ask === number) end(content.reply);
    };
    const forget = onKernelEnd(model, () => end({ error: "the kernel ended before it answered" }));
    model.on("msg:custom", listen);
    model.send({ ...message, ask: number });
  });
}

/**
 * Reads what a message of the ticker holds for one view. All views of a page get the same buffer: the first reads it for all.
 * @param {string} key
 * @param {(DataView & {parsed?: Record<string, Traits>})[]} buffers
 */
function newsOf(key, buffers) {
  const message = buffers[0];
  message.parsed ??= /** @type {Record<string, Traits>} */ (JSON.parse(new TextDecoder().decode(message)));
  return message.parsed[key];
}

/**
 * Calls `fn` with the ticker's news of this view, and `onDead` where no kernel stands behind the ticker. Returns a promise of
 * the function that ends this, or of null where the page cannot reach the ticker: then Python writes to the view's own traits.
 * @param {Model} model
 * @param {(news: any) => void} fn
 * @param {() => void} onDead
 * @returns {Promise<(() => void) | null>}
 */
export async function onNews(model, fn, onDead) {
  try {
    const ticker = await modelIn(model, "ticker");
    if (ticker.comm_live === false) onDead();
    const listen = (/** @type {unknown} */ _, /** @type {DataView[]} */ buffers) => {
      const news = newsOf(model.get("key"), buffers);
      if (news) fn(news);
    };
    ticker.on("msg:custom", listen);
    return () => ticker.off("msg:custom", listen);
  } catch {
    return null;
  }
}

const ENDS = ["restarting", "autorestarting", "terminating", "dead"]; // kernel states in which it has forgotten its views

/** Calls `fn` when the view's kernel ends. Returns the function that ends this. @param {Model} model @param {() => void} fn */
export function onKernelEnd(model, fn) {
  const status = model.widget_manager?.kernel?.statusChanged;
  /** @type {Listener} */
  const listen = (_, now) => {
    if (ENDS.includes(now)) fn();
  };
  status?.connect(listen);
  return () => status?.disconnect(listen);
}
