import assert from "node:assert/strict";
import test from "node:test";

import { layoutFacts } from "./view.mjs";

test("a fact has the number that matters, and the rest of the sentence behind it", () => {
  const facts = [
    ["output", "1,080 now, 2,720 at most"],
    ["cache", "33%: 24 of 72"],
    ["pages", "85 / 1,411 / 204"],
    ["reads", "95.1 MiB, 12% of 32.7 GiB/s"],
  ];
  assert.deepEqual(layoutFacts({ facts }), [
    { name: "output", first: "1,080", rest: "now, 2,720 at most" },
    { name: "cache", first: "33%", rest: "24 of 72" },
    { name: "pages", first: "85 / 1,411 / 204", rest: "" },
    { name: "reads", first: "95.1 MiB", rest: "12% of 32.7 GiB/s" },
  ]);
  assert.deepEqual(layoutFacts({}), []);
});
