import assert from "node:assert/strict";
import test from "node:test";

import {
  aboutStep,
  axisOf,
  layoutBatch,
  layoutQueue,
  layoutTurns,
  partInWords,
  shortened,
  stepAt,
  stepInWords,
} from "./view.mjs";

const STATE = {
  title: "Batch",
  start: 0,
  end: 1000000,
  more: 0,
  breaks: [],
  steps: {
    number: [7, 8, 9],
    start: [0, 250000, 500000],
    end: [250000, 500000, 1000000],
    prefill: [0, 100, 25],
    decode: [2, 0, 1],
    reused: [0, 16, 0],
    left: [128, 28, 103],
    waiting: [0, 2, 1],
  },
  lanes: [
    {
      rid: "a",
      phase: "running",
      says: "a: ...",
      out: 9,
      kind: ["decode", "paused", "decode"],
      start: [0, 250000, 500000],
      end: [250000, 500000, 1000000],
      first: [7, 0, 9],
      last: [7, 0, 9],
      tokens: [1, 0, 1],
      note: ["", "", ""],
    },
    {
      rid: "<b>",
      phase: "running",
      says: "b: ...",
      out: 0,
      kind: ["wait", "prefill", "prefill"],
      start: [0, 250000, 500000],
      end: [250000, 500000, 1000000],
      first: [0, 8, 9],
      last: [0, 8, 9],
      tokens: [0, 100, 25],
      note: ["retracted: a needed the space", "", ""],
    },
    {
      rid: "c",
      phase: "waiting",
      says: "c: ...",
      out: 0,
      kind: ["wait"],
      start: [100000],
      end: [1000000],
      first: [0],
      last: [0],
      tokens: [0],
      note: ["token budget, behind <b>"],
    },
  ],
};

test("places are percents of the axis and heights shares of the highest bar", () => {
  const made = layoutBatch(STATE);
  assert.deepEqual(
    made.prefill.marks.map(({ step, left, width, height }) => [step, left, width, height]),
    [
      [8, 25, 25, 100],
      [9, 50, 50, 25],
    ],
  );
  assert.equal(made.prefill.most, 100);
  assert.deepEqual(
    made.decode.marks.map((mark) => mark.step),
    [7, 9],
  );
  assert.deepEqual(made.breaks, []);
  assert.deepEqual(
    made.lanes[0].parts.map((part) => [part.kind, part.left, part.width]),
    [
      ["decode", 0, 25],
      ["paused", 25, 25],
      ["decode", 50, 50],
    ],
  );
  assert.deepEqual(made.lanes.flatMap((lane) => lane.parts.filter((part) => part.isRetracted)).length, 1);
});

test("steps in a row with as many tokens are one bar, and a click on it still means one of them", () => {
  const number = [1, 2, 3, 4, 5];
  const steps = {
    number,
    start: [0, 200, 400, 700, 800],
    end: [200, 400, 600, 800, 1000],
    prefill: [0, 0, 0, 0, 0],
    decode: [3, 3, 3, 3, 2],
  };
  const made = layoutBatch({ start: 0, end: 1000, steps, breaks: [] });
  assert.deepEqual(made.prefill.marks, []);
  assert.deepEqual(
    made.decode.marks.map(({ step, last, left, width }) => [step, last, left, width]),
    [
      [1, 3, 0, 60],
      [4, 4, 70, 10],
      [5, 5, 80, 20],
    ],
  );
  assert.deepEqual(
    [0, 19.9, 20.1, 59, 60.5, 65, 69.5, 99].map((percent) => stepAt(made.places, percent)),
    [1, 1, 2, 3, 3, null, 4, 5],
  );
  assert.equal(stepAt([], 50), null);
});

test("time without any request is left out at one place, and what ended before the axis begins is not drawn", () => {
  const state = {
    start: 100,
    end: 1100,
    breaks: [[300, 600]],
    lanes: [{ ...STATE.lanes[0], start: [0, 150, 800], end: [99, 200, 1000] }],
  };
  const { place, length } = axisOf(state);
  assert.equal(length, 400);
  assert.deepEqual([0, 100, 250, 300, 500, 900, 1000, 1100, 9999].map(place), [0, 0, 150, 200, 200, 200, 300, 400, 400]);
  const made = layoutBatch(state);
  assert.deepEqual(made.breaks, [{ left: 50, seconds: 0.0006 }]);
  assert.deepEqual(
    made.lanes[0].parts.map((part) => [part.kind, part.left, part.width]),
    [
      ["paused", 12.5, 12.5],
      ["decode", 50, 25],
    ],
  );
});

test("the key names what is drawn and nothing else", () => {
  assert.deepEqual(layoutBatch(STATE).kinds, ["wait", "prefill", "decode", "paused"]);
  assert.deepEqual(layoutBatch({ ...STATE, lanes: [] }).kinds, []);
});

test("a step says who was in it, who was held up, and what each that waited waited for", () => {
  const step = aboutStep(STATE, 8);
  assert.deepEqual(step.members, [{ rid: "<b>", kind: "prefill", tokens: 100 }]);
  assert.deepEqual(step.outside, [
    { rid: "a", kind: "paused", note: "" },
    { rid: "c", kind: "wait", note: "token budget, behind <b>" },
  ]);
  const words = stepInWords(step);
  assert.equal(words[0], "step 8: 250 ms, 100 prefill and 0 decode tokens, 16 reused, budget left 28, 2 waiting");
  const seen = aboutStep({ ...STATE, steps: { ...STATE.steps, pictured: [0, 64, 0] } }, 8);
  assert.match(stepInWords(seen)[0], /100 prefill and 0 decode tokens, 64 of them of pictures, 16 reused/);
  assert.equal(words[1], "in it: <b> (100 of its prompt)");
  assert.equal(words[2], "not in it: a (held up), c (token budget, behind <b>)");
  assert.equal(aboutStep(STATE, 1), null);
});

test("a stretch is told in words", () => {
  const [waited, chunk] = layoutBatch(STATE).lanes[1].parts;
  assert.equal(partInWords(waited), "queue 250 ms, retracted: a needed the space");
  assert.equal(partInWords(chunk), "prefill 250 ms, step 8, 100 tokens");
});

test("an empty state draws nothing and does not fail", () => {
  const made = layoutBatch({});
  assert.deepEqual([made.lanes, made.prefill.marks, made.breaks], [[], [], []]);
  assert.equal(aboutStep({}, 1), null);
});

test("of a long queue those that are drawn are named and the others counted", () => {
  const queue = Array.from({ length: 40 }, (_, i) => [`r${i}`, "1 ms", "memory"]);
  assert.deepEqual(layoutQueue(queue, 1100).rows, queue);
  assert.equal(layoutQueue(queue, 1100).more, "and 1,060 more that wait, among the other requests");
  assert.equal(layoutQueue(queue, 40).more, "");
  assert.deepEqual(layoutQueue(), { rows: [], more: "" });
});

test("requests without room are a turn of the page away", () => {
  const state = (skip, num) => ({ skip, all: 100, lanes: Array.from({ length: num }, () => ({})) });
  assert.equal(layoutTurns({ all: 40, lanes: Array(40) }), null);
  const turns = ({ says, earlier, later }) => [says.split(",")[0], earlier, later];
  assert.deepEqual(turns(layoutTurns(state(0, 40))), ["requests 1 to 40 of 100", 40, null]);
  assert.deepEqual(turns(layoutTurns(state(40, 40))), ["requests 41 to 80 of 100", 80, 0]);
  assert.deepEqual(turns(layoutTurns(state(80, 20))), ["requests 81 to 100 of 100", null, 40]);
  assert.deepEqual(turns(layoutTurns(state(140, 0))), ["requests 140 to 140 of 100", null, 100]);
});

test("the options of one call keep what tells them apart", () => {
  assert.deepEqual(["889477b9af0a", "889477b9af0a-1", "889477b9af0a-12"].map(shortened), [
    "889477b9af0a",
    "889477…0a-1",
    "889477…a-12",
  ]);
});
