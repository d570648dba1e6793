import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { resolveConfig } from "../../../runtime/config/config.ts";
import { ropeTable } from "../../../runtime/transformer/rope.ts";

const config = resolveConfig({
  variant: "reflow",
  n_layers: 2,
  d_model: 48,
  n_signals: 48,
  n_heads: 4,
  d_ff: 200,
  context: 16,
  vocab_size: 6000,
});

describe("ropeTable", () => {
  test("a row matches values computed by hand: D = 4, theta = 100, position 3", () => {
    const table = ropeTable(
      resolveConfig({ ...config, d_model: 4, n_heads: 1, n_kv_heads: 1, rope_theta: 100 }),
    );
    expect(table.length).toBe(16 * 4);
    expect([...table.subarray(0, 4)]).toEqual([1, 1, 0, 0]);
    expect([...table.subarray(12, 16)]).toEqual(
      [Math.cos(3), Math.cos(0.3), Math.sin(3), Math.sin(0.3)].map(Math.fround),
    );
  });

  test("every pair is a rotation", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 300 }), (half, context) => {
        const D = 2 * half;
        const table = ropeTable(resolveConfig({ ...config, d_model: D, n_heads: 1, n_kv_heads: 1, context }));
        for (let i = 0; i < context * half; i++) {
          const at = Math.floor(i / half) * D + (i % half);
          const length = Math.hypot(table[at], table[at + half]);
          if (Math.abs(length - 1) > 1e-6) throw new RangeError(`pair ${i} has length ${length}`);
        }
      }),
      { numRuns: 10 },
    );
  });
});
