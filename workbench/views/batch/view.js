// The batch timeline: two rows of steps, under them a waterfall of each request, and in words what is selected.

const WORDS = { wait: "queue", compile: "constraint", prefill: "prefill", decode: "decode", paused: "held up" };
const KEY = {
  wait: "in the queue",
  compile: "its constraint is compiled",
  prefill: "a chunk of the prompt",
  decode: "decode",
  paused: "held up: a step was made without it",
};

/** Times in microseconds -> places on an axis that leaves idle times out. */
export function axisOf({ start = 0, end = 0, breaks = [] }) {
  const lost = (time) => breaks.reduce((sum, [since, leftOut]) => sum + Math.max(0, Math.min(leftOut, time - since)), 0);
  const place = (time) => Math.min(Math.max(time, start), end) - start - lost(time);
  return { place, length: place(end) };
}

const PAGE = 40; // requests that are drawn at a time, as in batch_picture.py
const HAIR = 0.15; // percent of the axis, less than a pixel: steps no further apart are drawn as one

/** A state in, marks out; places and widths are in percent of the axis. Steps in a row with as many tokens are one mark. */
export function layoutBatch(state) {
  const { start = 0, steps = { number: [] }, lanes = [], breaks = [] } = state;
  const { place, length } = axisOf(state);
  const at = (time) => (100 * place(time)) / (length || 1);
  const ends = (columns, i) => ({ left: at(columns.start[i]), width: at(columns.end[i]) - at(columns.start[i]) });
  const bars = (counts = []) => {
    const most = Math.max(0, ...counts);
    const marks = [];
    let before = null;
    counts.forEach((tokens, i) => {
      const { left, width } = ends(steps, i);
      const step = steps.number[i];
      if (before && before.tokens === tokens && left - (before.left + before.width) < HAIR) {
        [before.last, before.width] = [step, left + width - before.left];
      } else {
        before = tokens ? { step, last: step, tokens, height: Math.max((100 * tokens) / most, 8), left, width } : null;
        if (before) marks.push(before);
      }
    });
    return { most, marks };
  };
  const parts = (lane) =>
    lane.kind.flatMap((kind, i) =>
      lane.end[i] < start
        ? []
        : [
            {
              kind,
              ...ends(lane, i),
              first: lane.first[i],
              last: lane.last[i],
              tokens: lane.tokens[i],
              note: lane.note[i],
              seconds: (lane.end[i] - lane.start[i]) / 1e6,
              isRetracted: lane.note[i].startsWith("retracted"),
            },
          ],
    );
  const drawn = lanes.map((lane) => ({ rid: lane.rid, prompt: lane.prompt ?? "", phase: lane.phase, says: lane.says, out: lane.out, parts: parts(lane) }));
  return {
    seconds: length / 1e6,
    places: (steps.number ?? []).map((number, i) => ({ number, ...ends(steps, i) })),
    prefill: bars(steps.prefill),
    decode: bars(steps.decode),
    breaks: breaks.map(([since, leftOut]) => ({ left: at(since), seconds: leftOut / 1e6 })),
    kinds: Object.keys(KEY).filter((kind) => drawn.some((lane) => lane.parts.some((part) => part.kind === kind))),
    lanes: drawn,
  };
}

/** A long id with both its ends: samples and options of one call differ in the last characters only. */
export const shortened = (rid) => (rid.length > 12 ? `${rid.slice(0, 6)}…${rid.slice(-4)}` : rid);

/** Of a step that is drawn: its numbers, who was in it, and who stood outside and why. Null for one that is not. */
export function aboutStep(state, number) {
  const { steps, lanes = [] } = state;
  const i = steps?.number.indexOf(number) ?? -1;
  if (i < 0) return null;
  const middle = (steps.start[i] + steps.end[i]) / 2;
  const members = [];
  const outside = [];
  for (const lane of lanes) {
    lane.kind.forEach((kind, j) => {
      if (lane.first[j] && lane.first[j] <= number && number <= lane.last[j]) {
        members.push({ rid: lane.rid, kind, tokens: kind === "prefill" ? lane.tokens[j] : null });
      } else if (!lane.first[j] && lane.start[j] <= middle && middle < lane.end[j]) {
        outside.push({ rid: lane.rid, kind, note: lane.note[j] });
      }
    });
  }
  const numbers = Object.fromEntries(["prefill", "decode", "reused", "left", "waiting"].map((name) => [name, steps[name][i]]));
  return { number, ...numbers, seconds: (steps.end[i] - steps.start[i]) / 1e6, members, outside };
}

export function stepInWords(step) {
  const who = step.members.map((m) => (m.kind === "prefill" ? `${m.rid} (${count(m.tokens)} of its prompt)` : m.rid));
  const outside = step.outside.map((o) => `${o.rid} (${o.note || WORDS[o.kind]})`);
  return [
    `step ${step.number}: ${duration(step.seconds)}, ${count(step.prefill)} prefill and ${count(step.decode)} decode tokens, ` +
      `${count(step.reused)} reused, budget left ${count(step.left)}, ${count(step.waiting)} waiting`,
    `in it: ${who.join(", ") || "nobody that is drawn"}`,
    ...(outside.length ? [`not in it: ${outside.join(", ")}`] : []),
  ];
}

export function partInWords(part) {
  const steps = part.first === part.last ? `step ${part.first}` : `steps ${part.first} to ${part.last}`;
  const inside = part.first ? [steps, `${count(part.tokens)} tokens`] : [];
  return [`${WORDS[part.kind]} ${duration(part.seconds)}`, ...inside, ...(part.note ? [part.note] : [])].join(", ");
}

const percent = (left, width) => `left:${left.toFixed(3)}%` + (width === undefined ? "" : `;width:${width.toFixed(3)}%`);

function row(label, kind = "") {
  const name = el("span", {}, label);
  const track = el("div", { class: `wb-track${kind}` });
  const note = el("span", {});
  return { root: el("div", { class: "wb-lane" }, name, track, note), name, track, note };
}

function bars(made, kind, selected) {
  const marks = made[kind].marks.map((mark) =>
    el("span", {
      class: `wb-${kind}`,
      style: `${percent(mark.left, mark.width)};height:${mark.height.toFixed(0)}%`,
      title: `${mark.step === mark.last ? `step ${mark.step}` : `each of steps ${mark.step} to ${mark.last}`}: ${count(mark.tokens)} ${kind} tokens`,
    }),
  );
  const chosen = made.places.find(({ number }) => same(selected, { kind: "step", id: number }));
  if (chosen) marks.push(el("span", { class: "wb-selected", style: percent(chosen.left, chosen.width) }));
  return [...marks, ...dashes(made.breaks)];
}

/** The number of the step that is nearest to a place, in percent of the axis; null where none is near. */
export function stepAt(places, percent) {
  const off = ({ left, width }) => Math.max(left - percent, percent - left - width, 0);
  const nearest = places.reduce((best, place) => (best && off(best) <= off(place) ? best : place), null);
  return nearest && off(nearest) < 1 ? nearest.number : null;
}

const dashes = (breaks) =>
  breaks.map((gap) => el("span", { class: "wb-break", style: percent(gap.left), title: `${duration(gap.seconds)} without any request` }));

function stretches(lane, breaks) {
  const marks = lane.parts.flatMap((part) => [
    el("span", {
      class: `wb-${part.kind}`,
      style: percent(part.left, part.width),
      title: partInWords(part),
      "data-step": part.first && part.first === part.last ? part.first : null,
    }),
    part.isRetracted ? el("b", { class: "wb-mark", style: percent(part.left), title: part.note }, "▼") : null,
  ]);
  return [...marks, ...dashes(breaks)].filter(Boolean);
}

/** Which requests are drawn, and how many to leave out for those before and after them; null where there are none. */
export function layoutPages({ skip = 0, all = 0, lanes = [] }) {
  const last = skip + lanes.length;
  if (all <= lanes.length) return null;
  return {
    says: `requests ${count(lanes.length ? skip + 1 : skip)} to ${count(last)} of ${count(all)}, the latest being number 1`,
    earlier: last < all ? last : null,
    later: skip ? Math.max(skip - PAGE, 0) : null,
  };
}

/** Who waits, since when, and for what: those that are drawn, and how many more there are. */
export function layoutQueue(queue = [], numWaiting = queue.length) {
  const more = numWaiting - queue.length;
  return { rows: queue, more: more > 0 ? `and ${count(more)} more that wait, among the other requests` : "" };
}

function drawQueue(queue, numWaiting) {
  const { rows, more } = layoutQueue(queue, numWaiting);
  if (!rows.length) return [];
  const line = (cells, tag) => el("tr", {}, cells.map((cell, i) => el(tag, { class: i === 1 ? "wb-num" : null }, cell)));
  const table = el("table", {}, el("thead", {}, line(["waits", "since", "for"], "th")), el("tbody", {}, rows.map((row) => line(row, "td"))));
  return [el("div", { class: "wb-journal" }, table), more ? el("p", { class: "wb-soft" }, more) : null].filter(Boolean);
}

/** What a click means: a step, a request, or nothing. */
function clicked(event, places) {
  const hit = hitBy(event);
  const track = hit?.closest(".wb-tall");
  if (track) {
    const { left, width } = track.getBoundingClientRect();
    const id = stepAt(places, (100 * (event.clientX - left)) / width);
    return id === null ? null : { kind: "step", id };
  }
  const mark = hit?.closest("[data-step]");
  const lane = hit?.closest("[data-rid]");
  if (lane && !mark) return { kind: "request", id: lane.dataset.rid };
  return mark ? { kind: "step", id: Number(mark.dataset.step) } : null;
}

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    const head = el("p", {});
    const key = el("div", {});
    const chart = el("div", { class: "wb-chart wb-if-any" });
    const prefill = row("prefill tokens", " wb-tall");
    const decode = row("decode tokens", " wb-tall");
    const scale = row("");
    const words = el("div", { role: "status" });
    const abort = el("button", { "data-asks": "engine", onclick: () => view.ask({ do: "abort", rid: abort.value }), hidden: true }, "abort it"); // stays, since it may be pressed
    const about = el("div", { class: "wb-about wb-if-any" }, words, abort);
    const queue = el("div", {});
    const rows = new Map();
    let places = []; // of the steps that are drawn
    scale.root.classList.add("wb-if-any");
    scale.track.className = "wb-soft wb-ends";
    chart.append(prefill.root, decode.root);
    const gaps = el("p", { class: "wb-soft" });
    const skip = (name) => el("button", { onclick: (event) => view.ask({ do: "skip", num: Number(event.target.value) }) }, name);
    const [earlier, later, drawnOf] = [skip("◀ those before them"), skip("later ones ▶"), el("span", { class: "wb-soft" })];
    const pages = el("p", { class: "wb-pager", "data-asks": "kernel", hidden: true }, earlier, " ", drawnOf, " ", later);
    const lanes = el("div", { class: "wb-lanes" });
    chart.append(lanes);
    view.root.append(head, view.about, key, chart, scale.root, gaps, pages, queue, about);
    chart.addEventListener("click", (event) => {
      const found = clicked(event, places);
      if (found) view.select(found);
    });

    const laneRow = (rid) => {
      const made = row("");
      made.root.dataset.rid = rid;
      made.prompt = el("span", { class: "wb-soft" });
      made.name.append(el("button", { class: "wb-plain", title: rid, "aria-label": rid }, shortened(rid)), " ", made.prompt);
      rows.set(rid, made);
      return made;
    };
    let asked = "";
    const say = (...lines) => morph(words, ...lines.map((line) => el("p", {}, line)));
    const drawAbout = (state, selected) => {
      const step = selected.kind === "step" ? aboutStep(state, Number(selected.id)) : null;
      const lane = selected.kind === "request" ? (state.lanes ?? []).find((lane) => lane.rid === selected.id) : null;
      abort.hidden = !lane || lane.phase === "ended";
      abort.value = lane?.rid ?? "";
      const isFound = step || lane || !["step", "request"].includes(selected.kind);
      if (!isFound) return tell(selected);
      asked = "";
      say(...(step ? stepInWords(step) : [lane ? lane.says : "click a step or a request"]));
    };
    /** What is not drawn (any more) is asked for, once. */
    const tell = (selected) => {
      const name = `${selected.kind} ${selected.id}`;
      if (asked === name) return;
      asked = name;
      say(`${name} is not drawn here …`);
      const id = selected.kind === "step" ? Number(selected.id) : selected.id;
      view.ask({ do: "detail", kind: selected.kind, id }).then((reply) => {
        if (asked === name) say(reply.says ?? reply.error ?? "");
      });
    };

    return {
      draw(state, selected) {
        const made = layoutBatch(state);
        places = made.places;
        morph(head, el("b", {}, state.title ?? ""));
        morph(
          key,
          ...made.kinds.map((kind) => el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), KEY[kind])),
          ...(made.lanes.some((lane) => lane.parts.some((part) => part.isRetracted))
            ? [el("span", { class: "wb-key" }, el("b", { class: "wb-mark" }, "▼"), " retracted")]
            : []),
        );
        for (const [kind, at] of [["prefill", prefill], ["decode", decode]]) {
          morph(at.track, ...bars(made, kind, selected));
          morph(at.note, made[kind].most ? `up to ${count(made[kind].most)}` : "none");
        }
        const shown = made.lanes.map((lane) => {
          const at = rows.get(lane.rid) ?? laneRow(lane.rid);
          if (at.prompt.textContent !== lane.prompt) at.prompt.textContent = at.prompt.title = lane.prompt;
          morph(at.track, ...stretches(lane, made.breaks));
          morph(at.note, lane.phase === "waiting" ? "waiting" : `${count(lane.out)} out`);
          at.root.classList.toggle("wb-selected", same(selected, { kind: "request", id: lane.rid }));
          return at.root;
        });
        const wanted = new Set(made.lanes.map((lane) => lane.rid));
        for (const rid of rows.keys()) if (!wanted.has(rid)) rows.delete(rid);
        const present = [...lanes.children];
        if (present.length !== shown.length || shown.some((node, i) => node !== present[i])) lanes.replaceChildren(...shown);
        const turn = layoutPages(state);
        pages.hidden = !turn;
        morph(drawnOf, turn?.says ?? "");
        for (const [button, num] of [[earlier, turn?.earlier], [later, turn?.later]]) {
          button.hidden = (num ?? null) === null;
          button.value = String(num ?? 0);
        }
        const cut = made.breaks.reduce((sum, gap) => sum + gap.seconds, 0);
        morph(scale.track, el("span", {}, "0"), el("span", {}, duration(made.seconds)));
        morph(gaps, cut ? `${duration(cut)} without any request left out at the dashed lines` : "");
        morph(queue, ...drawQueue(state.queue, state.waiting));
        drawAbout(state, selected);
      },
    };
  });
}

export default { render };
