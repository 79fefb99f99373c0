// A conversation as the model reads it: tokens by role, what is stored underlined, the place where two turns part marked.

const ROLES = ["system", "user", "assistant", "tool"];

/**
 * Tokens [[index, id, text, message, node]] in, stretches out: [{role, tokens, gap}]. A stretch is what one message, or the
 * template between two, wrote; `gap` tokens before it are not drawn.
 */
export function layoutTemplate(tokens, roles) {
  const stretches = [];
  let message;
  let next = 0;
  for (const token of tokens) {
    const gap = token[0] - next;
    if (!stretches.length || token[3] !== message || gap) stretches.push({ role: token[3] === null ? null : roles[token[3]], gap, tokens: [] });
    stretches.at(-1).tokens.push(token);
    message = token[3];
    next = token[0] + 1;
  }
  return stretches;
}

export function kindOf(role) {
  if (role === null) return "wb-tok wb-own";
  return `wb-tok wb-said${ROLES.includes(role) ? ` wb-by-${role}` : ""}`;
}

function tokenNode(view, [index, id, text, , node], selected) {
  const name = `token ${index}, id ${id}${node ? `, in node ${node}` : ", not stored"}`;
  const chosen = node ? { kind: "node", id: node } : { kind: "token", id: `prompt ${index}` };
  const attrs = { title: name, "data-token": index, "data-in": node || null, class: same(selected, chosen) ? "wb-selected" : null };
  return el(node ? "u" : "span", { ...attrs, onclick: () => view.select(chosen) }, text);
}

function key(roles, isStored) {
  const swatches = [...new Set(roles)].map((role) => el("span", { class: "wb-key" }, el("span", { class: kindOf(role).replace("wb-tok ", "") }), role));
  const stored = isStored && el("span", { class: "wb-key" }, el("span", { class: "wb-reused" }), "underlined: stored now, click for its node");
  return el("p", {}, swatches, el("span", { class: "wb-key wb-own" }, "grey: the template"), stored);
}

function render({ model, el: root }) {
  return mount(model, root, (view) => ({
    draw(state, selected) {
      const { sentences = [], roles = [], tokens = [], break_at: breakAt = null, around = [] } = state;
      const shown = layoutTemplate(tokens, roles).map(({ role, gap, tokens: own }) => [
        gap ? el("p", { class: "wb-soft" }, `… ${count(gap)} tokens, all are in view.fold.turn.tokens …`) : null,
        el(
          "span",
          { class: kindOf(role), "data-name": role },
          own.map((token) => [token[0] === breakAt ? el("b", { class: "wb-cut" }, "▼ breaks") : null, tokenNode(view, token, selected)]),
        ),
      ]);
      const rows = around.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell))));
      view.root.replaceChildren(
        el("p", {}, el("b", {}, "Chat template")),
        view.about,
        ...sentences.map((says) => el("p", {}, says)),
        el("div", { class: "wb-text" }, shown),
        key(roles, tokens.some((token) => token[4])),
        ...(rows.length ? [el("table", {}, el("tr", {}, ["turn", "same", "then"].map((name) => el("th", {}, name))), rows)] : []),
      );
    },
  }));
}

export default { render };
