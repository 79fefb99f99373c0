import assert from "node:assert/strict";
import test from "node:test";

import { layoutColumns } from "./view.mjs";

const rows = [
  ["{", 1, "04", 0.95, 0.1, 1, null, 30, 0.2],
  ['"a"', 2, "-1", null, null, null, 0.01, null, null],
  ["x\ny", 3, "4-", 0.0001, 3.2, 120, 0.4, 1, 0.9999],
];

test("columns are as high as the logarithm of what might come, and nothing where it was forced", () => {
  const [some, forced, one] = layoutColumns({ rows, first: 0, vocab_size: 900 });
  assert.ok(Math.abs(some.height - 0.5) < 1e-9);
  assert.equal(forced.height, 0);
  assert.equal(one.height, 0);
  assert.deepEqual([one.text, one.breaks], ["x⏎y", 1]);
  assert.equal(
    layoutColumns({ rows: [["a", 0, "--", null, null, null, null, null, null]], first: 0, vocab_size: 900 })[0].height,
    1,
  );
});
