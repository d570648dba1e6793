import { expect, test } from "bun:test";
import { type ClaimSpecs, claim } from "../../../../runtime/experiments/framework/claims.ts";

const CLAIMS = {
  "some.larger": { kind: "free", statement: "It is larger.", side: "greater" },
  "some.smaller": { kind: "bound", statement: "It is smaller.", side: "less" },
} as const satisfies ClaimSpecs;

test("an effect or a null draw that is not finite is an error", () => {
  const values = [0, 1];
  expect(() => claim(CLAIMS, "some.larger", Number.NaN, { name: "n", values })).toThrow(
    "claim some.larger: the effect or a null draw is NaN",
  );
  expect(() => claim(CLAIMS, "some.larger", 1, { name: "n", values: [Infinity] })).toThrow("Infinity");
});

test("a claim has the moments of its null, its own side and its specification", () => {
  const result = claim(CLAIMS, "some.smaller", 0, { name: "n", values: [1, 2, 3] });
  expect(result).toMatchObject({ id: "some.smaller", kind: "bound", statement: "It is smaller.", effect: 0 });
  expect(result.null).toEqual({ name: "n", mean: 2, sd: 1, draws: 3 });
  expect(result.p).toBe(1 / 4); // The side is "less".
});
