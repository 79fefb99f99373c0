// @ts-check
// Stands for a widget's model in a page without a notebook: traits in the page, charts as still SVG.

/** Calls listeners by the name of an event. */
export class Emitter {
  /** @type {Map<string, Set<(...args: any[]) => void>>} */
  #listeners = new Map();

  /** @param {string} event @param {(...args: any[]) => void} fn */
  on(event, fn) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event)?.add(fn);
  }

  /** @param {string} event @param {(...args: any[]) => void} fn */
  off(event, fn) {
    this.#listeners.get(event)?.delete(fn);
  }

  /** @param {string} event @param {any[]} args */
  emit(event, ...args) {
    for (const fn of this.#listeners.get(event) ?? []) fn(...args);
  }
}

/** A model whose traits are set here. Classes made of it answer the messages of views: `send`. */
export class StandIn extends Emitter {
  /** @type {Map<string, any>} */
  #traits = new Map();
  /** Brings the news that a view adds to what it has, such as the changed rows of the tree. */
  ticker = new Emitter();
  widget_manager = {
    get_model: async (/** @type {string} */ id) => (id === "ticker" ? this.ticker : this),
    create_view: async () => this.#makeCharts(),
  };

  /** @param {string} trait */
  get(trait) {
    return trait === "chart" || trait === "ticker" ? `IPY_MODEL_${trait}` : this.#traits.get(trait);
  }

  /** @param {string} trait @param {any} value */
  set(trait, value) {
    this.#traits.set(trait, value);
    this.emit(`change:${trait}`);
  }

  save_changes() {}

  /** Draws the trait `charts`: SVG without scripts, which a page's policy would refuse anyway. */
  #makeCharts() {
    const el = document.createElement("div");
    el.className = "wb-charts";
    const draw = () => {
      const parsed = new DOMParser().parseFromString(this.get("charts") ?? "", "text/html");
      el.replaceChildren(...parsed.querySelectorAll("svg"));
    };
    this.on("change:charts", draw);
    draw();
    return { el, remove: () => this.off("change:charts", draw) };
  }
}
