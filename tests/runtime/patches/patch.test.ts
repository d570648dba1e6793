import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  composePatches,
  encodePatch,
  type GenePatch,
  invertPatch,
  netEdits,
  parsePatch,
} from "../../../runtime/patches/patch.ts";
import { expectError } from "../../support/expect-error.ts";
import { CHECKPOINT } from "./support.ts";

const patch = (...edits: [number, number, number][]): GenePatch => ({
  model: CHECKPOINT,
  edits: edits.map(([token, signal, delta]) => ({ token, signal, delta })),
});

/** Few tokens, signals and deltas, so that edits of the same entry occur. */
const anyPatch = fc
  .array(fc.tuple(fc.nat(2), fc.nat(2), fc.constantFrom(0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 1e6, 0)), {
    maxLength: 12,
  })
  .map((edits) => patch(...edits));

describe("composition", () => {
  test("edits are sorted; pairs that cancel are removed, and others are kept separately", () => {
    const [p, q] = [patch([5, 1, 0.4], [2, 3, -1]), patch([5, 1, 0.1], [2, 3, 1], [2, 0, 2])];
    expect(composePatches(p, q)).toEqual(patch([2, 0, 2], [5, 1, 0.1], [5, 1, 0.4]));
    expect(invertPatch(p)).toEqual(patch([2, 3, 1], [5, 1, -0.4]));
    expect(composePatches(p)).toEqual(patch([2, 3, -1], [5, 1, 0.4]));
    expect(netEdits([{ token: 0, signal: 0, delta: 0 }])).toEqual([]);
  });

  test("is an exact commutative group", () => {
    fc.assert(
      fc.property(anyPatch, anyPatch, anyPatch, (p, q, r) => {
        const sum = composePatches(p, q, r);
        expect(composePatches(r, composePatches(q, p))).toEqual(sum);
        expect(composePatches(sum, invertPatch(r), invertPatch(q))).toEqual(composePatches(p));
        expect(composePatches(p, invertPatch(p)).edits).toEqual([]);
        expect(invertPatch(invertPatch(p))).toEqual(composePatches(p));
      }),
    );
  });

  test("requires patches for the same model", async () => {
    const other = { model: CHECKPOINT.replace("0", "f"), edits: [] };
    await expectError(() => composePatches(patch(), patch(), other), "usage", /^model of patch 2 is "f1/);
  });
});

describe("the file form", () => {
  test("is parsed back unchanged", () => {
    fc.assert(
      fc.property(anyPatch, (p) => {
        expect(parsePatch(JSON.parse(encodePatch(p)))).toEqual(JSON.parse(JSON.stringify(p)));
      }),
    );
  });

  const edit = { token: 1, signal: 2, delta: 0.5 };
  const WRONG: [name: string, json: unknown, message: RegExp][] = [
    ["a value that is not an object", 3, /^patch is 3: expected a gene patch \(an object\)$/],
    ["null", null, /^patch is null: expected a gene patch/],
    ["a list", [edit], /^patch\.0 is not a field|^patch/],
    ["no model", { edits: [] }, /^patch\.model is missing$/],
    ["a short model", { model: "abc", edits: [] }, /^patch\.model is "abc": expected 64 hexadecimal digits/],
    ["no edits", { model: CHECKPOINT }, /^patch\.edits is missing$/],
    [
      "a value of edits that is not a list",
      { model: CHECKPOINT, edits: {} },
      /^patch\.edits is {}: expected a list of edits$/,
    ],
    [
      "an edit that is not an object",
      { model: CHECKPOINT, edits: [edit, 7] },
      /^patch\.edits\[1\] is 7: expected an edit/,
    ],
    ["another key", { model: CHECKPOINT, edits: [], name: "x" }, /^patch\.name is not a field$/],
    [
      "a misspelt key",
      { model: CHECKPOINT, edits: [{ ...edit, delat: 1 }] },
      /^patch\.edits\[0\]\.delat is not/,
    ],
    [
      "no delta",
      { model: CHECKPOINT, edits: [{ token: 1, signal: 2 }] },
      /^patch\.edits\[0\]\.delta is missing$/,
    ],
    ...[Number.NaN, Infinity, 1e38, -2e6, "1", null].map((delta): [string, unknown, RegExp] => [
      `delta ${delta}`,
      { model: CHECKPOINT, edits: [edit, { ...edit, delta }] },
      /^patch\.edits\[1\]\.delta is .*: expected a (finite number|number of at most 1000000 in magnitude)$/,
    ]),
    ...[-1, 0.5, "3", 2 ** 60].map((token): [string, unknown, RegExp] => [
      `token ${token}`,
      { model: CHECKPOINT, edits: [{ ...edit, token }] },
      /^patch\.edits\[0\]\.token is .*: expected a whole number of at least 0$/,
    ]),
  ];
  for (const [name, json, message] of WRONG) {
    test(`${name} is rejected`, async () => {
      await expectError(() => parsePatch(json), "usage", message);
    });
  }

  test("errors name the file", async () => {
    await expectError(
      () => parsePatch({ edits: [] }, "kind.json"),
      "usage",
      /^kind\.json\.model is missing$/,
    );
  });
});
