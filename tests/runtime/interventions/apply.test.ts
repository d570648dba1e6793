import { describe, expect, test } from "bun:test";
import { changeOf, type Ingredients } from "../../../runtime/interventions/apply.ts";
import { momentsOf } from "../../../runtime/interventions/reference.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { directionAlong } from "../../../runtime/math/direction.ts";
import { Random } from "../../../runtime/math/random.ts";
import { expectError } from "../../support/expect-error.ts";

/** v of length 5: u = (0.6, 0, 0.8). */
const u = directionAlong(Float64Array.of(3, 0, 4));
const place = { target: { signal: 0 }, hook: "hook_embed" };
/** c = x·u is given with each case. */
const X = [2, 7, -1];

function apply(intervention: Intervention, given: Partial<Ingredients> = {}, x = X, position = 0): number[] {
  const row = Float32Array.from(x);
  changeOf(intervention, { hook: "hook_embed", u, ...given }, "interventions[0]")(row, position);
  return Array.from(row, (each) => Math.round(each * 1e5) / 1e5);
}

describe("computed by hand, with v = (3,0,4), u = (.6,0,.8), x = (2,7,−1), c = 1.2 − .8 = .4", () => {
  test("add raw: δ = 0.5·5, x + 2.5·u", () => {
    const expected = [2 + 1.5, 7, -1 + 2];
    expect(apply({ op: "add", ...place, strength: 0.5, unit: "raw" })).toEqual(expected);
    expect(apply({ op: "add", ...place, strength: 0.5 })).toEqual(expected);
  });

  test("add residNorm: ‖(2,10,−11)‖ = 15, δ = −0.2·15", () => {
    const moved = apply({ op: "add", ...place, strength: -0.2, unit: "residNorm" }, {}, [2, 10, -11]);
    expect(moved).toEqual([2 - 1.8, 10, -11 - 2.4].map((x) => Math.round(x * 1e5) / 1e5));
  });

  test("add sigma: the components 1, 1, 5, 5 have mean 3 and deviation 2, δ = 3·2", () => {
    const components = Float64Array.of(1, 1, 5, 5);
    expect(momentsOf(components)).toEqual({ mean: 3, sd: 2 });
    const moved = apply({ op: "add", ...place, strength: 3, unit: "sigma" }, { components });
    expect(moved).toEqual([2 + 3.6, 7, -1 + 4.8].map((x) => Math.round(x * 1e5) / 1e5));
  });

  test("set: c becomes 10, x + 9.6·u", () => {
    expect(apply({ op: "set", ...place, value: 10 })).toEqual([7.76, 7, 6.68]);
  });

  test("scale: c becomes −0.8, x − 1.2·u", () => {
    expect(apply({ op: "scale", ...place, factor: -2 })).toEqual([1.28, 7, -1.96]);
  });

  test("ablate: c becomes 0, or the mean", () => {
    expect(apply({ op: "ablate", ...place })).toEqual([1.76, 7, -1.32]);
    expect(apply({ op: "ablate", ...place, ablateWith: "zero" })).toEqual([1.76, 7, -1.32]);
    const components = Float64Array.of(0, 20.8);
    expect(apply({ op: "ablate", ...place, ablateWith: "mean" }, { components })).toEqual([8, 7, 7]);
  });

  test("resample: c becomes a value from the reference that depends only on the position", () => {
    const components = Float64Array.from({ length: 50 }, (_, i) => i);
    const resample: Intervention = { op: "ablate", ...place, ablateWith: "resample" };
    const drawn = (position: number, hook = "hook_embed") => {
      const [a, , b] = apply(resample, { components, hook }, X, position);
      return Math.round(0.6 * a + 0.8 * b);
    };
    const expected = (position: number) =>
      Math.floor(new Random(`resample/hook_embed/${position}`).uniform() * 50);
    const draws = Array.from({ length: 20 }, (_, position) => drawn(position));
    expect(draws).toEqual(Array.from({ length: 20 }, (_, position) => expected(position)));
    expect(new Set(draws).size).toBeGreaterThan(10);
    expect(drawn(3, "blocks.0.hook_resid_pre")).not.toBe(drawn(3));
  });

  test("swap of orthogonal directions exchanges the components 2 and −1", () => {
    const [first, third] = [
      directionAlong(Float64Array.of(9, 0, 0)),
      directionAlong(Float64Array.of(0, 0, 2)),
    ];
    const swap: Intervention = { op: "swap", ...place, with: { signal: 1 } };
    expect(apply(swap, { u: first, other: third })).toEqual([-1, 7, 2]);
  });

  test("swap of any two directions exchanges the components and keeps the orthogonal complement", () => {
    const w = directionAlong(Float64Array.of(0, 1, 0).map((x, i) => x + (i === 0 ? 1 : 0)));
    const swap: Intervention = { op: "swap", ...place, with: { signal: 1 } };
    const row = Float32Array.from(X);
    const along = (x: ArrayLike<number>) => [
      0.6 * x[0] + 0.8 * x[2],
      (x[0] + x[1]) / Math.SQRT2,
      // u × w, up to a factor
      -0.8 * x[0] + 0.8 * x[1] + 0.6 * x[2],
    ];
    const [a, b, c] = along(row);
    changeOf(swap, { hook: "", u, other: w }, "")(row, 0);
    for (const [i, expected] of [b, a, c].entries()) expect(along(row)[i]).toBeCloseTo(expected, 5);
    expect(Math.hypot(...row)).toBeCloseTo(Math.hypot(...X), 5);
    // For u and −u the component changes its sign.
    expect(apply(swap, { other: directionAlong(Float64Array.of(-3, 0, -4)) })).toEqual([1.52, 7, -1.64]);
  });
});

test("entries outside a sparse direction keep their bits", () => {
  const row = Float32Array.of(1, -0, Number.NaN);
  changeOf(
    { op: "add", ...place, strength: 1 },
    { hook: "", u: directionAlong(Float64Array.of(2, 0, 0)) },
    "",
  )(row, 0);
  expect(new Uint32Array(row.buffer)).toEqual(new Uint32Array(Float32Array.of(3, -0, Number.NaN).buffer));
});

test("a sigma unit of zero deviation and a swap of a direction with itself are rejected", async () => {
  const sigma: Intervention = { op: "add", ...place, strength: 1, unit: "sigma" };
  await expectError(
    () => apply(sigma, { components: Float64Array.of(2, 2, 2) }),
    "usage",
    /interventions\[0\]\.unit is "sigma", but the component is the same at every position/,
  );
  const swap: Intervention = { op: "swap", ...place, with: { signal: 0 } };
  await expectError(
    () => apply(swap, { other: directionAlong(Float64Array.of(6, 0, 8)) }),
    "usage",
    /interventions\[0\]\.with has the same direction as interventions\[0\]\.target/,
  );
});
