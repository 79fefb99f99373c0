import assert from "node:assert/strict";
import test from "node:test";

import { layoutStrip, placeIn, placeOf, share, words } from "./view.mjs";

const measures = { probability: ["how likely", "a", "b", "c", "d", "e"], latency: ["time", "a", "b", "c", "d", "e"] };
const rows = [
  ["{", 1, "04", 0.95, 0.1, 1, null, 30, 0.2],
  ['"a"', 2, "-1", null, null, null, 0.01, null, null],
  ["x\ny", 3, "4-", 0.0001, 3.2, 120, 0.4, 1, 0.9999],
];

test("a strip takes each token's level from the digit of the measure, and knows what is not known", () => {
  const boxes = layoutStrip({ rows, first: 7, measures }, "probability", "kind");
  assert.deepEqual(
    boxes.map((box) => [box.position, box.level, box.line]),
    [
      [7, 0, null],
      [8, null, null],
      [9, 4, null],
    ],
  );
  const lined = layoutStrip({ rows, first: 0, measures }, "latency", "probability");
  assert.deepEqual(
    lined.map((box) => [box.level, box.line]),
    [
      [4, 0],
      [1, 0],
      [null, 4],
    ],
  );
  assert.deepEqual(layoutStrip({}, "probability", "kind"), []);
});

test("a selection names a token by request and position, also where the request's id has colons", () => {
  assert.deepEqual(placeOf({ kind: "token", id: "a:b:12" }), { rid: "a:b", position: 12 });
  assert.deepEqual(placeOf({ kind: "request", id: "a:b" }), { rid: "a:b", position: null });
  assert.deepEqual(placeOf({ kind: "node", id: 3 }), { rid: "", position: null });
  assert.deepEqual(placeOf({}), { rid: "", position: null });
});

test("the step that a view was opened with is told about until one of its tokens is selected", () => {
  const state = { rid: "a", step: 3 };
  assert.equal(placeIn(state, {}), 3);
  assert.equal(placeIn(state, { kind: "node", id: 3 }), 3);
  assert.equal(placeIn(state, { kind: "token", id: "b:1" }), 3);
  assert.equal(placeIn(state, { kind: "token", id: "a:0" }), 0);
  assert.equal(placeIn({ rid: "a" }, {}), null);
});

test("facts are written as in Python", () => {
  assert.equal(words(rows[0]), "constrained; 30 allowed; 95 %, rank 1; entropy 0.10 nats; 20 % removed by the mask");
  assert.equal(words(rows[1]), "forced; 10 ms");
  assert.deepEqual([0.0004, 0.9995, 0.125, 1].map(share), ["under 0.1 %", "over 99.9 %", "12.5 %", "100 %"]);
});
