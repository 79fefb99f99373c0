// @ts-check
// The page about the API: every route of `/openapi.json`, with the schema of its body and a call by curl.

const state = /** @type {HTMLElement} */ (document.getElementById("state"));
const routes = /** @type {HTMLElement} */ (document.getElementById("routes"));
const base = new URL(".", document.baseURI);

/** @param {string} tag @param {string} text */
function node(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** @param {string} path @param {string} method @param {any} operation */
function draw(path, method, operation) {
  const root = document.createElement("details");
  const head = document.createElement("summary");
  head.append(node("h2", `${method.toUpperCase()} ${path}`), ` ${operation.description ?? ""}`);
  root.append(head);
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  const address = `${base.href.replace(/\/$/, "")}${path}`;
  const body = schema ? ` -H 'Content-Type: application/json' -d '{${(schema.required ?? []).map(field).join(", ")}}'` : "";
  root.append(node("pre", `curl -X ${method.toUpperCase()} ${address}${body}`));
  if (schema) root.append(node("pre", JSON.stringify(schema, null, 2)));
  return root;
}

/** @param {string} name */
const field = (name) => `"${name}": ...`;

async function show() {
  const key = sessionStorage.getItem("workbench-key");
  const answer = await fetch(new URL("openapi.json", base), { headers: key ? { authorization: `Bearer ${key}` } : {} });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}; enter the key on the page of the chat first`);
  const { paths } = await answer.json();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) routes.append(draw(path, method, operation));
  }
  state.textContent = `${routes.children.length} routes`;
}

show().catch((error) => {
  state.textContent = error.message;
});
