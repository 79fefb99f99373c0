import assert from "node:assert/strict";
import test from "node:test";

import { inWords, layoutPages, nameOf, nodesRead, runInWords } from "./view.mjs";

const STATE = {
  num_pages: 100,
  page_size: 2,
  counts: { free: 70, tree: 24, owned: 6 },
  runs: "8t7 12t7 4o0 2o1 4t9 10f",
  names: ["a b", "r1"],
  letters: ["a", "b"],
  paths: { "a b": [7], r1: [7, 9] },
};

test("runs become marks of a row, with the request's name and letter or the node's number", () => {
  const { rows, rowLength, shown } = layoutPages(STATE);
  assert.deepEqual([rowLength, shown, rows.length], [32, 40, 2]);
  assert.deepEqual(
    rows[0].marks.map((mark) => [mark.kind, mark.id, mark.pages, mark.label]),
    [
      ["t", "7", 20, "#7"],
      ["o", "a b", 4, "a b"],
      ["o", "r1", 2, "b"],
      ["t", "9", 4, "#9"],
      ["f", "", 2, ""],
    ],
  );
  assert.deepEqual(
    rows[1].marks.map((mark) => [mark.start, mark.length, mark.pages]),
    [[30, 10, 8]],
  );
  assert.deepEqual(
    rows.map((row) => row.missing),
    [0, 24],
  );
});

test("every page stands in exactly one mark and rows stay few, however large the pool", () => {
  const runs = Array.from(
    { length: 1000 },
    (_, i) => `${1 + (i % 9)}${"fto"[i % 3]}${i % 3 === 0 ? "" : i % 3 === 1 ? i : i % 5}`,
  );
  const { rows, rowLength, shown } = layoutPages({
    runs: runs.join(" "),
    names: ["a", "b", "c", "d", "e"],
    letters: [..."abcde"],
  });
  assert.ok(rows.length <= 16);
  for (const [i, row] of rows.entries()) {
    assert.equal(row.start, i * rowLength);
    assert.equal(row.marks.reduce((sum, mark) => sum + mark.pages, 0) + row.missing, rowLength);
  }
  assert.equal(
    rows.flatMap((row) => row.marks).reduce((sum, mark) => sum + mark.pages, 0),
    shown,
  );
});

test("blocks that stand for several owners say so, free pages have no owner", () => {
  const [[several, free]] = layoutPages({ runs: "64t 64f" }).rows.map((row) => row.marks);
  assert.equal(nameOf(several), "several");
  assert.equal(runInWords(several), "pages 0 to 63: several");
  assert.equal(free, undefined);
  assert.equal(nameOf(layoutPages({ runs: "8f" }).rows[0].marks[0]), "");
});

test("a selected request is told with its own pages and those it reads in the tree", () => {
  const made = layoutPages(STATE);
  const selected = { kind: "request", id: "r1" };
  const read = nodesRead(STATE, selected);
  assert.deepEqual([...read], ["7", "9"]);
  assert.equal(
    inWords(made, selected, 100, 2, read),
    "r1 has 2 pages (4 tokens) for itself, and reads 24 pages (48 tokens) in the tree, outlined with dashes",
  );
  assert.equal(inWords(made, { kind: "node", id: 7 }, 100, 2), "node #7 of the tree has 20 pages (40 tokens)");
  assert.match(inWords(made, {}, 100, 2), /^60 pages behind these have never been used/);
  assert.match(inWords(made, { kind: "request", id: "never" }, 100, 2), /click a page/);
});

test("an empty state draws nothing and does not fail", () =>
  assert.deepEqual(layoutPages({}), { rows: [], rowLength: 32, shown: 0 }));
