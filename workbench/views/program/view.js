// A program's text with its gaps while it is written; every gap is tied to the request that writes it.

const BAR_EM = 7;
const EDGES = ["rolebegin", "roleend", "fork", "join"];
const JOINED = {
  gather_variable: "join: each name that the branches made is a list from here on",
  concate_and_append: "join: the texts of the branches follow here",
};

/** Parts in one line of text together are one block; what begins or ends a block stands between: [{edge}] or [{parts}]. */
export function layoutProgram(parts) {
  const blocks = [];
  for (const part of parts) {
    if (EDGES.includes(part.kind)) blocks.push({ edge: part });
    else if (blocks.length && blocks.at(-1).parts) blocks.at(-1).parts.push(part);
    else blocks.push({ parts: [part] });
  }
  return blocks;
}

/** Tokens of a part's prompt; of a selection the mean of its requests, which read the same prompt. */
export const promptLength = (part) => (part.num_prompt ?? 0) / (part.num_requests || 1);

export const longestPrompt = (parts) =>
  Math.max(0, ...parts.map((part) => Math.max(promptLength(part), ...(part.branches ?? []).map(longestPrompt))));

/** Whether a request's id is one of the part's: its own, or of one of its samples or options. */
export const asks = (part, rid) => Boolean(part.rid) && (rid === part.rid || String(rid).startsWith(`${part.rid}-`));

const isAsked = (part) => part.kind === "gen" || part.kind === "select";
const chosenBy = (part) => (part.rid ? { kind: "request", id: part.rid } : { kind: "part", id: part.number });
const isChosen = (part, selected) => (selected.kind === "request" ? asks(part, selected.id) : same(selected, { kind: "part", id: part.number }));

function inline(view, part, selected) {
  if (part.kind === "text") return el("span", {}, part.text);
  if (part.kind === "varbegin") return el("span", { class: "wb-tag", "data-name": `${part.name} {` });
  if (part.kind === "varend") return el("span", { class: "wb-tag", "data-name": "}" });
  if (!isAsked(part)) return el("span", { class: "wb-soft" }, `[${part.kind} ${part.detail}]`);
  const kinds = ["wb-gap", part.replayed && "wb-given", !part.is_done && "wb-open", isChosen(part, selected) && "wb-selected"];
  const attrs = { class: kinds.filter(Boolean).join(" "), "data-name": part.name || part.kind, "data-part": part.number };
  return el("span", { ...attrs, onclick: () => view.select(chosenBy(part)) }, part.text, part.num_left_out ? " …" : "");
}

function share(part, em) {
  const reused = part.num_cached ?? 0;
  const scale = part.num_prompt ? (em * promptLength(part)) / part.num_prompt : 0;
  const bars = [["reused", reused], ["prefill", (part.num_prompt ?? 0) - reused]].filter(([, tokens]) => tokens > 0);
  return el("span", { class: "wb-read", style: `width:${BAR_EM}em` }, bars.map(([kind, tokens]) => el("span", { class: `wb-${kind}`, style: `width:${(tokens * scale).toFixed(2)}em` })));
}

function line(view, part, em, selected, open) {
  const { timings: t } = part;
  const times = t && `${duration(t.queue_s)} waiting, ${duration(t.prefill_s)} prefill, ${duration(t.decode_s)} decode`;
  const rows = [["asked for", part.detail], ["request", part.requests], ["written at", part.place], ["time", times]].filter(([, value]) => value);
  const scores = part.scores.map(([option, score]) => [JSON.stringify(option), `${score}${option === part.text ? " chosen" : ""}`]);
  const samples = part.samples.map((text) => ["another sample", JSON.stringify(text)]);
  const attrs = { class: `wb-line${isChosen(part, selected) ? " wb-selected" : ""}`, open: open.has(part.number), "data-line": part.number };
  const toggle = (event) => (event.target.open ? open.add(part.number) : open.delete(part.number));
  const table = el("table", {}, [...rows, ...scores, ...samples].map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell)))));
  const show = part.rid && el("button", { class: "wb-follow", onclick: () => view.select(chosenBy(part)) }, "show in all views");
  const stop = part.rid && !part.is_done && el("button", { class: "wb-abort", "data-asks": "engine", onclick: () => view.ask({ do: "abort", rid: part.rid }) }, "abort");
  return el("details", { ...attrs, ontoggle: toggle }, el("summary", {}, share(part, em), " ", el("b", {}, part.title), ` ${part.facts}`), table, show, " ", stop);
}

function blocks(view, parts, em, selected, open) {
  return layoutProgram(parts).map(({ edge, parts: own }) => {
    if (own) {
      const text = el("div", { class: "wb-text" }, own.map((part) => inline(view, part, selected)));
      return [text, own.filter(isAsked).map((part) => line(view, part, em, selected, open))];
    }
    if (edge.kind === "rolebegin") return el("p", { class: "wb-role" }, edge.name);
    if (edge.kind === "join") return el("p", { class: "wb-soft" }, JOINED[edge.detail] ?? edge.detail);
    if (edge.kind === "roleend") return null;
    const branch = (inner, i) => el("div", { class: "wb-branch" }, el("p", { class: "wb-soft" }, `branch ${i}`), blocks(view, inner, em, selected, open));
    const says = `fork into ${edge.detail}: each goes on from here and shares all the text above`;
    return [el("p", { class: "wb-soft" }, says), el("div", { class: "wb-fork" }, (edge.branches ?? []).map(branch))];
  });
}

function totals([reused, computed, made]) {
  const named = [["tokens reused", reused, "reused"], ["tokens computed", computed, "prefill"], ["tokens written", made, "decode"]];
  return el("p", {}, named.map(([name, tokens, kind]) => el("span", { class: "wb-key" }, el("span", { class: `wb-${kind}` }), `${name} `, el("b", {}, count(tokens)))));
}

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    const open = new Set(); // parts whose line is unfolded
    let other = null; // an earlier program that was asked for
    const pick = (programs, shown, draw) =>
      programs.length > 1 &&
      el(
        "select",
        {
          "data-asks": "kernel",
          "aria-label": "program",
          onchange: async (event) => {
            const id = event.target.value;
            const reply = id === programs.at(-1)[0] ? null : await view.ask({ do: "detail", id });
            other = reply?.error ? null : reply;
            draw();
          },
        },
        programs.map(([id, name, isRunning]) => el("option", { value: id, selected: id === shown }, `${name}${isRunning ? " (running)" : ""} ${id}`)),
      );
    const made = {
      draw(state, selected) {
        const { programs = [] } = state;
        const shown = other ?? state;
        const again = () => made.draw(state, view.selected);
        if (!shown.parts) {
          return view.root.replaceChildren(el("p", {}, el("b", {}, "Program")), view.about);
        }
        const em = BAR_EM / (longestPrompt(shown.parts) || 1);
        const head = el("p", {}, el("b", {}, shown.title), " ", el("span", { class: "wb-soft" }, `${shown.calls}, ${shown.lasted}`), " ", pick(programs, shown.program, again));
        view.root.replaceChildren(
          ...[
            head, view.about, totals(shown.totals), ...blocks(view, shown.parts, em, selected, open).flat(Infinity),
            shown.is_whole ? null : el("p", { class: "wb-soft" }, "… the program has more parts than are drawn here: state.show() draws them all"),
            shown.error ? el("p", {}, el("b", {}, "failed "), shown.error) : null,
          ].filter(Boolean),
        );
        return undefined;
      },
    };
    return made;
  });
}

export default { render };
