// Throughput and memory: the numbers in words, and the charts, which are a widget of plotly's inside this one.

/** A state in, tiles out: what it is, the number that matters, and the rest of the sentence. */
export function layoutFacts(state) {
  return (state.facts ?? []).map(([name, words]) => {
    const at = words.search(/, |: | now/);
    return at < 0 ? { name, first: words, rest: "" } : { name, first: words.slice(0, at), rest: words.slice(at).replace(/^[,:]\s*/, "").trim() };
  });
}

async function embed(model, holder, say) {
  try {
    const child = await model.widget_manager.get_model(model.get("chart").slice("IPY_MODEL_".length));
    const view = await model.widget_manager.create_view(child);
    holder.replaceChildren(view.el);
    requestAnimationFrame(() => window.dispatchEvent(new Event("resize"))); // only now it can know how wide it is
    return view;
  } catch (error) {
    say(`the charts cannot be drawn here: ${error.message}\nview.figure() makes a figure of them`);
    return null;
  }
}

function render({ model, el: root }) {
  return mount(model, root, (view) => {
    const head = el("p", {});
    const tiles = el("div", { class: "wb-tiles wb-if-any" });
    const holder = el("div", { class: "wb-plot" });
    view.root.append(head, view.about, tiles, holder);
    const embedded = embed(model, holder, view.say);
    return {
      draw(state) {
        morph(head, el("b", {}, state.title ?? ""));
        morph(
          tiles,
          ...layoutFacts(state).map(({ name, first, rest }) =>
            el("div", { class: "wb-tile" }, el("span", { class: "wb-soft" }, name), el("b", {}, first), el("span", { class: "wb-soft" }, rest)),
          ),
        );
      },
      remove() {
        embedded.then((made) => made?.remove());
      },
    };
  });
}

export default { render };
