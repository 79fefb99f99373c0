import assert from "node:assert/strict";
import test from "node:test";

import { count, duration, layoutTree, same, stateOf } from "./view.mjs";

test("a state travels as one JSON text", () => {
  assert.deepEqual(stateOf({ get: () => '{"rows":[[1]]}' }), { rows: [[1]] });
  assert.deepEqual(stateOf({ get: () => "" }), {});
});

test("numbers are written for people, as in Python", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.deepEqual([0.0042, 0.25, 7.5, 75, 7260].map(duration), ["4.2 ms", "250 ms", "7.50 s", "1 min 15 s", "2 h 1 min"]);
});

test("a selection is the same by kind and id, and nothing is the same as nothing", () => {
  assert.ok(same({ kind: "node", id: 7 }, { kind: "node", id: "7" }));
  assert.ok(same({}, null));
  assert.ok(!same({ kind: "node", id: 7 }, { kind: "step", id: 7 }));
});

test("children stand one step to the right of their parent", () => {
  const rows = [[3, 0, 3, 1, 0, "a", []], [1, 3, 2, 0, 0, "b", []], [4, 1, 2, 0, 0, "c", []], [9, 0, 1, 0, 0, "d", []]];
  assert.deepEqual(layoutTree(rows).map((row) => row.depth), [0, 1, 2, 0]);
});
