/** Properties of every op of the contract over random shapes, at least one for each op. */
import fc from "fast-check";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import type { Random } from "../../../runtime/math/random.ts";
import { length } from "../../support/compare.ts";
import { attentionProperties } from "./op-properties-attention.ts";
import { matmulProperties } from "./op-properties-matmul.ts";
import {
  f16,
  f32,
  garbage,
  type HostTensor,
  i8,
  integers,
  normal,
  type OpProperty,
  property,
} from "./op-property.ts";

export type Op = Exclude<
  keyof Backend,
  "name" | "description" | "lossRows" | "alloc" | "free" | "view" | "write" | "read" | "memory" | "dispose"
>;

const rows = fc.constantFrom(1, 2, 3, 8, 17, 64, 131);
/** Widths near the lengths of vectors and of unrolled loops. */
const columns = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 129, 300);
const matrix = fc.record({ M: rows, C: columns });
/** Sizes of whole tensors; the last few use several threads. */
const size = fc.constantFrom(1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4099, 40_001);
const small = fc.integer({ min: 1, max: 9 });
/** Standard deviations from order one to values whose exponential overflows. */
const magnitude = fc.constantFrom(1, 10, 100);

/** 1/sqrt(mean(x²) + eps) of each row, as the forward keeps it. */
const rstdOf = (x: ArrayLike<number>, M: number, C: number): Float32Array =>
  Float32Array.from({ length: M }, (_, m) => {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += x[m * C + c] ** 2;
    return 1 / Math.sqrt(sum / C + 1e-5);
  });

const statsOf = (x: ArrayLike<number>, M: number, C: number): Float32Array => {
  const stats = new Float32Array(2 * M);
  for (let m = 0; m < M; m++) {
    const row = Array.from({ length: C }, (_, c) => x[m * C + c]);
    const mean = row.reduce((a, b) => a + b, 0) / C;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / C;
    stats.set([mean, 1 / Math.sqrt(variance + 1e-5)], 2 * m);
  }
  return stats;
};

/** Multiples of 1/8, exact in f32: values in rows of few columns are equal or far apart, never nearly equal. */
const eighths = (random: Random, shape: number[], mean: number): HostTensor =>
  f32(shape, () => mean + Math.round(8 * random.normal()) / 8);

/** A row of equal values has rstd = 316, which amplifies the rounding error of x − mean. */
const layernormFloor = (x: ArrayLike<number>, M: number, C: number): number =>
  Math.sqrt(C) * length(statsOf(x, M, C));

export const OP_PROPERTIES: Record<Op, OpProperty[]> = {
  ...matmulProperties,
  ...attentionProperties,

  // ---- whole tensors ---------------------------------------------------------------------------------------
  fill: [
    property("f32", fc.record({ n: size, value: fc.constantFrom(0, 1, -2.5) }), ({ n, value }, random) => ({
      tensors: { x: normal(random, [n]) },
      run: (b, { x }) => b.fill(x, value),
    })),
  ],
  copy: [
    property("f32", size, (n, random) => ({
      tensors: { out: garbage([n]), x: normal(random, [n]) },
      run: (b, { out, x }) => b.copy(out, x),
    })),
    property("i32", size, (n, random) => ({
      tensors: { out: integers(random, [n], 9), x: integers(random, [n], 2 ** 31) },
      run: (b, { out, x }) => b.copy(out, x),
    })),
  ],
  add: [
    property("to another", size, (n, random) => ({
      tensors: { out: garbage([n]), x: normal(random, [n]), y: normal(random, [n]) },
      run: (b, { out, x, y }) => b.add(out, x, y),
    })),
    property("in place", fc.record({ n: size, first: fc.boolean() }), ({ n, first }, random) => ({
      tensors: { x: normal(random, [n]), y: normal(random, [n]) },
      run: (b, { x, y }) => b.add(first ? x : y, x, y),
    })),
  ],
  addBroadcast: [
    property("(C) over (M,C)", matrix, ({ M, C }, random) => ({
      tensors: { x: normal(random, [M, C]), bias: normal(random, [C]) },
      run: (b, { x, bias }) => b.addBroadcast(x, bias),
    })),
    property("(T,d) over (B,T,d)", fc.record({ B: small, T: small, d: columns }), ({ B, T, d }, random) => ({
      tensors: { x: normal(random, [B, T, d]), position: normal(random, [T, d]) },
      run: (b, { x, position }) => b.addBroadcast(x, position),
    })),
  ],
  sumBroadcast: [
    property("(M,C) to (C)", matrix, ({ M, C }, random) => ({
      tensors: { db: normal(random, [C]), dx: normal(random, [M, C]) },
      run: (b, { db, dx }) => b.sumBroadcast(db, dx),
      floor: 1,
    })),
    property("(B,T,d) to (T,d)", fc.record({ B: small, T: small, d: columns }), ({ B, T, d }, random) => ({
      tensors: { db: normal(random, [T, d]), dx: normal(random, [B, T, d]) },
      run: (b, { db, dx }) => b.sumBroadcast(db, dx),
      floor: 1,
    })),
  ],

  // ---- tables ----------------------------------------------------------------------------------------------
  gather: (["f32", "f16", "i8"] as const).map((dtype) =>
    property(dtype, fc.record({ V: size, C: columns, M: rows }), ({ V, C, M }, random) => {
      const shape: [number, number] = [Math.min(V, 5000), C];
      const table = { f32: normal, f16, i8 }[dtype](random, shape);
      return {
        tensors: { out: garbage([M, C]), table, ids: integers(random, [M], shape[0]) },
        run: (b, { out, table, ids }) => b.gather(out, table, ids),
      };
    }),
  ),
  scatterAdd: [
    // Few rows and many ids, so that most repeat. The gradient is added to the existing values.
    property("repeated ids", fc.record({ V: small, C: columns, M: rows }), ({ V, C, M }, random) => ({
      tensors: {
        dTable: normal(random, [V, C]),
        ids: integers(random, [M], V),
        dOut: normal(random, [M, C]),
      },
      run: (b, { dTable, ids, dOut }) => b.scatterAdd(dTable, ids, dOut),
      floor: 1,
    })),
    property("a large table", fc.record({ C: columns, M: rows }), ({ C, M }, random) => ({
      tensors: {
        dTable: f32([999, C], () => 0),
        ids: integers(random, [M], 999),
        dOut: normal(random, [M, C]),
      },
      run: (b, { dTable, ids, dOut }) => b.scatterAdd(dTable, ids, dOut),
    })),
  ],
  topk: [
    property("distinct values", fc.record({ M: rows, C: columns, k: fc.nat() }), ({ M, C, k }, random) => ({
      tensors: { out: garbage([M, C]), x: normal(random, [M, C]) },
      run: (b, { out, x }) => b.topk(out, x, 1 + (k % C)),
    })),
    property(
      "ties, and few positive",
      fc.record({ M: rows, C: columns, k: fc.nat() }),
      ({ M, C, k }, random) => ({
        tensors: { out: garbage([M, C]), x: f32([M, C], () => Math.floor(4 * random.uniform()) - 1.5) },
        run: (b, { out, x }) => b.topk(out, x, 1 + (k % C)),
      }),
    ),
  ],
  topkBackward: [
    property("to another", matrix, ({ M, C }, random) => ({
      tensors: {
        dx: garbage([M, C]),
        dOut: normal(random, [M, C]),
        out: f32([M, C], () => Math.max(0, random.normal())),
      },
      run: (b, { dx, dOut, out }) => b.topkBackward(dx, dOut, out),
    })),
    property("in place", matrix, ({ M, C }, random) => ({
      tensors: { dOut: normal(random, [M, C]), out: f32([M, C], () => Math.max(0, random.normal())) },
      run: (b, { dOut, out }) => b.topkBackward(dOut, dOut, out),
    })),
  ],

  // ---- norms -----------------------------------------------------------------------------------------------
  rmsnorm: [
    // With values of 0.001, eps dominates the sum.
    property(
      "any scale",
      fc.record({ M: rows, C: columns, std: fc.constantFrom(0.001, 1, 100) }),
      ({ M, C, std }, random) => ({
        tensors: {
          out: garbage([M, C]),
          rstd: garbage([M]),
          x: normal(random, [M, C], std),
          weight: normal(random, [C]),
        },
        run: (b, { out, rstd, x, weight }) => b.rmsnorm(out, rstd, x, weight),
      }),
    ),
  ],
  rmsnormBackward: [
    property(
      "adds",
      fc.record({ M: rows, C: columns, std: fc.constantFrom(0.1, 1, 10) }),
      ({ M, C, std }, random) => {
        const x = normal(random, [M, C], std);
        return {
          tensors: {
            dx: normal(random, [M, C]),
            dWeight: normal(random, [C]),
            dOut: normal(random, [M, C]),
            x,
            weight: normal(random, [C]),
            rstd: { dtype: "f32", shape: [M], values: rstdOf(x.values, M, C) },
          },
          run: (b, t) => b.rmsnormBackward(t.dx, t.dWeight, t.dOut, t.x, t.weight, t.rstd),
          floor: Math.sqrt(M * C) / Math.min(1, std),
        };
      },
    ),
  ],
  layernorm: [
    property(
      "any mean",
      fc.record({ M: rows, C: columns, mean: fc.constantFrom(0, 1, -3) }),
      ({ M, C, mean }, random) => {
        const x = eighths(random, [M, C], mean);
        return {
          tensors: {
            out: garbage([M, C]),
            stats: garbage([M, 2]),
            x,
            weight: normal(random, [C]),
            bias: normal(random, [C]),
          },
          run: (b, { out, stats, x, weight, bias }) => b.layernorm(out, stats, x, weight, bias),
          floor: layernormFloor(x.values, M, C),
        };
      },
    ),
  ],
  layernormBackward: [
    property(
      "adds",
      fc.record({ M: rows, C: columns, mean: fc.constantFrom(0, 1, -3) }),
      ({ M, C, mean }, random) => {
        const x = eighths(random, [M, C], mean);
        const stats = statsOf(x.values, M, C);
        return {
          tensors: {
            dx: normal(random, [M, C]),
            dWeight: normal(random, [C]),
            dBias: normal(random, [C]),
            dOut: normal(random, [M, C]),
            x,
            weight: normal(random, [C]),
            stats: { dtype: "f32", shape: [M, 2], values: stats },
          },
          run: (b, t) => b.layernormBackward(t.dx, t.dWeight, t.dBias, t.dOut, t.x, t.weight, t.stats),
          floor: layernormFloor(x.values, M, C),
        };
      },
    ),
  ],

  // ---- activations -----------------------------------------------------------------------------------------
  swiglu: [
    property("to another", fc.record({ n: size, std: magnitude }), ({ n, std }, random) => ({
      tensors: { out: garbage([n]), gate: normal(random, [n], std), up: normal(random, [n]) },
      run: (b, { out, gate, up }) => b.swiglu(out, gate, up),
      floor: 1,
    })),
    property("in place", fc.record({ n: size, first: fc.boolean() }), ({ n, first }, random) => ({
      tensors: { gate: normal(random, [n], 3), up: normal(random, [n]) },
      run: (b, { gate, up }) => b.swiglu(first ? gate : up, gate, up),
      floor: 1,
    })),
  ],
  swigluBackward: [
    property("any magnitude", fc.record({ n: size, std: magnitude }), ({ n, std }, random) => ({
      tensors: {
        dGate: garbage([n]),
        dUp: garbage([n]),
        dOut: normal(random, [n]),
        gate: normal(random, [n], std),
        up: normal(random, [n]),
      },
      run: (b, { dGate, dUp, dOut, gate, up }) => b.swigluBackward(dGate, dUp, dOut, gate, up),
      floor: 1,
    })),
  ],
  gelu: [
    property("to another", fc.record({ n: size, std: magnitude }), ({ n, std }, random) => ({
      tensors: { out: garbage([n]), x: normal(random, [n], std) },
      run: (b, { out, x }) => b.gelu(out, x),
      floor: 1,
    })),
    property("in place", size, (n, random) => ({
      tensors: { x: normal(random, [n], 3) },
      run: (b, { x }) => b.gelu(x, x),
      floor: 1,
    })),
  ],
  geluBackward: [
    property("any magnitude", fc.record({ n: size, std: magnitude }), ({ n, std }, random) => ({
      tensors: { dx: garbage([n]), dOut: normal(random, [n]), x: normal(random, [n], std) },
      run: (b, { dx, dOut, x }) => b.geluBackward(dx, dOut, x),
      floor: 1,
    })),
  ],

  // ---- loss and optimizer ----------------------------------------------------------------------------------
  crossEntropy: (
    [
      ["logits of order one", (random: Random) => random.normal()],
      [
        "logits of ±80, whose sum of exponentials overflows",
        (random: Random) => (random.uniform() < 0.5 ? -80 : 80),
      ],
    ] as const
  ).map(([title, logit]) =>
    property(
      title,
      fc.record({ M: rows, V: columns, scale: fc.constantFrom(0, 1, 0.01) }),
      ({ M, V, scale }, random) => ({
        tensors: {
          losses: garbage([M]),
          logits: f32([M, V], () => logit(random)),
          targets: integers(random, [M], V),
        },
        run: (b, { losses, logits, targets }) => b.crossEntropy(losses, logits, targets, scale),
        floor: 1,
      }),
    ),
  ),
  globalNorm: [
    property(
      "of several tensors",
      fc.record({ n: size, m: size, M: rows, C: columns }),
      ({ n, m, M, C }, random) => ({
        tensors: {
          norm: garbage([1]),
          x: normal(random, [n], 0.01),
          y: normal(random, [m]),
          z: normal(random, [M, C]),
        },
        run: (b, { norm, x, y, z }) => b.globalNorm(norm, [x, y, z]),
      }),
    ),
  ],
  adamw: [
    property(
      "decay, clip and bias correction",
      fc.record({
        n: size,
        step: fc.constantFrom(1, 2, 10, 1000),
        weightDecay: fc.constantFrom(0, 0.1),
        clip: fc.constantFrom(0, 1, 1000),
        norm: fc.constantFrom(0.5, 3),
      }),
      ({ n, norm, ...options }, random) => ({
        tensors: adamwTensors(n, norm, random),
        run: (b, t) => b.adamw(t.param, t.grad, t.m, t.v, t.norm, { ...ADAM, ...options }),
      }),
    ),
    property(
      "a norm that is not finite changes nothing",
      fc.record({
        n: size,
        norm: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY),
        clip: fc.constantFrom(0, 1),
      }),
      ({ n, norm, clip }, random) => ({
        tensors: adamwTensors(n, norm, random),
        run: (b, t) =>
          b.adamw(t.param, t.grad, t.m, t.v, t.norm, { ...ADAM, step: 3, weightDecay: 0.1, clip }),
      }),
    ),
  ],
};

const ADAM = { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8 };

/** Values of either sign. */
const awayFromZero = (random: Random, n: number, least: number) =>
  f32([n], () => {
    const x = random.normal();
    return x + (x < 0 ? -least : least);
  });

const adamwTensors = (n: number, norm: number, random: Random) => ({
  // Larger than the terms that are added to them: if terms cancelled, only rounding errors would be left.
  param: awayFromZero(random, n, 0.5),
  grad: normal(random, [n]),
  m: awayFromZero(random, n, 0.6),
  v: f32([n], () => 0.01 + random.uniform()),
  norm: f32([1], () => norm),
});
