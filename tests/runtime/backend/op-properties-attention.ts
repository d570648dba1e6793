import fc from "fast-check";
import type { AttentionShape } from "../../../runtime/backend/contract/backend.ts";
import { resolveConfig } from "../../../runtime/config/config.ts";
import type { Random } from "../../../runtime/math/random.ts";
import { ropeTable } from "../../../runtime/transformer/rope.ts";
import { length as euclidean } from "../../support/compare.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { garbage, type HostTensor, normal, type OpProperty, property } from "./op-property.ts";

const CONTEXT = 100;

/** Query and key/value heads, including grouped and shared key/value heads. */
const heads = fc.constantFrom([1, 1], [2, 2], [3, 3], [2, 1], [4, 2], [6, 2], [4, 1]);

const attentionShape = fc
  .record({
    batch: fc.integer({ min: 1, max: 3 }),
    length: fc.constantFrom(1, 2, 3, 5, 8, 16, 17, 33, 64, 65),
    heads,
    headDim: fc.constantFrom(1, 2, 3, 4, 6, 8, 10, 16, 24, 32, 40, 64, 96, 128),
  })
  .map(({ heads: [H, K], ...rest }): AttentionShape => ({ ...rest, heads: H, kvHeads: K }));

const i32 = (values: number[]): HostTensor => ({
  dtype: "i32",
  shape: [values.length],
  values: Int32Array.from(values),
});

function inputs(shape: AttentionShape, random: Random, std: number) {
  const { batch, length, heads: H, kvHeads: K, headDim: D } = shape;
  return {
    q: normal(random, [batch * length, H * D], std),
    k: normal(random, [batch * length, K * D], std),
    v: normal(random, [batch * length, K * D]),
  };
}

/** Results of the forward that the backward needs. */
function forward(shape: AttentionShape, { q, k, v }: ReturnType<typeof inputs>) {
  const backend = new ReferenceBackend();
  const upload = ({ shape, values }: HostTensor) => {
    const tensor = backend.alloc(shape);
    backend.write(tensor, values);
    return tensor;
  };
  const out = backend.alloc(q.shape);
  const lse = backend.alloc([shape.batch * shape.heads, shape.length]);
  backend.attention(out, lse, upload(q), upload(k), upload(v), shape);
  const download = (tensor: typeof out): HostTensor => ({
    dtype: "f32",
    shape: tensor.shape,
    values: Float32Array.from(backend.values(tensor)),
  });
  return { out: download(out), lse: download(lse) };
}

/** New rows of each sequence over what its cache already holds. */
const cached = fc
  .record({
    starts: fc.array(fc.integer({ min: 0, max: CONTEXT - 65 }), { minLength: 1, maxLength: 4 }),
    length: fc.constantFrom(1, 2, 3, 5, 8, 9, 17, 65),
    heads,
    headDim: fc.constantFrom(1, 2, 3, 8, 16, 32, 40, 64, 96),
  })
  .map(({ heads: [H, K], starts, ...rest }) => ({
    starts,
    shape: { ...rest, batch: starts.length, heads: H, kvHeads: K } satisfies AttentionShape,
  }));

type AttentionOp = "rope" | "attention" | "attentionBackward" | "writeCache" | "attentionCached";

export const attentionProperties: Record<AttentionOp, OpProperty[]> = {
  rope: [
    property(
      "both directions, from any start",
      fc.record({
        starts: fc.array(fc.integer({ min: 0, max: CONTEXT - 17 }), { minLength: 1, maxLength: 4 }),
        length: fc.integer({ min: 1, max: 17 }),
        heads: fc.integer({ min: 1, max: 5 }),
        half: fc.constantFrom(1, 2, 3, 4, 5, 8, 12, 16, 32),
        inverse: fc.boolean(),
        offset: fc.boolean(),
      }),
      ({ starts, length, heads, half, inverse, offset }, random) => {
        const headDim = 2 * half;
        const table = ropeTable(
          resolveConfig({
            n_layers: 1,
            d_model: headDim,
            n_heads: 1,
            context: CONTEXT,
            vocab_size: 1,
          }),
        );
        return {
          tensors: {
            x: normal(random, [starts.length * length, heads * headDim]),
            table: { dtype: "f32", shape: [CONTEXT, headDim], values: table },
            start: i32(starts),
          },
          run: (b, { x, table, start }) =>
            b.rope(x, table, { length, heads, headDim, inverse, start: offset ? start : undefined }),
        };
      },
    ),
  ],
  attention: (
    [
      ["even weights", 0.5, 1e-5],
      // Scores are in the tens: the absolute error of a score is the relative error of its weight.
      ["sharp weights", 3, 1e-4],
    ] as const
  ).map(([title, std, tolerance]) =>
    property(title, attentionShape, (shape, random) => ({
      tensors: {
        out: garbage([shape.batch * shape.length, shape.heads * shape.headDim]),
        lse: garbage([shape.batch * shape.heads, shape.length]),
        ...inputs(shape, random, std),
      },
      run: (b, { out, lse, q, k, v }) => b.attention(out, lse, q, k, v, shape),
      tolerance,
      floor: 1,
    })),
  ),
  attentionBackward: [
    property("any shape", attentionShape, (shape, random) => {
      const given = inputs(shape, random, 1);
      const { q, k, v } = given;
      const dOut = normal(random, q.shape);
      return {
        tensors: {
          dq: garbage(q.shape),
          dk: garbage(k.shape),
          dv: garbage(v.shape),
          dOut,
          ...given,
          ...forward(shape, given),
        },
        run: (b, t) => b.attentionBackward(t.dq, t.dk, t.dv, t.dOut, t.out, t.lse, t.q, t.k, t.v, shape),
        // With a single key dq and dk are exactly zero, as differences of products of this magnitude.
        floor: euclidean(dOut.values),
      };
    }),
  ],
  writeCache: [
    property("any start", cached, ({ starts, shape: { batch, length, kvHeads, headDim } }, random) => ({
      tensors: {
        cache: normal(random, [batch, CONTEXT, kvHeads * headDim]),
        x: normal(random, [batch * length, kvHeads * headDim]),
        start: i32(starts),
      },
      run: (b, { cache, x, start }) => b.writeCache(cache, x, start),
    })),
  ],
  attentionCached: [
    property("any start", cached, ({ starts, shape }, random) => {
      const { batch, length, heads: H, kvHeads: K, headDim: D } = shape;
      return {
        tensors: {
          out: garbage([batch * length, H * D]),
          q: normal(random, [batch * length, H * D]),
          kCache: normal(random, [batch, CONTEXT, K * D], 0.5),
          vCache: normal(random, [batch, CONTEXT, K * D]),
          start: i32(starts),
        },
        run: (b, { out, q, kCache, vCache, start }) =>
          b.attentionCached(out, q, kCache, vCache, start, shape),
        floor: 1,
      };
    }),
  ],
};
