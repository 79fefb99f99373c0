// The tokens of one request: as a strip coloured by a measure, or as columns whose height is how many tokens might have come.

const KINDS = ["free", "constrained", "forced", "overruled"];
const SAYS = ["no constraint", "chosen among what the constraint allows", "the constraint left no other text", "the model's first choice was forbidden"];
const TAGS = [["span", ""], ["span", "wb-con"], ["i", ""], ["b", "wb-over"]];
const BARS = ["wb-decode", "wb-decode", "wb-free", "wb-prefill"];
const COLUMN_EM = 3;

/** [rid, position] of a token's selection id; the position is null where it is a request's. */
export function placeOf(selected) {
  const id = String(selected?.id ?? "");
  if (selected?.kind === "request") return [id, null];
  const at = id.lastIndexOf(":");
  return selected?.kind === "token" && at > 0 ? [id.slice(0, at), Number(id.slice(at + 1))] : ["", null];
}

/** The place that is told about: the selected token's, else the step that the view was opened with. */
export function placeIn(state, selected) {
  const [rid, position] = placeOf(selected);
  return rid === state.rid && position !== null ? position : (state.step ?? null);
}

/** Rows in, boxes out: [{position, text, kind, level, line}], level and line 0 to 4 or null; line is null for "kind". */
export function layoutStrip(state, by, line) {
  const names = Object.keys(state.measures ?? {});
  const digit = (levels, name) => {
    const found = levels[names.indexOf(name)];
    return found === undefined || found === "-" ? null : Number(found);
  };
  return (state.rows ?? []).map(([text, kind, levels], i) => ({
    position: state.first + i,
    text,
    kind,
    level: digit(levels, by),
    line: line === "kind" ? null : (digit(levels, line) ?? 0),
  }));
}

/** Rows in, columns out: [{position, text, kind, height, breaks}], the height from 0 to 1 on a logarithmic scale. */
export function layoutColumns(state) {
  const most = Math.log(Math.max(state.vocab_size ?? 0, 2));
  return (state.rows ?? []).map((row, i) => {
    const [text, kind] = row;
    const allowed = Math.min(Math.max(row[7] ?? state.vocab_size, 1), Math.max(state.vocab_size, 1));
    return {
      position: state.first + i,
      text: text.replaceAll("\n", "⏎"),
      kind,
      height: kind === 2 ? 0 : Math.log(allowed) / most,
      breaks: text.split("\n").length - 1,
    };
  });
}

/** What a row alone tells, in words. */
export function words(row) {
  const [, kind, , probability, entropy, rank, latency, allowed, removed] = row;
  const facts = [KINDS[kind]];
  if (allowed !== null && kind !== 2) facts.push(`${count(allowed)} allowed`);
  if (probability !== null) facts.push(`${share(probability)}, rank ${count(rank)}`, `entropy ${entropy.toFixed(2)} nats`);
  if (removed !== null) facts.push(`${share(removed)} removed by the mask`);
  if (latency !== null) facts.push(duration(latency));
  return facts.join("; ");
}

export function share(part) {
  if (part > 0 && part < 0.001) return "under 0.1 %";
  if (part > 0.999 && part < 1) return "over 99.9 %";
  return `${(part * 100).toFixed(1).replace(/\.0$/, "")} %`;
}

function choose(label, onchange, asks = null) {
  const select = el("select", { onchange: () => onchange(select.value) });
  let shown = "";
  return {
    node: el("label", { class: "wb-soft", "data-asks": asks }, `${label} `, select),
    fill(options, value) {
      const wanted = JSON.stringify([options, value]);
      if (wanted === shown || document.activeElement === select) return;
      shown = wanted;
      select.replaceChildren(...options.map(([id, text]) => el("option", { value: id, selected: id === value }, text)));
    },
  };
}

function bar(part, kind) {
  return el("div", { class: "wb-share" }, el("span", { class: kind, style: `width:${(part * 100).toFixed(1)}%` }));
}

/** The panel of one token: the row's own facts at once, the rest when Python has answered. */
function panel(view, node) {
  let shown = "";
  let told = null;
  const why = el("p", { class: "wb-why" });
  const ask = async (rid, position, token) => {
    why.textContent = "…";
    const reply = await view.ask({ do: "detail", id: [rid, position], why: token });
    if (shown.startsWith(`${rid}:${position}:`)) why.textContent = reply.why ?? reply.error ?? "";
  };
  const alternative = (rid, position, [id, text, part, allowed]) =>
    el(
      "tr",
      {},
      el("td", { class: "wb-mono" }, JSON.stringify(text)),
      el("td", { class: "wb-num" }, share(part)),
      el("td", {}, bar(part, allowed === false ? "wb-lost" : "wb-decode")),
      el(
        "td",
        {},
        allowed === undefined ? "" : allowed ? "allowed" : el("button", { "data-asks": "kernel", onclick: () => ask(rid, position, id) }, allowed === false ? "forbidden: why?" : "why?"),
      ),
    );
  const table = (title, rows) => el("div", {}, el("p", { class: "wb-soft" }, title), el("table", {}, el("tbody", {}, rows)));
  const fill = (rid, position) => {
    const parts = [];
    if (told?.error) parts.push(el("p", {}, told.error));
    if (told?.before) {
      const after = told.after.length ? table("after the mask", told.after.map((row) => alternative(rid, position, row))) : null;
      const title = told.after.length ? "before the mask" : "the model's likeliest";
      parts.push(el("div", { class: "wb-pair" }, table(title, told.before.map((row) => alternative(rid, position, told.after.length ? row : row.slice(0, 3)))), after), why);
    } else if (told && !told.error && !told.classes) {
      parts.push(el("p", { class: "wb-soft" }, "No token detail here: it was off, or the token was forced."));
    }
    if (told?.classes) {
      const rows = told.classes
        .filter(([, allowed]) => allowed)
        .map(([name, allowed, total, examples]) =>
          el(
            "tr",
            {},
            el("td", {}, name),
            el("td", { class: "wb-num" }, `${count(allowed)} of ${count(total)}`),
            el("td", {}, bar(allowed / total, "wb-decode")),
            el("td", { class: "wb-mono" }, examples.join(" ")),
          ),
        );
      const chips = told.tokens.map((text) => el("span", {}, text));
      const rest = told.num_allowed - chips.length;
      parts.push(
        el("p", {}, told.sentence),
        el("table", {}, el("tbody", {}, rows)),
        el("div", { class: "wb-text wb-chips" }, chips, rest > 0 ? el("span", { class: "wb-soft" }, `and ${count(rest)} more`) : null),
      );
    }
    return parts;
  };
  return async (state, position) => {
    const { rid, first, rows = [] } = state;
    const isThere = rid && position !== null && position >= first && position < first + rows.length + (state.columns ? 1 : 0);
    const row = isThere ? rows[position - first] : null;
    const wanted = isThere ? `${rid}:${position}:${Boolean(row)}` : "";
    if (wanted === shown) return;
    shown = wanted;
    told = null;
    why.textContent = "";
    node.hidden = !isThere;
    if (!isThere) return;
    const head = el("p", {}, el("b", {}, row ? `${position}: ${JSON.stringify(row[0])} ` : `${position}: what may come next`), row && words(row));
    node.replaceChildren(head);
    const reply = await view.ask({ do: "detail", id: [rid, position] });
    if (shown !== wanted) return;
    told = reply;
    node.replaceChildren(head, ...fill(rid, position));
  };
}

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    let state = {};
    let by = "";
    let line = "kind";
    let followed = "";
    let last = {};
    const redraw = () => draw(state, last);
    const show = (rid) => view.ask({ do: "show", rid: rid || null });
    const requests = choose("request", show, "kernel");
    const head = el("b", {});
    const colour = choose("colour", (name) => ((by = name), redraw()));
    const under = choose("underline", (name) => ((line = name), redraw()));
    const about = el("span", { class: "wb-soft" });
    const scale = el("p", { class: "wb-soft wb-scale" });
    const legend = el("p", { class: "wb-soft wb-kinds" });
    const strip = el("div", { tabindex: 0, role: "listbox", "aria-label": "tokens" });
    const note = el("div", { class: "wb-panel", hidden: true });
    const fill = panel(view, note);
    const pick = (position) => view.select({ kind: "token", id: `${state.rid}:${position}` });
    strip.addEventListener("click", (event) => {
      const position = event.target.closest("[data-position]")?.dataset.position;
      if (position !== undefined) pick(Number(position));
    });
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const position = placeIn(state, view.selected);
      if (!step || position === null) return;
      event.preventDefault();
      const next = position + step;
      if (next >= state.first && next < state.first + state.rows.length) pick(next);
    });
    view.root.append(el("p", {}, head), view.about, el("div", { class: "wb-head wb-if-any" }, requests.node, colour.node, under.node, about), scale, legend, strip, note);

    const token = (box, title, at) => {
      const [tag, name] = box.line === null ? TAGS[box.kind] : ["span", ""];
      const classes = [name, box.level === null ? "" : `wb-l${box.level}`, at ? "wb-selected" : ""].filter(Boolean).join(" ");
      const style = box.line ? `border-bottom:${box.line}px solid var(--wb-ink)` : null;
      return el(tag, { class: classes || null, style, title, "data-position": box.position, role: "option" }, box.text || "\u200b");
    };
    const column = (box, title, at) => {
      const height = Math.max(box.height * COLUMN_EM, 0.12).toFixed(2);
      const drawn = el(
        "span",
        { class: `wb-col${at ? " wb-selected" : ""}`, title, "data-position": box.position, role: "option" },
        el("span", { class: BARS[box.kind], style: `height:${height}em` }),
        el("span", {}, box.text || "\u00a0"),
      );
      return box.breaks ? el("span", {}, drawn, Array.from({ length: box.breaks }, () => el("br"))) : drawn;
    };
    const keys = () => {
      const found = [...new Set((state.rows ?? []).map((row) => row[1]))].sort();
      return (found.some(Boolean) ? found : []).map((kind) =>
        state.columns
          ? el("span", { class: "wb-key" }, el("span", { class: BARS[kind] }), SAYS[kind])
          : el("span", {}, el(TAGS[kind][0], { class: TAGS[kind][1] || null }, KINDS[kind]), `: ${SAYS[kind]}`),
      );
    };

    function draw(next, selected) {
      state = next;
      last = selected;
      by = by || state.by || "";
      const measures = state.measures ?? {};
      const listed = (state.requests ?? []).map(([rid, num, finish, kind]) => [rid, `${rid} · ${plural(num, "token")}${kind ? ` · ${kind}` : ""}${finish ? "" : " · running"}`]);
      requests.fill([["", "the newest"], ...listed], state.newest ? "" : state.rid);
      colour.node.hidden = under.node.hidden = Boolean(state.columns);
      colour.fill(Object.keys(measures).map((name) => [name, name]), by);
      under.fill([["kind", "how it came about"], ...Object.keys(measures).map((name) => [name, name])], line);
      const earlier = state.first > 0 ? `the last ${count(state.rows.length)} of ${plural(state.first + state.rows.length, "token")}, view.fold.shown.tokens has all` : plural(state.rows?.length ?? 0, "token");
      const cost = state.detail_s === null || state.detail_s === undefined ? "" : ` · token detail took ${duration(state.detail_s)}`;
      morph(about, state.rid ? `${earlier}${state.grammar ? ` · ${state.grammar}` : ""}${cost}` : "");
      morph(head, `${state.columns ? "Mask" : "Tokens"}${state.rid ? ` of ${state.rid}` : ""}`);
      const [meaning, ...steps] = measures[by] ?? [""];
      const unknown = (state.rows ?? []).every((row) => row[3] === null) && !["latency", "allowed"].includes(by);
      scale.hidden = !state.rid;
      morph(
        scale,
        ...(state.columns
          ? [`Height: how many of the ${count(state.vocab_size)} tokens might come, on a logarithmic scale `]
          : unknown && state.rows?.length
            ? [`No colours: ${state.no_detail?.replace("{}", by)}`]
            : [`${by}, ${meaning}: `, ...steps.map((step, i) => el("span", { class: `wb-step wb-l${i}` }, step))]),
      );
      morph(legend, keys());
      const [rid] = placeOf(selected);
      const at = placeIn(state, selected);
      strip.className = `wb-if-any wb-text wb-out ${state.columns ? "wb-curve" : "wb-strip"}`;
      const boxes = state.columns ? layoutColumns(state) : layoutStrip(state, by, line);
      const title = (box) => `${box.position}: ${words(state.rows[box.position - state.first])}`;
      patch(
        strip,
        boxes,
        (box) => JSON.stringify([state.rid, Object.values(box), box.position === at, state.rows[box.position - state.first].slice(3)]),
        (box) => (state.columns ? column : token)(box, title(box), box.position === at),
      );
      fill(state, at);
      if (rid && rid !== state.rid && rid !== followed && state.requests?.some(([id]) => id === rid)) show(rid);
      followed = rid;
    }
    return { draw };
  });
}

export default { render };
