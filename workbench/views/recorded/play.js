// @ts-check
// Plays the recordings in a page without Python: a slider over the moments of a run, above the views as they drew them.

import { el } from "../live/dom.js";
import { StandIn } from "../live/stand_in.js";
import { valuesOf } from "./track.js";

/** @import {Track} from "./track.js" */
/**
 * One view of a recording. `choices` are the parts of its state that depend on what the reader chose to see in it.
 * @typedef {object} RecordedView
 * @property {string} name
 * @property {string} sees
 * @property {string} note
 * @property {Track} states
 * @property {Record<string, Track>} choices
 * @property {Record<string, Track>} answers
 * @property {string} [charts]
 * @property {(number | null)[]} [places] where each moment is in the charts, from 0 to 1
 */
/** @typedef {{engine: string, moments: string[], views: RecordedView[], columns: string[][]}} Recorded */
/** @typedef {Record<string, {render: (context: {model: any, el: HTMLElement}) => void}>} Scripts */

const PLAY_MS = 120;
const LEFT = 6; // of a chart that is 400 wide, as `charts.py` draws it
const WIDTH = 388;
const MISSING = "this page has no Python behind it, and the recording does not hold this";

/** Names a message as `name_of` in `replay.py` does. @param {Record<string, unknown>} message */
const nameOf = (message) =>
  Object.entries(message)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join("&");

/** @param {Record<string, Track>} tracks */
const allValues = (tracks) => Object.fromEntries(Object.entries(tracks).map(([key, track]) => [key, valuesOf(track)]));

/** Stands for the model of one view at the moment that is shown. */
class RecordedModel extends StandIn {
  #moment = 0;
  /** @type {string | null} */
  #chosen = null;
  /** @type {any} */
  #state = {};

  /** @param {RecordedView} view @param {string} engine */
  constructor(view, engine) {
    super();
    this.states = valuesOf(view.states);
    this.choices = allValues(view.choices);
    this.answers = allValues(view.answers);
    this.charts = view.charts ?? "";
    this.places = view.places ?? [];
    const traits = { engine, key: view.name, selected: {}, ended: true, sees: view.sees, note: view.note };
    for (const [trait, value] of Object.entries(traits)) this.set(trait, value);
  }

  /** Large parts of a state, such as the rows of the tree, are read like traits. @param {string} trait */
  get(trait) {
    return trait in this.#state ? this.#state[trait] : super.get(trait);
  }

  /** @param {number} moment */
  show(moment) {
    this.#moment = moment;
    const common = this.states(moment) ?? {};
    const chosen = this.#chosen === null ? undefined : this.choices[this.#chosen]?.(moment);
    const own = chosen ?? this.choices[common.shown]?.(moment);
    this.#state = { ...common, ...own, newest: chosen ? false : common.newest };
    this.set("state", this.#state);
    if (this.charts) this.set("charts", this.#chartsAt(this.places[moment]));
  }

  /** Answers a message of the view. @param {any} message */
  send({ ask: number, do: word, ...asked }) {
    const reply = this.#reply(word, asked);
    if (number) queueMicrotask(() => this.emit("msg:custom", { ask: number, reply }));
  }

  /** @param {string} word @param {any} asked */
  #reply(word, asked) {
    if (word === "shown" || word === "hidden") return {};
    if (word === "detail") return this.answers[nameOf(asked)]?.(this.#moment) ?? { error: MISSING };
    if (word !== "show") return { error: MISSING };
    this.#chosen = asked.rid;
    this.show(this.#moment);
    return {};
  }

  /** Returns the charts with a line at the moment. @param {number | null | undefined} place */
  #chartsAt(place) {
    if (place === null || place === undefined) return this.charts;
    return this.charts.replaceAll("</svg>", `<path class="wb-now" d="M${(LEFT + WIDTH * place).toFixed(1)} 24V104"/></svg>`);
  }
}

/** Reads what a recording holds: JSON, deflated, as base64. @param {string} text @returns {Promise<Recorded>} */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** Makes the slider over the moments. @param {string[]} moments @param {(moment: number) => void} onMove */
function makeSlider(moments, onMove) {
  const last = moments.length - 1;
  const words = el("output", { class: "wb-soft" });
  const input = el("input", { type: "range", min: 0, max: last, value: last, "aria-label": "moment of the run" });
  const button = el("button", { type: "button", onclick: () => (timer ? stop() : play()) });
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;

  function show() {
    words.textContent = moments[Number(input.value)];
    input.setAttribute("aria-valuetext", words.textContent);
    onMove(Number(input.value));
  }

  function stop() {
    clearInterval(timer);
    timer = undefined;
    button.textContent = "▶ play";
  }

  function play() {
    if (Number(input.value) === last) input.value = "0";
    timer = setInterval(() => {
      input.value = String(Number(input.value) + 1);
      show();
      if (Number(input.value) === last) stop();
    }, PLAY_MS);
    button.textContent = "❚❚ pause";
    show();
  }

  input.addEventListener("input", () => {
    stop();
    show();
  });
  stop();
  return { root: el("div", { class: "wb-player", hidden: last < 1 }, button, input, words), show };
}

/**
 * Puts the places of several views into columns, and those without a column below.
 * @param {HTMLElement[]} roots
 * @param {string[][]} columns
 */
function arranged(roots, columns) {
  if (roots.length === 1) return roots[0];
  const among = (/** @type {string[]} */ names) => roots.filter((root) => names.includes(root.dataset.view ?? ""));
  const filled = columns.map((names) => el("div", {}, among(names)));
  const below = roots.filter((root) => !columns.flat().includes(root.dataset.view ?? ""));
  return el("div", {}, el("div", { class: "wb-columns" }, filled), below);
}

/** Puts live views in the place of one recording's still picture. @param {Element} place @param {Scripts} scripts */
async function play(place, scripts) {
  const packed = place.querySelector("script.wb-packed");
  if (!packed) return;
  const { engine, moments, views, columns } = await unpacked(packed.textContent ?? "");
  const models = views.map((view) => new RecordedModel(view, engine));
  const roots = views.map(({ name }) => el("div", { class: "wb-recorded", "data-view": name }));
  const slider = makeSlider(moments, (moment) => {
    for (const model of models) model.show(moment);
  });
  slider.show();
  place.replaceChildren(el("div", { class: "wb wb-live wb-top" }, slider.root), arranged(roots, columns));
  for (const [i, { name }] of views.entries()) scripts[name].render({ model: models[i], el: roots[i] });
}

/** Plays every recording of the page; a still picture stays where one cannot be read. @param {Scripts} scripts */
function playAll(scripts) {
  for (const place of document.querySelectorAll(".wb-recording")) {
    play(place, scripts).catch((error) => console.warn(`a recording cannot be played: ${error}`));
  }
}

export default playAll;
