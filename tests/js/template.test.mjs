import assert from "node:assert/strict";
import test from "node:test";

import { kindOfRole, layoutTemplate } from "./view.mjs";

test("what one message wrote is one stretch, and what the template wrote between is another", () => {
  const tokens = [
    [0, 7, "<s>", null, 1],
    [1, 8, "Hi", 0, 1],
    [2, 9, " you", 0, 0],
    [3, 5, "<e>", null, 0],
    [4, 6, "Yes", 1, 0],
  ];
  const laid = layoutTemplate(tokens, ["user", "assistant"]);
  assert.deepEqual(
    laid.map((one) => [one.role, one.tokens.length, one.gap]),
    [
      [null, 1, 0],
      ["user", 2, 0],
      [null, 1, 0],
      ["assistant", 1, 0],
    ],
  );
});

test("a stretch is cut where tokens are left out, and says how many", () => {
  const laid = layoutTemplate(
    [
      [0, 1, "a", 0, 0],
      [100, 1, "b", 0, 0],
    ],
    ["user"],
  );
  assert.deepEqual(
    laid.map((one) => one.gap),
    [0, 99],
  );
});

test("all tokens of a picture are one, and no gap", () => {
  const tokens = [
    [0, 7, "u", null, 1],
    [1, 9, "[picture: 4 tokens]", 0, 1, 0, 5],
    [6, 8, "?", 0, 0],
  ];
  const laid = layoutTemplate(tokens, ["user"]);
  assert.deepEqual(
    laid.map((one) => [one.role, one.tokens.length, one.gap]),
    [
      [null, 1, 0],
      ["user", 2, 0],
    ],
  );
});

test("two messages of one role stay apart", () => {
  assert.equal(
    layoutTemplate(
      [
        [0, 1, "a", 0, 0],
        [1, 1, "b", 1, 0],
      ],
      ["user", "user"],
    ).length,
    2,
  );
});

test("a role that nobody foresaw never becomes a class name", () => {
  assert.equal(kindOfRole("tool"), "wb-tok wb-said wb-by-tool");
  assert.equal(kindOfRole('x" onclick="y'), "wb-tok wb-said");
  assert.equal(kindOfRole(null), "wb-tok wb-own");
});
