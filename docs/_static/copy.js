// A button beside each block of code copies its text, without the prompts of a shell or of Python.

const PROMPT = /^(?:\$|>>>|\.\.\.) /gm;

for (const block of document.querySelectorAll("div.highlight")) {
  const pre = block.querySelector("pre");
  if (pre === null || block.closest(".cell_output") !== null) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.setAttribute("aria-label", "copy this code");
  button.addEventListener("click", async () => {
    const text = pre.textContent ?? "";
    await copy(text.replace(PROMPT, ""));
    button.textContent = "copied";
    setTimeout(() => {
      button.textContent = "copy";
    }, 1500);
  });
  block.append(button);
}

/**
 * Puts a text on the clipboard. Pages from a file or over plain HTTP have no clipboard of their own, but a selection that is copied.
 * @param {string} text
 */
async function copy(text) {
  if (navigator.clipboard !== undefined) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
