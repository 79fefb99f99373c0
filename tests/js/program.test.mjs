import assert from "node:assert/strict";
import test from "node:test";

import { isOf, layoutProgram, longestPrompt, promptLength } from "./view.mjs";

const part = (kind, more = {}) => ({ kind, ...more });

test("parts of one line of text are one block, and edges stand between", () => {
  const laid = layoutProgram([part("rolebegin"), part("text"), part("gen"), part("roleend"), part("fork"), part("text")]);
  assert.deepEqual(
    laid.map((block) => block.edge?.kind ?? block.parts.length),
    ["rolebegin", 2, "roleend", "fork", 1],
  );
});

test("the longest prompt is found in branches too, and a selection counts one of its requests", () => {
  const inner = part("select", { num_prompt: 120, num_requests: 3 });
  assert.equal(promptLength(inner), 40);
  assert.equal(longestPrompt([part("text"), part("gen", { num_prompt: 30 }), part("fork", { branches: [[], [inner]] })]), 40);
  assert.equal(longestPrompt([]), 0);
});

test("a part is tied to its request and to its samples or options, and to no other", () => {
  assert.ok(isOf({ rid: "ab" }, "ab"));
  assert.ok(isOf({ rid: "ab" }, "ab-3"));
  assert.ok(!isOf({ rid: "ab" }, "abc"));
  assert.ok(!isOf({ rid: "" }, ""));
});
