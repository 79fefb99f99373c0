// @ts-check
// The page at `/`: the key, a chat that streams, and the views, which are the scripts of the notebook's widgets.

import { StandIn } from "../../views/live/stand_in.js";

const KEY = "workbench-key";
const AGAIN_MS = 1000;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));

const served = byId("served");
const keyForm = /** @type {HTMLFormElement} */ (byId("key"));
const url = (/** @type {string} */ path) => new URL(path, document.baseURI);

/** Calls the server with the key. Shows the field for the key if the server refuses. @param {string} path @param {unknown} [body] @param {AbortSignal} [signal] */
async function call(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  /** @type {Record<string, string>} */
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  const answer = await fetch(url(path), { method, headers, signal, body: body === undefined ? null : JSON.stringify(body) });
  if (answer.status === 401) keyForm.hidden = false;
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = text;
  try {
    message = JSON.parse(text).error.message;
  } catch {
    // not one of our errors: a proxy's
  }
  throw new Error(message || `the server answered ${answer.status}`);
}

/** Yields the values of the `data:` lines of a stream. @param {Response} answer @returns {AsyncGenerator<any>} */
async function* messages(answer) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

// -- the views ---------------------------------------------------------------------------------------------------

/** Stands for a widget's model, over HTTP instead of a kernel. */
class PageModel extends StandIn {
  page = "";

  /** @param {string} name */
  constructor(name) {
    super();
    this.name = name;
  }

  /** Takes a message's values. @param {Record<string, any>} traits */
  receive({ changed, ...traits }) {
    for (const [trait, value] of Object.entries(traits)) this.set(trait, value);
    if (changed) this.ticker.emit("msg:custom", {}, [{ parsed: { [this.name]: { changed } } }]);
  }

  /** Sends a message to the view's half in the server, and gives the reply to its listeners. @param {any} message */
  async send(message) {
    const { ask: number, ...asked } = message;
    let reply = {};
    try {
      if (asked.do === "abort") await call("abort_request", { rid: asked.rid });
      else if (asked.do === "flush") reply = { num_tokens: await dropped() };
      else if (asked.do !== "shown" && asked.do !== "hidden") {
        const answer = await call("page/ask", { page: this.page, view: this.name, message: asked });
        reply = await answer.json();
      }
    } catch (error) {
      reply = { error: wordsOf(error) };
    }
    if (number) this.emit("msg:custom", { ask: number, reply });
  }
}

/** @param {unknown} error */
const wordsOf = (error) => (error instanceof Error ? error.message : String(error));

/** Empties the cache; returns the number of tokens, which the answer states in words. */
async function dropped() {
  const answer = await call("flush_cache", {});
  return Number((await answer.text()).match(/\d+/)?.[0] ?? 0);
}

/** @type {Map<string, PageModel>} */
const models = new Map();

/** Adds a view: its style sheet, its script, its place in the page. @param {string} name @param {string} engine */
async function addView(name, engine) {
  const model = new PageModel(name);
  models.set(name, model);
  model.receive({ engine, selected: {}, note: "", sees: "", key: name, rows: [] });
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = String(url(`page/static/view-${name}.css`));
  document.head.append(sheet);
  const root = document.createElement("div");
  root.id = `view-${name}`;
  byId("views").append(root);
  const made = await import(String(url(`page/static/view-${name}.js`)));
  return () => made.default.render({ model, el: root });
}

/** Follows the server until the page is closed; a server that is away is tried again. */
async function follow() {
  let isFirst = true;
  while (true) {
    try {
      const answer = await call("page/events");
      keyForm.hidden = true;
      await showModel();
      for await (const message of messages(answer)) {
        if (message.page) isFirst = await begin(message, isFirst);
        for (const [name, traits] of Object.entries(message.news ?? {})) models.get(name)?.receive(traits);
      }
    } catch (error) {
      served.textContent = wordsOf(error);
      if (!keyForm.hidden) return;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** @param {{page: string, engine: string, views: string[]}} message @param {boolean} isFirst */
async function begin(message, isFirst) {
  const render = isFirst ? await Promise.all(message.views.map((name) => addView(name, message.engine))) : [];
  for (const model of models.values()) model.page = message.page;
  for (const draw of render) draw();
  await new Promise((resolve) => setTimeout(resolve)); // the views listen to the ticker soon after they are drawn
  return false;
}

async function showModel() {
  const listed = await (await call("v1/models")).json();
  const names = listed.data.map((/** @type {any} */ model) => `${model.id}, context of ${model.max_model_len ?? "?"} tokens`);
  served.textContent = names.join("; ");
}

const detail = /** @type {HTMLInputElement} */ (byId("detail"));
detail.addEventListener("change", async () => {
  try {
    await call("engine/call/token_detail", { on: detail.checked });
  } catch (error) {
    detail.checked = false;
    served.textContent = wordsOf(error);
  }
});
keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, /** @type {HTMLInputElement} */ (keyForm.querySelector("input")).value);
  keyForm.hidden = true;
  follow();
});
follow();

// -- the chat ----------------------------------------------------------------------------------------------------

/** @type {{role: string, content: string}[]} */
let talk = [];
let running = new AbortController();
const input = /** @type {HTMLTextAreaElement} */ (document.querySelector("#say textarea"));
const said = byId("said");

/** @param {string} role @param {string} text */
function addLine(role, text) {
  const line = document.createElement("li");
  line.className = role;
  const words = document.createElement("span");
  words.textContent = text;
  line.append(words);
  said.append(line);
  line.scrollIntoView({ block: "nearest" });
  return { line, words };
}

/** Writes what the answer cost; a click selects its request in the views. @param {HTMLElement} line @param {string} id @param {any} usage @param {number} firstMs */
function addUsage(line, id, usage, firstMs) {
  const small = document.createElement("small");
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  small.textContent =
    `${usage.completion_tokens} tokens, first after ${firstMs.toFixed(0)} ms; ` +
    `${cached} of ${usage.prompt_tokens} prompt tokens from the cache; ${id}`;
  small.title = "select this request in the views";
  small.addEventListener("click", () => selectRequest(id));
  line.append(small);
}

/** @param {string} id */
function selectRequest(id) {
  const engine = models.values().next().value?.get("engine");
  document.dispatchEvent(new CustomEvent("workbench-select", { detail: { engine, selected: { kind: "request", id } } }));
}

/** Adds the answer to the talk so far, as it comes. @param {HTMLElement} line @param {HTMLElement} words */
async function stream(line, words) {
  const began = performance.now();
  let firstMs = 0;
  const body = {
    messages: talk,
    stream: true,
    stream_options: { include_usage: true },
    temperature: Number(/** @type {HTMLInputElement} */ (byId("temperature")).value),
    max_tokens: Number(/** @type {HTMLInputElement} */ (byId("tokens")).value),
  };
  const answer = await call("v1/chat/completions", body, running.signal);
  for await (const chunk of messages(answer)) {
    if (chunk.error) throw new Error(chunk.error.message);
    const delta = chunk.choices[0]?.delta ?? {};
    const piece = (delta.reasoning_content ?? "") + (delta.content ?? "");
    if (piece && !firstMs) firstMs = performance.now() - began;
    words.textContent += piece;
    if (chunk.usage) addUsage(line, chunk.id, chunk.usage, firstMs);
  }
}

async function say() {
  const text = input.value.trim();
  if (!text || !byId("stop").hidden) return;
  input.value = "";
  talk.push({ role: "user", content: text });
  addLine("user", text);
  const { line, words } = addLine("assistant", "");
  byId("stop").hidden = false;
  running = new AbortController();
  try {
    await stream(line, words);
    talk.push({ role: "assistant", content: words.textContent ?? "" });
  } catch (error) {
    line.classList.add("failed");
    words.textContent += running.signal.aborted ? " [stopped]" : ` ${wordsOf(error)}`;
    talk.pop();
  }
  byId("stop").hidden = true;
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  say();
});
byId("stop").addEventListener("click", () => running.abort());
byId("clear").addEventListener("click", () => {
  running.abort();
  talk = [];
  said.replaceChildren();
});
