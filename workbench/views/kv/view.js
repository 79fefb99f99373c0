// The KV map: rows of pages, each stretch of one owner a mark with a pattern, a letter or a name.

const CLASSES = { f: "wb-free", t: "wb-reused", o: "wb-decode" };
const NAMES = { o: "running requests", t: "in the tree", f: "free" };
const NUM_ROWS = 16;
const MIN_ROW = 32;
const LABEL_SHARE = 0.09;
const LETTER_SHARE = 1 / 80;

/** A state in, rows of marks out. `kind` is f(ree), t(ree) or o(wned); `id` the node's number or the request's name. */
export function layoutPages(state) {
  const { runs = "", names = [], letters = [] } = state;
  const stretches = [];
  let shown = 0;
  for (const [, length, kind, owner] of runs.matchAll(/(\d+)([fto])(\d*)/g)) {
    const id = kind === "o" ? (names[owner] ?? "") : owner; // "" for several: no name has that place
    const before = stretches.at(-1);
    if (before?.kind === kind && before.id === id) before.length += Number(length);
    else stretches.push({ start: shown, length: Number(length), kind, id, letter: kind === "o" ? (letters[owner] ?? "") : "" });
    shown += Number(length);
  }
  let rowLength = MIN_ROW;
  while (rowLength * NUM_ROWS < shown) rowLength *= 2;
  const rows = [];
  for (let start = 0; start < shown; start += rowLength) rows.push({ start, missing: Math.max(start + rowLength - shown, 0), marks: [] });
  for (const run of stretches) {
    const last = run.start + run.length;
    for (let r = Math.floor(run.start / rowLength); r * rowLength < last; r++) {
      const from = Math.max(run.start, r * rowLength);
      const pages = Math.min(last, (r + 1) * rowLength) - from;
      rows[r].marks.push({ ...run, pages, label: labelOf(run, pages / rowLength) });
    }
  }
  return { rows, rowLength, shown };
}

export function nameOf(run) {
  if (run.kind === "f") return "";
  if (!run.id) return "several";
  return run.kind === "t" ? `#${run.id}` : run.id;
}

/** The name where there is room for it, or the letter, or nothing. */
function labelOf(run, share) {
  if (share >= LABEL_SHARE) return nameOf(run);
  return run.id && share >= LETTER_SHARE ? run.letter : "";
}

export function runInWords(run) {
  const pages = run.length === 1 ? `page ${run.start}` : `pages ${run.start} to ${run.start + run.length - 1}`;
  return `${pages}: ${nameOf(run) || "free"}`;
}

/** Nodes of the tree that the selected request reads. */
export const nodesRead = (state, selected) => new Set(selected?.kind === "request" ? (state.paths?.[selected.id] ?? []).map(String) : []);

const selectionOf = (run) => (!run.id ? null : run.kind === "t" ? { kind: "node", id: Number(run.id) } : { kind: "request", id: run.id });

const isChosen = (run, selected) => Boolean(run.id) && same(selected, selectionOf(run));
const isRead = (run, read) => run.kind === "t" && read.has(run.id);

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    const head = el("p", {});
    const bar = el("div", { class: "wb-bar wb-if-any" });
    const key = el("div", {});
    const map = el("div", { class: "wb-kv" });
    const about = el("p", { class: "wb-soft wb-if-any", role: "status" });
    view.root.append(head, view.about, bar, key, map, about);
    let made = layoutPages({});
    map.addEventListener("click", (event) => {
      const mark = hitBy(event)?.closest("[data-mark]");
      const [r, i] = (mark?.dataset.mark ?? "").split(" ").map(Number);
      const found = mark && selectionOf(made.rows[r]?.marks[i] ?? {});
      if (found) view.select(found);
    });

    const drawMark = (run, where, [chosen, read]) => {
      const small = run.label && run.label === run.letter;
      return el(
        "span",
        {
          class: `${CLASSES[run.kind]}${chosen ? " wb-selected" : read ? " wb-read-by" : ""}`,
          style: `flex:${run.pages} 1 0`,
          title: runInWords(run),
          "data-mark": where,
        },
        run.label ? el(small ? "small" : "b", {}, run.label) : null,
      );
    };
    const drawRow = ({ start, marks, missing, r, chosen }) =>
      el(
        "div",
        { class: "wb-pages-row" },
        el("span", { class: "wb-num" }, count(start)),
        el(
          "div",
          { class: "wb-pages" },
          marks.map((run, i) => drawMark(run, `${r} ${i}`, chosen[i])),
          missing ? el("span", { style: `flex:${missing} 1 0` }) : null,
        ),
      );

    return {
      draw(state, selected) {
        const { counts = {}, num_pages: numPages = 0, page_size: pageSize = 1 } = state;
        const read = nodesRead(state, selected);
        made = layoutPages(state);
        morph(head, el("b", {}, state.title ?? ""));
        const share = (kind) => ({ o: counts.owned, t: counts.tree, f: counts.free })[kind] ?? 0;
        morph(
          bar,
          ..."otf".split("").filter(share).map((kind) => el("span", { class: CLASSES[kind], style: `flex:${share(kind)} 0 0` })),
        );
        morph(
          key,
          ..."otf".split("").map((kind) =>
            el("span", { class: "wb-key" }, el("span", { class: CLASSES[kind] }), `${NAMES[kind]} `, el("b", {}, count(share(kind)))),
          ),
        );
        patch(
          map,
          made.rows.map((row, r) => ({ ...row, r, chosen: row.marks.map((run) => [isChosen(run, selected), isRead(run, read)]) })),
          JSON.stringify,
          drawRow,
        );
        morph(about, inWords(made, selected, numPages, pageSize, read));
      },
    };
  });
}

/** One line: what is selected, or how much has never been used. */
export function inWords(made, selected, numPages, pageSize, read = new Set()) {
  const marks = made.rows.flatMap((row) => row.marks);
  const pagesOf = (runs) => runs.reduce((sum, run) => sum + run.pages, 0);
  const words = (pages) => `${count(pages)} pages (${count(pages * pageSize)} tokens)`;
  const own = pagesOf(marks.filter((run) => isChosen(run, selected)));
  const shared = pagesOf(marks.filter((run) => isRead(run, read)));
  if (selected?.kind === "node" && own) return `node #${selected.id} of the tree has ${words(own)}`;
  if (own || shared) return `${selected.id} has ${words(own)} for itself, and reads ${words(shared)} in the tree, outlined with dashes`;
  const rest = numPages - made.shown;
  return `${rest > 0 ? `${count(rest)} pages behind these have never been used; ` : ""}click a page to see its owner in all views`;
}

export default { render };
