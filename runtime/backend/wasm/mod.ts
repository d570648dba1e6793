import { SUM_SQUARES_CHUNK } from "../../../kernels-as/assembly/layout.ts";
import * as ops from "../../../kernels-as/assembly/ops.ts";
import { ReflowError } from "../../common/errors.ts";
import type {
  AdamWOptions,
  AttentionShape,
  Backend,
  DType,
  MatmulOptions,
  RopeOptions,
  Tensor,
} from "../contract/backend.ts";
import { checkShapes } from "../contract/tensors.ts";
import { WasmDevice } from "./device.ts";
import { type Build, chooseBuild, compileKernels, type KernelExports } from "./kernels.ts";
import { canShareMemory, defaultThreads, startThread } from "./threads.ts";

export interface WasmOptions {
  /** Number of threads, including the calling one. Default: all cores. More than 1 requires shared memory. */
  threads?: number;
  /**
   * URL of a folder, ending in a slash, that contains the kernels and `worker.js`. Required in bundles; otherwise they are
   * found among the sources.
   *
   * @example
   * // bun build app.ts --target browser --minify --splitting --outdir dist \
   * //   --external "node:*" --external "bun:*" --external webgpu
   * // bun build node_modules/reflow/dist/runtime/backend/wasm/worker.js --target browser --outdir dist/reflow
   * // cp node_modules/reflow/dist/kernels-as/build/*.wasm dist/reflow
   * const backend = await createWasmBackend({ assets: new URL("reflow/", document.baseURI) });
   */
  assets?: URL;
  /**
   * A compiled plain build of the kernels, for environments that cannot fetch or compile code: Cloudflare Workers import
   * it. Runs on one thread.
   */
  module?: WebAssembly.Module;
  /** Use this build instead of the fastest that the engine validates; for tests. */
  build?: Build;
}

/**
 * Compiles the fastest build of the kernels and starts its threads.
 *
 * @example
 * const backend = await createWasmBackend();
 * const x = backend.alloc([2, 3]);
 */
export async function createWasmBackend(options: WasmOptions = {}): Promise<WasmBackend> {
  const wanted = options.threads ?? defaultThreads();
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > 256) {
    throw new ReflowError("usage", `threads is ${wanted}`, "use a whole number from 1 to 256");
  }
  const mayShare = wanted > 1 && !options.module && canShareMemory();
  const shared = options.build ? options.build.endsWith("shared") : mayShare;
  const threads = shared ? wanted : 1;
  const build = options.build ?? chooseBuild(shared);
  const module = options.module ?? (await compileKernels(build, options.assets));
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared });
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const workers = await Promise.all(
    Array.from({ length: threads - 1 }, (_, i) =>
      startThread(options.assets, { module, memory, thread: i + 1 }),
    ),
  );
  return new WasmBackend(exports as KernelExports, memory, workers, build);
}

/** Products of at most this many rows run MATVEC, which reads each weight once, unpacked. */
const MATVEC_ROWS = 8;
/** Activations rounded to int8 that a thread holds at a time. */
const ROUNDED_VALUES = 2 ** 18;
const WEIGHT_TYPE: Partial<Record<DType, number>> = { f32: ops.F32, f16: ops.F16, i8: ops.I8 };

const last = (t: Tensor) => t.shape[t.shape.length - 1];
// These run for every op, a hundred times per decoded token: plain loops halve the cost of the checks.
function hasShape(t: Tensor, ...shape: number[]): boolean {
  return equal(t.shape, shape);
}
function sameShape(first: Tensor, ...others: Tensor[]): boolean {
  for (let i = 0; i < others.length; i++) if (!equal(first.shape, others[i].shape)) return false;
  return true;
}
function equal(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
/** Whether the last dimensions of x are those of b. */
const broadcasts = (x: Tensor, b: Tensor) => sameShape({ ...x, shape: x.shape.slice(-b.shape.length) }, b);

/** The {@link Backend} contract on the kernels of `kernels-as/`. Ops have run when they return. */
export class WasmBackend extends WasmDevice implements Backend {
  // ---- whole tensors ---------------------------------------------------------------------------------------

  fill(x: Tensor, value: number): void {
    checkShapes(x.dtype === "f32", "fill", x);
    this.float(2, value);
    this.run(ops.FILL, x.size / 8, x, x.size);
  }

  copy(out: Tensor, x: Tensor): void {
    checkShapes(
      sameShape(out, x) && out.dtype === x.dtype && (x.dtype === "f32" || x.dtype === "i32"),
      "copy",
      out,
      x,
    );
    this.run(ops.COPY, x.size / 4, out, x, x.size);
  }

  add(out: Tensor, a: Tensor, b: Tensor): void {
    checkShapes(sameShape(out, a, b), "add", out, a, b);
    this.run(ops.ADD, out.size / 4, out, a, b, out.size);
  }

  addBroadcast(x: Tensor, b: Tensor): void {
    checkShapes(broadcasts(x, b), "addBroadcast", x, b);
    this.run(ops.ADD_BROADCAST, x.size / 4, x, b, x.size / b.size, b.size);
  }

  sumBroadcast(db: Tensor, dx: Tensor): void {
    checkShapes(broadcasts(dx, db), "sumBroadcast", db, dx);
    this.run(ops.SUM_BROADCAST, dx.size / 4, db, dx, dx.size / db.size, db.size);
  }

  // ---- matrices --------------------------------------------------------------------------------------------

  matmul(out: Tensor, a: Tensor, b: Tensor, options: MatmulOptions = {}): void {
    const { transA = false, transB = false, accumulate = false } = options;
    const [M, K] = transA ? [a.shape[1], a.shape[0]] : a.shape;
    const [N, inner] = transB ? b.shape : [b.shape[1], b.shape[0]];
    const type = WEIGHT_TYPE[b.dtype];
    const fits = out.shape[0] === M && out.shape[1] === N && inner === K && type !== undefined;
    checkShapes(fits && (type === ops.F32 || (transB && !transA)), "matmul", out, a, b);
    if (transB && !transA && (M <= MATVEC_ROWS || type === ops.I8)) {
      this.#matvec([out], a, [b], accumulate);
    } else {
      this.run(ops.GEMM, (M * N * K) / 20, out, a, b, type!, M, N, K, +transA, +transB, +accumulate);
    }
  }

  linears(outs: readonly Tensor[], x: Tensor, weights: readonly Tensor[]): void {
    const [M, K] = x.shape;
    const { dtype } = weights[0];
    for (let i = 0; i < outs.length; i++) {
      const fits = hasShape(weights[i], weights[i].shape[0], K) && hasShape(outs[i], M, weights[i].shape[0]);
      checkShapes(fits && weights[i].dtype === dtype, "linears", outs[i], x, weights[i]);
    }
    if (M <= MATVEC_ROWS || dtype === "i8") this.#matvec(outs, x, weights, false);
    else for (let i = 0; i < outs.length; i++) this.matmul(outs[i], x, weights[i], { transB: true });
  }

  #matvec(outs: readonly Tensor[], x: Tensor, weights: readonly Tensor[], accumulate: boolean): void {
    const [M, K] = x.shape;
    const type = WEIGHT_TYPE[weights[0].dtype]!;
    const rows = type === ops.I8 ? Math.max(1, Math.min(M, Math.floor(ROUNDED_VALUES / K))) : M;
    if (type === ops.I8) this.reserveScratch(this.exports.matvecScratch(rows, K));
    for (let m = 0; m < M; m += rows) {
      const count = Math.min(rows, M - m);
      const part = (t: Tensor) => (count === M ? t : this.view(t, [count, t.shape[1]], m * t.shape[1]));
      const operands: (Tensor | number)[] = [];
      let columns = 0;
      for (let i = 0; i < weights.length; i++) {
        const w = weights[i];
        operands.push(part(outs[i]), w, w.scale ?? 0, w.shape[0]);
        columns += w.shape[0];
      }
      const nanoseconds = (count * columns * K) / 20;
      this.run(ops.MATVEC, nanoseconds, part(x), type, count, K, +accumulate, weights.length, ...operands);
    }
  }

  // ---- tables ----------------------------------------------------------------------------------------------

  gather(out: Tensor, table: Tensor, ids: Tensor): void {
    const type = WEIGHT_TYPE[table.dtype];
    const C = last(table);
    checkShapes(
      out.size === ids.size * C && ids.dtype === "i32" && type !== undefined,
      "gather",
      out,
      table,
      ids,
    );
    this.run(ops.GATHER, out.size / 4, out, table, table.scale ?? 0, type!, ids, ids.size, C);
  }

  scatterAdd(dTable: Tensor, ids: Tensor, dOut: Tensor): void {
    const C = last(dTable);
    checkShapes(dOut.size === ids.size * C && ids.dtype === "i32", "scatterAdd", dTable, ids, dOut);
    this.run(ops.SCATTER_ADD, dOut.size / 4, dTable, ids, dOut, ids.size, C);
  }

  topk(out: Tensor, x: Tensor, k: number): void {
    const C = last(x);
    checkShapes(sameShape(out, x) && k >= 1 && k <= C, "topk", out, x);
    this.run(ops.TOPK, x.size * 10, out, x, x.size / C, C, k);
  }

  topkBackward(dx: Tensor, dOut: Tensor, out: Tensor): void {
    checkShapes(sameShape(dx, dOut, out), "topkBackward", dx, dOut, out);
    this.run(ops.TOPK_BACKWARD, dx.size, dx, dOut, out, dx.size);
  }

  // ---- norms -----------------------------------------------------------------------------------------------

  rmsnorm(out: Tensor, rstd: Tensor, x: Tensor, weight: Tensor): void {
    const C = weight.size;
    checkShapes(sameShape(out, x) && x.size === rstd.size * C, "rmsnorm", out, rstd, x, weight);
    this.run(ops.RMSNORM, x.size / 2, out, rstd, x, weight, rstd.size, C);
  }

  rmsnormBackward(dx: Tensor, dWeight: Tensor, dOut: Tensor, x: Tensor, weight: Tensor, rstd: Tensor): void {
    const C = weight.size;
    checkShapes(
      sameShape(dx, dOut, x) && sameShape(dWeight, weight) && x.size === rstd.size * C,
      "rmsnormBackward",
      dx,
      x,
      weight,
    );
    this.run(ops.RMSNORM_BACKWARD, x.size, dx, dWeight, dOut, x, weight, rstd, rstd.size, C);
  }

  layernorm(out: Tensor, stats: Tensor, x: Tensor, weight: Tensor, bias: Tensor): void {
    const C = weight.size;
    const fits = sameShape(out, x) && sameShape(weight, bias) && 2 * x.size === stats.size * C;
    checkShapes(fits, "layernorm", out, stats, x, weight, bias);
    this.run(ops.LAYERNORM, 2 * x.size, out, stats, x, weight, bias, x.size / C, C);
  }

  layernormBackward(
    dx: Tensor,
    dWeight: Tensor,
    dBias: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Tensor,
    stats: Tensor,
  ): void {
    const C = weight.size;
    const fits = sameShape(dx, dOut, x) && sameShape(weight, dWeight, dBias) && 2 * x.size === stats.size * C;
    checkShapes(fits, "layernormBackward", dx, x, weight, stats);
    this.run(ops.LAYERNORM_BACKWARD, 3 * x.size, dx, dWeight, dBias, dOut, x, weight, stats, x.size / C, C);
  }

  // ---- attention -------------------------------------------------------------------------------------------

  rope(x: Tensor, table: Tensor, options: RopeOptions): void {
    const { length, heads, headDim, inverse = false, start } = options;
    const rows = x.size / (heads * headDim);
    const positions = table.size / headDim;
    const fits = rows % length === 0 && headDim % 2 === 0 && length <= positions;
    checkShapes(fits && (!start || start.size * length === rows), "rope", x, table);
    this.run(ops.ROPE, x.size / 2, x, table, start ?? 0, rows, length, heads, headDim, +inverse);
  }

  attention(out: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape): void {
    const { batch: B, length: T, heads: H, kvHeads: KV, headDim: D } = shape;
    const fits =
      q.size === B * T * H * D && k.size === B * T * KV * D && H % KV === 0 && hasShape(lse, B * H, T);
    checkShapes(fits && sameShape(out, q) && sameShape(k, v), "attention", out, lse, q, k, v);
    this.reserveScratch(this.exports.attentionScratch(T, D));
    this.run(ops.ATTENTION, (B * H * T * T * D) / 20, out, lse, q, k, v, B, T, H, KV, D);
  }

  attentionBackward(
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    dOut: Tensor,
    out: Tensor,
    lse: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    shape: AttentionShape,
  ): void {
    const { batch: B, length: T, heads: H, kvHeads: KV, headDim: D } = shape;
    const fits =
      q.size === B * T * H * D && k.size === B * T * KV * D && H % KV === 0 && hasShape(lse, B * H, T);
    checkShapes(
      fits && sameShape(dq, dOut, out, q) && sameShape(dk, dv, k, v),
      "attentionBackward",
      dq,
      dk,
      dv,
      q,
      k,
      v,
    );
    this.reserveScratch(this.exports.attentionBackwardScratch(T, D));
    this.run(
      ops.ATTENTION_BACKWARD,
      (B * H * T * T * D) / 8,
      ...[dq, dk, dv, dOut, out, lse, q, k, v],
      ...[B, T, H, KV, D],
    );
  }

  writeCache(cache: Tensor, x: Tensor, start: Tensor): void {
    const [B, context, C] = cache.shape;
    const T = x.size / (B * C);
    checkShapes(Number.isInteger(T) && T <= context && start.size === B, "writeCache", cache, x, start);
    this.run(ops.WRITE_CACHE, x.size / 4, cache, x, start, B, T, C, context);
  }

  attentionCached(
    out: Tensor,
    q: Tensor,
    kCache: Tensor,
    vCache: Tensor,
    start: Tensor,
    shape: AttentionShape,
  ): void {
    const { batch: B, length: T, heads: H, kvHeads: KV, headDim: D } = shape;
    const [slots, context, C] = kCache.shape;
    const fits = q.size === B * T * H * D && slots === B && C === KV * D && H % KV === 0 && start.size === B;
    checkShapes(
      fits && sameShape(out, q) && sameShape(kCache, vCache),
      "attentionCached",
      out,
      q,
      kCache,
      vCache,
      start,
    );
    this.reserveScratch(this.exports.attentionCachedScratch(context));
    // The number of cached positions is on the device: the estimate assumes half the context.
    const nanoseconds = (B * T * H * D * context) / 4;
    this.run(ops.ATTENTION_CACHED, nanoseconds, out, q, kCache, vCache, start, B, T, H, KV, D, context);
  }

  // ---- activations -----------------------------------------------------------------------------------------

  swiglu(out: Tensor, gate: Tensor, up: Tensor): void {
    checkShapes(sameShape(out, gate, up), "swiglu", out, gate, up);
    this.run(ops.SWIGLU, 3 * out.size, out, gate, up, out.size);
  }

  swigluBackward(dGate: Tensor, dUp: Tensor, dOut: Tensor, gate: Tensor, up: Tensor): void {
    checkShapes(sameShape(dGate, dUp, dOut, gate, up), "swigluBackward", dGate, dUp, dOut, gate, up);
    this.run(ops.SWIGLU_BACKWARD, 4 * dOut.size, dGate, dUp, dOut, gate, up, dOut.size);
  }

  gelu(out: Tensor, x: Tensor): void {
    checkShapes(sameShape(out, x), "gelu", out, x);
    this.run(ops.GELU, 3 * x.size, out, x, x.size);
  }

  geluBackward(dx: Tensor, dOut: Tensor, x: Tensor): void {
    checkShapes(sameShape(dx, dOut, x), "geluBackward", dx, dOut, x);
    this.run(ops.GELU_BACKWARD, 4 * x.size, dx, dOut, x, x.size);
  }

  // ---- loss and optimizer ----------------------------------------------------------------------------------

  crossEntropy(losses: Tensor, logits: Tensor, targets: Tensor, scale: number): void {
    const V = last(logits);
    const fits = losses.size * V === logits.size && sameShape(losses, targets) && targets.dtype === "i32";
    checkShapes(fits, "crossEntropy", losses, logits, targets);
    this.float(5, scale);
    this.run(ops.CROSS_ENTROPY, logits.size, losses, logits, targets, losses.size, V);
  }

  globalNorm(norm: Tensor, tensors: readonly Tensor[]): void {
    checkShapes(norm.size === 1, "globalNorm", norm);
    let partialSums = 0;
    for (const x of tensors) {
      this.run(ops.SUM_SQUARES, x.size / 8, x, x.size, partialSums);
      partialSums += Math.ceil(x.size / SUM_SQUARES_CHUNK);
    }
    this.run(ops.NORM, partialSums, norm, partialSums);
  }

  adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, norm: Tensor, options: AdamWOptions): void {
    checkShapes(sameShape(param, grad, m, v) && norm.size === 1, "adamw", param, grad, m, v, norm);
    const { lr, beta1, beta2, eps, weightDecay, step, clip } = options;
    const floats = [lr, beta1, beta2, eps, weightDecay, 1 - beta1 ** step, 1 - beta2 ** step, clip];
    for (let i = 0; i < floats.length; i++) this.float(6 + i, floats[i]);
    this.run(ops.ADAMW, param.size, param, grad, m, v, norm, param.size);
  }
}
