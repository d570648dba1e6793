import { expect, test } from "bun:test";
import { pureEnds } from "../../../../runtime/experiments/recipes/codebooks.ts";
import { matrix } from "../../../../runtime/math/matrix.ts";

test("the fraction of signal ends whose words belong to one category", () => {
  const labels = [...Array(5).fill(0), ...Array(5).fill(1)];
  // The first signal separates the categories, the second alternates between them.
  const recipes = matrix(
    10,
    2,
    Float32Array.from(labels.flatMap((_, i) => [i, (i % 5) * 2 + (i < 5 ? 0 : 1)])),
  );
  expect(pureEnds(recipes, labels)).toBe(0.5);
  // Moving the first word to the opposite end makes both ends of the first signal mixed.
  recipes.data[0] = 100;
  expect(pureEnds(recipes, labels)).toBe(0);
});
