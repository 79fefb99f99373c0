// The radix tree: one line a node, indented under its parent.

/** Rows in, lines out: [{id, depth, tokens, hits, text, held}], parents before children. */
export function layoutTree(rows) {
  const depths = new Map();
  return rows.map(([id, parent, tokens, hits, usedAt, text, held]) => {
    const depth = depths.has(parent) ? depths.get(parent) + 1 : 0;
    depths.set(id, depth);
    return { id, parent, depth, tokens, hits, usedAt, text, held };
  });
}

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    const head = el("div", { class: "wb-head" });
    const lines = el("div", { class: "wb-mono", role: "tree" });
    view.root.append(head, lines);
    return {
      draw(state, selected) {
        const { rows = [], num_nodes: nodes, num_tokens: tokens, num_referenced: referenced } = state;
        head.replaceChildren(
          el("b", {}, `${count(nodes)} nodes`),
          el("span", {}, `${count(tokens)} tokens stored once, ${count(referenced)} referenced`),
        );
        lines.replaceChildren(
          ...layoutTree(rows).map((row) =>
            el(
              "div",
              {
                role: "treeitem",
                "data-node": row.id,
                style: `padding-left:${row.depth * 1.2}em;white-space:pre`,
                class: same(selected, { kind: "node", id: row.id }) ? "wb-selected" : null,
                onclick: () => view.select({ kind: "node", id: row.id }),
              },
              `#${row.id} ${JSON.stringify(row.text)} `,
              el("span", { class: "wb-soft" }, `${row.tokens} tokens, ${row.hits} hits${row.held.length ? ` · ${row.held.join(", ")}` : ""}`),
            ),
          ),
        );
      },
    };
  });
}

export default { render };
