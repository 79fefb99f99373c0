// @ts-check
// Under the batch timeline: what is selected, in words, the requests that wait, and turning to earlier requests.

import { el, morph } from "../live/dom.js";
import { table } from "../live/table.js";
import { layoutQueue, layoutTurns } from "./layout.js";
import { aboutStep, stepInWords } from "./words.js";

/** @import {View} from "../live/mount.js" */
/** @import {BatchState} from "./layout.js" */

const HINT = "click a step or a request";

/** Makes the words about the selected step or request, and the button that aborts it. @param {View} view */
export function makeAbout(view) {
  const words = el("div", { role: "status" });
  let rid = "";
  const onAbort = () => view.ask({ do: "abort", rid });
  const abort = el("button", { "data-asks": "engine", onclick: onAbort, hidden: true }, "abort it"); // stays: it may be pressed
  const root = el("div", { class: "wb-about wb-if-any" }, words, abort);
  let asked = ""; // what is not drawn and was asked for

  const say = (/** @type {string[]} */ lines) =>
    morph(
      words,
      lines.map((line) => el("p", {}, line)),
    );

  /** Requests once what is not drawn. @param {string} kind @param {string | number} id */
  async function askFor(kind, id) {
    const name = `${kind} ${id}`;
    if (asked === name) return;
    asked = name;
    say([`${name} is not drawn here …`]);
    const reply = await view.ask({ do: "detail", kind, id: kind === "step" ? Number(id) : id });
    if (asked === name) say([reply.says ?? reply.error ?? ""]);
  }

  /** @param {BatchState} state */
  function draw(state) {
    const { kind = "", id = "" } = view.selected;
    const step = kind === "step" ? aboutStep(state, Number(id)) : null;
    const lane = kind === "request" ? (state.lanes ?? []).find((some) => some.rid === id) : undefined;
    abort.hidden = !lane || lane.phase === "ended";
    rid = lane?.rid ?? "";
    if (!step && !lane && ["step", "request"].includes(kind)) {
      askFor(kind, id);
      return;
    }
    asked = "";
    say(step ? stepInWords(step) : [lane ? lane.says : HINT]);
  }
  return { root, draw };
}

/** Makes the table of waiting requests. */
export function makeQueue() {
  const root = el("div");
  /** @param {BatchState} state */
  function draw({ queue, waiting }) {
    const { rows, more } = layoutQueue(queue, waiting);
    if (!rows.length) return morph(root);
    const waits = table(rows, { head: ["waits", "since", "for"], numeric: [1] });
    return morph(root, el("div", { class: "wb-journal" }, waits), more && el("p", { class: "wb-soft" }, more));
  }
  return { root, draw };
}

/** Makes the buttons that turn to earlier and later requests. @param {View} view */
export function makeTurns(view) {
  /** @param {string} text */
  function makeButton(text) {
    let skip = 0;
    const node = el("button", { onclick: () => view.ask({ do: "skip", num: skip }) }, text);
    /** @param {number | null | undefined} next requests to leave out; null hides the button */
    function draw(next) {
      node.hidden = next === null || next === undefined;
      skip = next ?? 0;
    }
    return { node, draw };
  }
  const earlier = makeButton("◀ those before them");
  const later = makeButton("later ones ▶");
  const says = el("span", { class: "wb-soft" });
  const attrs = { class: "wb-pager", "data-asks": "kernel", hidden: true };
  const root = el("p", attrs, earlier.node, " ", says, " ", later.node);
  /** @param {BatchState} state */
  function draw(state) {
    const turns = layoutTurns(state);
    root.hidden = !turns;
    morph(says, turns?.says ?? "");
    earlier.draw(turns?.earlier);
    later.draw(turns?.later);
  }
  return { root, draw };
}
