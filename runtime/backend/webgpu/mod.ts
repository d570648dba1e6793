import { ReflowError } from "../../common/errors.ts";
import type {
  AdamWOptions,
  AttentionShape,
  Backend,
  MatmulOptions,
  RopeOptions,
  Tensor,
} from "../contract/backend.ts";
import { adapterName, requestAdapter } from "./device/adapters.ts";
import { WebgpuDevice } from "./device/device.ts";
import { describeTier, FEATURES, type Precision, possibleTiers } from "./device/tier.ts";
import * as attention from "./kernels/attention.ts";
import * as elementwise from "./kernels/elementwise.ts";
import * as tables from "./kernels/gather.ts";
import * as loss from "./kernels/loss.ts";
import * as matmul from "./kernels/matmul.ts";
import * as norms from "./kernels/norms.ts";
import * as optimizer from "./kernels/optimizer.ts";
import * as rope from "./kernels/rope.ts";
import { selfTest } from "./self-test.ts";

export interface WebgpuOptions {
  /** Index in `listAdapters()`. Default: the adapter that the platform prefers. */
  adapter?: number;
  /** Precision of the factors of matrix products. Default: `f32`. */
  precision?: Precision;
}

/** Relative tolerance of the self-test's results against the CPU's. */
const TOLERANCE = 1e-4;

/**
 * Requests a device with the largest buffers that the adapter offers, and the first tier whose features the adapter has
 * and whose results agree with the CPU's.
 *
 * @throws ReflowError `device` if there is no adapter, or if no tier passes the self-test
 * @example
 * const backend = await createWebgpuBackend();
 * const x = backend.alloc([2, 3]);
 */
export async function createWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const { features, info, limits } = await requestAdapter(options.adapter);
  const { maxBufferSize, maxStorageBufferBindingSize } = limits;
  const requiredLimits = { maxBufferSize, maxStorageBufferBindingSize };
  const requiredFeatures = FEATURES.filter((name) => features.has(name)) as GPUFeatureName[];
  const { tiers, missing: reasons } = possibleTiers({ features, info }, options.precision ?? "f32");
  const name = adapterName(info);
  for (const tier of tiers) {
    // An adapter provides one device, and a tier that breaks its device must not affect the next tier.
    const adapter = await requestAdapter(options.adapter);
    const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
    const backend = new WebgpuBackend(gpu, tier, `webgpu (${name}; ${describeTier(tier)})`, reasons);
    const failure = await selfTest(backend, tier, TOLERANCE);
    if (!failure) return backend;
    backend.dispose();
    reasons.push(`${describeTier(tier)}: ${failure}`);
  }
  throw new ReflowError(
    "device",
    `${name} failed its self-test: ${reasons.at(-1)}`,
    "update its driver, or use --device wasm",
  );
}

/** The {@link Backend} contract on the WGSL kernels in `kernels/`. Ops are recorded, and run at the next read. */
export class WebgpuBackend extends WebgpuDevice implements Backend {
  fill(x: Tensor, value: number): void {
    elementwise.fill(this, x, value);
  }
  copy(out: Tensor, x: Tensor): void {
    elementwise.copy(this, out, x);
  }
  add(out: Tensor, a: Tensor, b: Tensor): void {
    elementwise.add(this, out, a, b);
  }
  addBroadcast(x: Tensor, b: Tensor): void {
    elementwise.addBroadcast(this, x, b);
  }
  sumBroadcast(db: Tensor, dx: Tensor): void {
    norms.sumBroadcast(this, db, dx);
  }

  matmul(out: Tensor, a: Tensor, b: Tensor, options: MatmulOptions = {}): void {
    matmul.matmul(this, out, a, b, options);
  }
  linears(outs: readonly Tensor[], x: Tensor, weights: readonly Tensor[]): void {
    matmul.linears(this, outs, x, weights);
  }

  gather(out: Tensor, table: Tensor, ids: Tensor): void {
    tables.gather(this, out, table, ids);
  }
  scatterAdd(dTable: Tensor, ids: Tensor, dOut: Tensor): void {
    tables.scatterAdd(this, dTable, ids, dOut);
  }
  topk(out: Tensor, x: Tensor, k: number): void {
    tables.topk(this, out, x, k);
  }
  topkBackward(dx: Tensor, dOut: Tensor, out: Tensor): void {
    tables.topkBackward(this, dx, dOut, out);
  }

  rmsnorm(out: Tensor, rstd: Tensor, x: Tensor, weight: Tensor): void {
    norms.rmsnorm(this, out, rstd, x, weight);
  }
  rmsnormBackward(dx: Tensor, dWeight: Tensor, dOut: Tensor, x: Tensor, weight: Tensor, rstd: Tensor): void {
    norms.rmsnormBackward(this, dx, dWeight, dOut, x, weight, rstd);
  }
  layernorm(out: Tensor, stats: Tensor, x: Tensor, weight: Tensor, bias: Tensor): void {
    norms.layernorm(this, out, stats, x, weight, bias);
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
    norms.layernormBackward(this, dx, dWeight, dBias, dOut, x, weight, stats);
  }

  rope(x: Tensor, table: Tensor, options: RopeOptions): void {
    rope.rope(this, x, table, options);
  }
  attention(out: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape): void {
    attention.attention(this, out, lse, q, k, v, shape);
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
    attention.attentionBackward(this, dq, dk, dv, dOut, out, lse, q, k, v, shape);
  }
  writeCache(cache: Tensor, x: Tensor, start: Tensor): void {
    attention.writeCache(this, cache, x, start);
  }
  attentionCached(
    out: Tensor,
    q: Tensor,
    kCache: Tensor,
    vCache: Tensor,
    start: Tensor,
    shape: AttentionShape,
  ): void {
    attention.attentionCached(this, out, q, kCache, vCache, start, shape);
  }

  swiglu(out: Tensor, gate: Tensor, up: Tensor): void {
    elementwise.swiglu(this, out, gate, up);
  }
  swigluBackward(dGate: Tensor, dUp: Tensor, dOut: Tensor, gate: Tensor, up: Tensor): void {
    elementwise.swigluBackward(this, dGate, dUp, dOut, gate, up);
  }
  gelu(out: Tensor, x: Tensor): void {
    elementwise.gelu(this, out, x);
  }
  geluBackward(dx: Tensor, dOut: Tensor, x: Tensor): void {
    elementwise.geluBackward(this, dx, dOut, x);
  }

  crossEntropy(losses: Tensor, logits: Tensor, targets: Tensor, scale: number): void {
    loss.crossEntropy(this, losses, logits, targets, scale);
  }
  globalNorm(norm: Tensor, tensors: readonly Tensor[]): void {
    optimizer.globalNorm(this, norm, tensors);
  }
  adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, norm: Tensor, options: AdamWOptions): void {
    optimizer.adamw(this, param, grad, m, v, norm, options);
  }
}
