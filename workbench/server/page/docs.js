// @ts-check
// The page about the API: every route of `/openapi.json`, with the fields of its body and a call by curl.

import { kind, rows, sample } from "./schema.js";

const state = /** @type {HTMLElement} */ (document.getElementById("state"));
const routes = /** @type {HTMLElement} */ (document.getElementById("routes"));
const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
const base = new URL(".", document.baseURI);

/** The headings, each with the beginnings of its paths in order; a path belongs to the first that has one. */
const GROUPS = /** @type {[string, string[]][]} */ ([
  ["OpenAI", ["chat", "completions", "responses", "models", "embeddings", "files", "batches"].map((name) => `/v1/${name}`)],
  ["Anthropic", ["/v1/messages"]],
  ["Ollama", ["/api/chat", "/api/"]],
  ["Looking in", ["/engine/", "/page/"]],
  ["Native", ["/generate", "/tokenize", "/"]],
]);

/** Returns the numbers of a path's group and of its beginning in that. @param {string} path */
function placeOf(path) {
  const group = GROUPS.findIndex(([, starts]) => starts.some((start) => path.startsWith(start)));
  return [group, GROUPS[group][1].findIndex((start) => path.startsWith(start))];
}

/** @param {string} tag @param {(Node | string)[]} inside */
function node(tag, ...inside) {
  const made = document.createElement(tag);
  made.append(...inside);
  return made;
}

/** Returns text whose parts in backticks are code. @param {string} text */
const words = (text) => text.split("`").map((part, i) => (i % 2 ? node("code", part) : part));

/** @param {string[]} head @param {(Node | string)[][]} body */
function table(head, body) {
  const line = (/** @type {string} */ tag, /** @type {(Node | string)[][]} */ cells) =>
    node("tr", ...cells.map((cell) => node(tag, ...cell)));
  const all = node(
    "table",
    node(
      "thead",
      line(
        "th",
        head.map((cell) => [cell]),
      ),
    ),
  );
  all.append(
    node(
      "tbody",
      ...body.map((cells) =>
        line(
          "td",
          cells.map((cell) => [cell]),
        ),
      ),
    ),
  );
  return node("div", all);
}

/** @param {any} operation @param {any} schema */
function fields(operation, schema) {
  const address = (operation.parameters ?? []).map((/** @type {any} */ one) => [
    node("code", one.name),
    `${kind(one.schema)}${one.required ? ", required" : ""}`,
    node("span", ...words(one.description ?? ""), ` In the ${one.in}.`),
  ]);
  const body = schema
    ? rows(schema).map((row) => [
        node("code", row.place),
        `${row.kind}${row.required ? ", required" : ""}`,
        node("span", ...words(row.description)),
      ])
    : [];
  return [...address, ...body];
}

/** @param {string} path @param {string} method @param {any} operation */
function draw(path, method, operation) {
  const [first, rest] = (operation.description ?? "").split(/\n\n|(?<=\.)\s/, 2);
  const root = node("details", node("summary", node("h3", `${method.toUpperCase()} ${path}`), " ", ...words(first)));
  const content = operation.requestBody?.content ?? {};
  const schema = content["application/json"]?.schema;
  const form = content["multipart/form-data"]?.schema;
  const address = `${base.href.replace(/\/$/, "")}${path}`;
  const parts = Object.entries(form?.properties ?? {}).map(([name, field]) =>
    field.format === "binary" ? ` -F ${name}=@FILE` : ` -F ${name}=batch`,
  );
  const data = schema ? ` -H 'Content-Type: application/json' -d '${JSON.stringify(sample(schema))}'` : parts.join("");
  if (rest) root.append(node("p", ...words(operation.description.slice(first.length).trim())));
  root.append(node("pre", `curl ${method === "get" || data ? "" : `-X ${method.toUpperCase()} `}${address}${data}`));
  const about = (schema?.description ?? "").replace(/^The body of [^.]*\.\s*/, "");
  if (about) root.append(node("p", ...words(about)));
  const found = fields(operation, schema ?? form);
  if (found.length) root.append(table(["field", "type", "meaning"], found));
  if (schema) root.append(node("details", node("summary", "JSON schema"), node("pre", JSON.stringify(schema, null, 2))));
  return root;
}

/** Shows the routes that have the word that is searched. */
function filter() {
  const word = search.value.toLowerCase();
  for (const group of routes.querySelectorAll("section")) {
    let shown = 0;
    for (const route of /** @type {NodeListOf<HTMLElement>} */ (group.querySelectorAll(":scope > details"))) {
      route.hidden = !(route.textContent ?? "").toLowerCase().includes(word);
      shown += route.hidden ? 0 : 1;
    }
    group.hidden = shown === 0;
  }
}

async function show() {
  const key = sessionStorage.getItem("workbench-key");
  const answer = await fetch(new URL("openapi.json", base), { headers: key ? { authorization: `Bearer ${key}` } : {} });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}; enter the key on the page of the chat first`);
  const { paths } = await answer.json();
  const sections = GROUPS.map(([name]) => node("section", node("h2", name)));
  let count = 0;
  const sorted = Object.entries(paths).sort(([a], [b]) => placeOf(a)[1] - placeOf(b)[1]);
  for (const [path, methods] of sorted) {
    for (const [method, operation] of Object.entries(methods)) {
      sections[placeOf(path)[0]].append(draw(path, method, operation));
      count += 1;
    }
  }
  routes.append(...sections);
  state.textContent = `${count} routes; a click on one shows its fields`;
  search.addEventListener("input", filter);
}

show().catch((error) => {
  state.textContent = error.message;
});
