import assert from "node:assert/strict";
import test from "node:test";

import {
  ago,
  ask,
  boxAt,
  clockOf,
  count,
  duration,
  evictedText,
  kindOfNode,
  layoutMap,
  layoutTree,
  longestText,
  numTexts,
  same,
  savedText,
  sideText,
  stateOf,
  tieOf,
  visibleLines,
  withAllRows,
} from "./view.mjs";

const row = (id, parent, tokens, more = {}) => {
  const { hits = 0, maker = "r0", users = [], hidden = 0 } = more;
  return [id, parent, tokens, hits, 0, `text ${id}`, maker, users, hidden, hidden * 10, ""];
};
const ROWS = [row(3, 0, 30, { hits: 2, users: ["r1"] }), row(1, 3, 20), row(4, 1, 10), row(5, 3, 20), row(9, 0, 10)];

test("a state travels as one JSON text, large parts beside it", () => {
  assert.deepEqual(stateOf({ get: () => '{"rows":[[1]]}' }), { rows: [[1]] });
  assert.deepEqual(stateOf({ get: () => "" }), {});
  const traits = { state: '{"now":2}', rows: "[[1]]" };
  assert.deepEqual(stateOf({ get: (name) => traits[name] }, ["rows"]), { now: 2, rows: [[1]] });
});

test("numbers are written for people, as in Python", () => {
  assert.equal(count(1234567), "1,234,567");
  assert.deepEqual([0, 0.0042, 0.25, 7.5, 75, 7260].map(duration), [
    "0 ms",
    "4.2 ms",
    "250 ms",
    "7.50 s",
    "1 min 15 s",
    "2 h 1 min",
  ]);
});

test("a selection is the same by kind and id, and nothing is the same as nothing", () => {
  assert.ok(same({ kind: "node", id: 7 }, { kind: "node", id: "7" }));
  assert.ok(same({}, null));
  assert.ok(!same({ kind: "node", id: 7 }, { kind: "step", id: 7 }));
});

test("children stand one step to the right of their parent, where its text ends", () => {
  const { lines } = layoutTree(ROWS);
  assert.deepEqual(
    lines.map((line) => line.depth),
    [0, 1, 2, 1, 0],
  );
  assert.deepEqual(
    lines.map((line) => line.start),
    [0, 30, 50, 30, 0],
  );
});

test("the axes of the map say how many texts there are and how long the longest is", () => {
  const { lines } = layoutTree([...ROWS, row(11, 9, 5, { hidden: 3 })]);
  assert.equal(numTexts(lines), 3); // 4, 5 and 11 have nothing below them
  assert.equal(longestText(lines), 60);
  assert.deepEqual([numTexts([]), longestText([])], [0, 0]);
});

test("the head says what was asked for and what of it was there", () => {
  const says = savedText({ num_tokens: 2825, num_referenced: 3803 });
  assert.equal(says, "of 3,803 tokens asked for, 2,825 computed and stored, 978 reused (26 %)");
  assert.equal(savedText({}), "of 0 tokens asked for, 0 computed and stored, 0 reused");
});

test("rows may come in any order: children follow their parents in the order they came, namespaces stay together", () => {
  const shuffled = [ROWS[1], [...row(7, 0, 5).slice(0, -1), "other"], ROWS[3], ROWS[2], ROWS[0], ROWS[4]];
  const { lines } = layoutTree(shuffled);
  assert.deepEqual(
    lines.map((line) => [line.id, line.depth]),
    [
      [7, 0],
      [3, 0],
      [1, 1],
      [4, 2],
      [5, 1],
      [9, 0],
    ],
  );
});

test("where only changes are told, what stays keeps its place, what came stands last, and what left is gone", () => {
  const changed = { gone: [1], rows: [row(5, 3, 8), row(12, 3, 2)] };
  const { rows, state } = withAllRows({ state: { now: 2 }, changed }, ROWS);
  assert.deepEqual(state, { now: 2 });
  assert.deepEqual(
    rows.map(([id, , tokens]) => [id, tokens]),
    [
      [3, 30],
      [4, 10],
      [5, 8],
      [9, 10],
      [12, 2],
    ],
  );
  assert.deepEqual(withAllRows({ rows: [row(1, 0, 1)] }, ROWS), { rows: [row(1, 0, 1)] });
  assert.deepEqual(withAllRows({ state: { now: 2 } }, ROWS), { state: { now: 2 } });
});

test("a running request holds its whole path and stands at its end with what is not stored yet", () => {
  const { nodes } = layoutTree(ROWS, [
    ["r7", 4, 60, 72],
    ["r8", 3, 30, 30],
  ]);
  assert.deepEqual(nodes.get(3).holders, ["r7", "r8"]);
  assert.deepEqual(nodes.get(1).holders, ["r7"]);
  assert.deepEqual(nodes.get(4).ends, [{ rid: "r7", own: 12 }]);
  assert.deepEqual(nodes.get(5).holders, []);
  assert.deepEqual(
    [3, 5, 9].map((id) => kindOfNode(nodes.get(id))),
    ["decode", "wait", "wait"],
  );
});

test("what is not drawn has a line of its own under its parent", () => {
  const { lines } = layoutTree([row(1, 0, 5, { hidden: 40 }), row(2, 0, 5)]);
  assert.deepEqual(
    lines.map((line) => line.id),
    [1, "more-1", 2],
  );
  assert.equal(lines[1].tokens, 400);
  assert.deepEqual(
    layoutTree([row(1, 0, 5)], [], [7, 30]).lines.map((line) => line.id),
    [1, "more-0"],
  );
});

test("in the map siblings share their parent's height and nothing overlaps", () => {
  const boxes = new Map(layoutMap(layoutTree(ROWS).lines, 600, 90).map((box) => [box.id, box]));
  assert.deepEqual(
    [3, 9].map((id) => boxes.get(id).height),
    [60, 30],
  );
  assert.deepEqual(
    [1, 5].map((id) => [boxes.get(id).x, boxes.get(id).y, boxes.get(id).height]),
    [
      [300, 0, 30],
      [300, 30, 30],
    ],
  );
  const all = [...boxes.values()];
  for (const a of all) {
    assert.ok(a.x + a.width <= 600 + 1e-9 && a.y + a.height <= 90 + 1e-9);
    for (const b of all) {
      const apart =
        a.x + a.width <= b.x + 1e-9 ||
        b.x + b.width <= a.x + 1e-9 ||
        a.y + a.height <= b.y + 1e-9 ||
        b.y + b.height <= a.y + 1e-9;
      assert.ok(a === b || apart, `${a.id} and ${b.id}`);
    }
  }
  assert.equal(boxAt(all, 310, 45).id, 5);
  assert.equal(boxAt(all, 599, 80), null);
});

test("an empty tree has an empty map", () => {
  assert.deepEqual(layoutMap(layoutTree([]).lines, 600, 90), []);
});

test("of fifty thousand lines only the window is drawn", () => {
  assert.deepEqual(visibleLines(50_000, 0, 420), [0, 25]);
  const [first, last] = visibleLines(50_000, 100_000, 420);
  assert.ok(first <= 4000 && last >= 4017 && last - first < 40);
});

test("a selected request marks what it holds, made and found", () => {
  const { nodes } = layoutTree(ROWS, [["r7", 1, 50, 50]]);
  assert.equal(tieOf(nodes.get(1), { kind: "request", id: "r7" }), "holds");
  assert.equal(tieOf(nodes.get(3), { kind: "request", id: "r1" }), "found");
  assert.equal(tieOf(nodes.get(9), { kind: "request", id: "r0" }), "made");
  assert.equal(tieOf(nodes.get(9), { kind: "node", id: 9 }), "");
});

test("the engine's clock goes on while nothing happens, and stands still when the engine has ended", () => {
  assert.equal(clockOf({ now: 50 }, 1000, 1060.5), 60.5);
  assert.equal(clockOf({ now: 50 }, 1000, 1049), 50, "the page's clock may be behind");
  assert.equal(clockOf({ now: 50 }, null, 1060), 50);
  assert.equal(clockOf({}, null, 1060), 0);
});

test("how long a node is idle is told in whole seconds, and not of one that is held", () => {
  const node = { tokens: 3, hits: 2, holders: [], usedAt: 40 };
  assert.equal(sideText(node, 40.4), "3 tokens · found 2 times · used just now");
  assert.equal(sideText({ ...node, hits: 0 }, 49.9), "3 tokens · idle 9 s");
  assert.equal(sideText(node, 240), "3 tokens · found 2 times · idle 3 min 20 s");
  assert.equal(sideText({ ...node, holders: ["r1"] }, 99), "3 tokens · found 2 times · held by 1");
  assert.deepEqual([0.2, 7.9, 61].map(ago), ["just now", "7 s ago", "1 min 1 s ago"]);
});

test("what was evicted is summed up, with the request that last needed the room", () => {
  assert.equal(evictedText({}), "");
  assert.equal(evictedText({ num_evicted: 5, changes: [[1, "added", 3, "r1"]] }), "5 tokens evicted");
  const changes = [
    [1, "evicted", 3, "r1"],
    [2, "evicted", 4, "r2"],
    [3, "evicted", 5, ""],
  ];
  assert.equal(evictedText({ num_evicted: 1, changes }), "1 token evicted, the last for r2");
});

test("a question is answered with an error where the kernel ends before it answers", async () => {
  const listeners = { custom: new Set(), status: new Set() };
  const model = {
    on: (_name, fn) => listeners.custom.add(fn),
    off: (_name, fn) => listeners.custom.delete(fn),
    send: () => {},
    widget_manager: {
      kernel: {
        statusChanged: { connect: (fn) => listeners.status.add(fn), disconnect: (fn) => listeners.status.delete(fn) },
      },
    },
  };
  const asked = ask(model, { do: "flush" });
  for (const fn of listeners.status) fn(null, "busy");
  for (const fn of listeners.status) fn(null, "dead");
  assert.deepEqual(await asked, { error: "the kernel ended before it answered" });
  assert.deepEqual([listeners.custom.size, listeners.status.size], [0, 0]);
});
