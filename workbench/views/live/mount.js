// @ts-check
// One view in a page: draws when its state or the selection changes, sends messages to Python, and shows notes.

import { el, throttle } from "./dom.js";
import { ask, onKernelEnd, onNews, stateOf } from "./model.js";
import { onSelect, same, selectIn } from "./selection.js";

/** @import {Model} from "./model.js" */
/** @import {Selection} from "./selection.js" */

/**
 * A view's own half. `draw` runs once per frame at most, and only in sight. `receive` turns the ticker's news into traits.
 * @typedef {object} Made
 * @property {(state: any, selected: Selection) => void} draw
 * @property {(news: any, state: any) => Record<string, any>} [receive]
 * @property {() => void} [remove]
 */

const GONE = "the kernel that drew this has ended: this is its last state\nrun the cell again for a view that moves";
const BUSY =
  "the kernel is busy: this is done as soon as it answers, at the latest when the cell ends\n" +
  "to stop everything now, interrupt the cell";
const SETTLE_MS = 1000; // a selection that Python sends so soon after a click is older than the click

/**
 * One view in a page. Elements that need Python carry `data-asks`, "kernel" or "engine", and are hidden once that has ended;
 * "record" is on those that a recording answers too.
 * A view places `about` under its title: one line about what is seen, or what to do while there is nothing. Elements of the
 * class `wb-if-any` are hidden then. For tests and benchmarks the root carries `data-ms`, the last draw's milliseconds, and
 * `data-draws`.
 */
export class View {
  /** @type {Selection} */
  selected;
  isGone = false; // whether the kernel has ended
  root = el("div", { class: "wb-view" });
  redraw = throttle(() => this.#draw());

  #note = el("p", { class: "wb-note", role: "status" });
  #empty = el("p", { class: "wb-empty" });
  #still = el("style");
  #draws = 0;
  #isSeen = true;
  #isStale = false;
  #isRemoved = false;
  #isCounted = false; // whether Python counts this page
  #chosenAt = -Infinity;
  /** @type {import("./model.js").Memo} */
  #memo = {};
  /** @type {Record<string, any>} */
  #fresh = {};
  /** @type {any} */
  #state;
  /** @type {Made} */
  #made;
  /** @type {(() => void)[]} */
  #ends = [];
  #outer;
  #parts;

  /** @param {Model} model @param {HTMLElement} outer @param {(view: View) => Made} make @param {string[]} parts */
  constructor(model, outer, make, parts) {
    this.model = model;
    this.engine = /** @type {string} */ (model.get("engine"));
    this.about = el("div", {}, el("p", { class: "wb-soft wb-sees" }, model.get("sees") ?? ""), this.#empty);
    this.selected = model.get("selected") ?? {};
    this.#outer = outer;
    this.#parts = parts;
    this.#state = stateOf(model, parts, this.#memo);
    outer.classList.add("wb", "wb-live");
    outer.append(this.#still, this.#note, this.root);
    this.#made = make(this);
    this.#listen();
    this.#writeNote();
    this.#writeEnded();
    this.#hideStill();
    this.redraw();
  }

  /** Selects in all views of the engine; selects nothing where this is selected already. @param {Selection} next */
  select(next) {
    selectIn(this.engine, same(next, this.selected) ? {} : next);
    this.model.set("selected", this.selected); // Python sets it in the other views' models
    if (!this.isGone) this.model.save_changes();
  }

  /**
   * Sends a message to Python. Returns a promise of the reply, {error: ...} where it failed.
   * @param {{do: string, [name: string]: unknown}} message
   * @returns {Promise<any>}
   */
  async ask(message) {
    if (this.isGone) return { error: GONE.split("\n")[0] };
    const reply = await ask(this.model, message, () => this.say(BUSY));
    this.#writeNote();
    return reply;
  }

  /** Writes the note above the picture; "" hides it. @param {string} [text] */
  say(text) {
    this.#note.textContent = text ?? "";
    this.#note.hidden = !text;
  }

  /** Ends the view: nothing listens afterwards, and Python counts one page less. */
  remove() {
    this.#isRemoved = true;
    this.redraw.cancel();
    for (const end of this.#ends) end();
    this.#made.remove?.();
  }

  #draw() {
    this.#isStale = !this.#isSeen;
    if (this.#isStale) return;
    const began = performance.now();
    const empty = this.#state.empty ?? "";
    if (this.#empty.textContent !== empty) this.#empty.textContent = empty;
    this.#outer.classList.toggle("wb-is-empty", Boolean(empty));
    this.#made.draw(this.#state, this.selected);
    this.#outer.dataset.ms = (performance.now() - began).toFixed(2);
    this.#outer.dataset.draws = String(++this.#draws);
  }

  #readState() {
    this.#state = stateOf(this.model, this.#parts, this.#memo, this.#fresh);
    this.redraw();
  }

  #writeNote() {
    this.say(this.isGone ? GONE : this.model.get("note"));
  }

  #writeEnded() {
    this.#outer.classList.toggle("wb-ended", Boolean(this.model.get("ended")));
  }

  #hideStill() {
    const key = this.model.get("still_key");
    this.#still.textContent = key ? `.${key},.jp-OutputArea-child:has(.${key}){display:none}` : "";
  }

  #die() {
    this.isGone = true;
    this.#outer.classList.add("wb-no-kernel");
    this.#writeNote();
    this.redraw();
  }

  #listen() {
    for (const name of ["state", ...this.#parts]) {
      this.#onChange(name, () => {
        delete this.#fresh[name];
        this.#readState();
      });
    }
    this.#onChange("note", () => this.#writeNote());
    this.#onChange("ended", () => this.#writeEnded());
    this.#onChange("still_key", () => this.#hideStill());
    this.#onChange("selected", () => {
      const next = this.model.get("selected") ?? {};
      if (!same(next, this.selected) && performance.now() - this.#chosenAt > SETTLE_MS) selectIn(this.engine, next);
    });
    const offSelect = onSelect(this.engine, (next) => {
      this.#chosenAt = performance.now();
      this.selected = next;
      this.redraw();
    });
    const offKernel = onKernelEnd(this.model, () => this.#die());
    this.#ends.push(offSelect, offKernel, this.#watchSight(), this.#hear());
  }

  /** @param {string} trait @param {() => void} fn */
  #onChange(trait, fn) {
    this.model.on(`change:${trait}`, fn);
    this.#ends.push(() => this.model.off(`change:${trait}`, fn));
  }

  /** A view that is scrolled out of sight is drawn when it comes back: drawing takes from the engine. */
  #watchSight() {
    const sight = new IntersectionObserver((entries) => {
      this.#isSeen = entries.at(-1)?.isIntersecting ?? true;
      if (this.#isSeen && this.#isStale) this.redraw();
    });
    sight.observe(this.#outer);
    return () => sight.disconnect();
  }

  /** Listens to the ticker and reports to Python that this page shows the view. */
  #hear() {
    const onTick = (/** @type {any} */ news) => {
      Object.assign(this.#fresh, this.#made.receive?.(news, this.#state) ?? news);
      this.#readState();
    };
    const hearing = onNews(this.model, onTick, () => this.#die());
    hearing.then((stop) => {
      this.#isCounted = !this.#isRemoved && !this.isGone;
      if (this.#isCounted) ask(this.model, { do: "shown", ticker: stop !== null });
    });
    return () => {
      hearing.then((stop) => {
        stop?.();
        if (this.#isCounted && !this.isGone) this.model.send({ do: "hidden", ticker: stop !== null });
      });
    };
  }
}

/**
 * Makes the default export of a view's module. `parts` names further traits with JSON texts that `state` then holds too.
 * @param {(view: View) => Made} make
 * @param {string[]} [parts]
 */
export function widget(make, parts = []) {
  return {
    /** @param {{model: Model, el: HTMLElement}} context */
    render({ model, el: root }) {
      const view = new View(model, root, make, parts);
      return () => view.remove();
    },
  };
}
