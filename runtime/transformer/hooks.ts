import { closest } from "fastest-levenshtein";
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { displayValue } from "../common/validation.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";

/** The rows of one forward pass: B sequences of T tokens. */
export interface HookRows {
  batch: number;
  length: number;
  /** (B,T): each row's position in its sequence. */
  positions: Int32Array;
  /** (B): the index of each sequence in the caller's list. Sequences move within a batch when others end. */
  sequences: Int32Array;
}

/** Called by the forward pass at each hook point; without hooks nothing is called. */
export interface HookSet {
  has(name: string): boolean;
  /** `tensor` holds the activation, of shape (B,T,…inner) or `shape`; it may be changed in place. */
  at(name: string, tensor: Tensor, shape: readonly number[], rows: HookRows): Promise<void>;
}

/** A value of the forward pass, on the host. */
export interface Activation extends HookRows {
  name: string;
  /**
   * (B,T,d) in the residual stream, the norm and both branches' outputs; (B,T,H,D) for q and z, (B,T,K,D) for k and v;
   * (B,H,T,positions) for the pattern; (B,T,d_ff) in the MLP; (B,T,S) for recipes and signals; (B,T,V) for logits.
   */
  shape: readonly number[];
  data: Float32Array;
}

/** Receives an activation. It may edit `data` in place, return a replacement, or both (the replacement then wins). */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that only looks has no return statement
export type HookFunction = (activation: Activation) => void | Float32Array | Promise<void | Float32Array>;
/** Selects hook points: a name, or a predicate over names. */
export type HookName = string | ((name: string) => boolean);
export type Hook = readonly [HookName, HookFunction];

/** The hook points after the blocks. The readout is computed only if one of them is used. */
export const READOUT_HOOKS: readonly string[] = ["ln_final.hook_normalized", "hook_signals", "hook_logits"];

/**
 * Every hook point of a model, in the order of the forward pass. The names are those of TransformerLens, plus
 * `hook_recipe` and `hook_signals`.
 *
 * - `hook_q`, `hook_k` are before RoPE, `hook_rot_q`, `hook_rot_k` after it (absent with learned positions)
 * - `hook_pattern` is the attention's softmax; `hook_z` its output, before `attn.o`
 * - `mlp.hook_pre` is before the nonlinearity (that of the gate in gated MLPs), `mlp.hook_post` the input of `mlp.down`
 * - `ln_final.hook_normalized` is the input of the readout, after the norm's weight and bias
 * - `hook_recipe`, the looked-up rows of R, and `hook_signals`, z before the recipes, exist in factored models
 */
export function hookNames(config: ModelConfig): string[] {
  const { factored, position } = architectureOf(config);
  const block = [
    "hook_resid_pre",
    ...["q", "k", "v"].map((x) => `attn.hook_${x}`),
    ...(position === "rope" ? ["attn.hook_rot_q", "attn.hook_rot_k"] : []),
    "attn.hook_pattern",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_pre",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
  ];
  return [
    ...(factored ? ["hook_recipe"] : []),
    "hook_embed",
    ...Array.from({ length: config.n_layers }, (_, l) => block.map((name) => `blocks.${l}.${name}`)).flat(),
    ...READOUT_HOOKS.filter((name) => factored || name !== "hook_signals"),
  ];
}

/**
 * The names of the selected hook points.
 *
 * @throws ReflowError `usage` for an unknown name, suggesting the nearest one, and for a predicate that no name satisfies,
 *   because such a hook would never be called
 */
export function resolveHookNames(config: ModelConfig, which: HookName): string[] {
  const names = hookNames(config);
  if (typeof which === "function") {
    const chosen = names.filter(which);
    if (chosen.length > 0) return chosen;
    throw new ReflowError(
      "usage",
      "no hook point satisfies the predicate",
      `the names are ${names.join(", ")}`,
    );
  }
  if (names.includes(which)) return [which];
  throw new ReflowError(
    "usage",
    `no hook point ${displayValue(which)} in this ${config.variant} of ${config.n_layers} layers`,
    `did you mean ${JSON.stringify(closest(which, names))}?`,
  );
}

/** Hooks that run on the host. Several at one point run in the given order. */
export function hostHooks(backend: Backend, config: ModelConfig, hooks: readonly Hook[]): HookSet {
  const functions = new Map<string, HookFunction[]>();
  for (const [which, hook] of hooks) {
    for (const name of resolveHookNames(config, which)) {
      functions.set(name, [...(functions.get(name) ?? []), hook]);
    }
  }
  return {
    has: (name) => functions.has(name),
    async at(name, tensor, shape, rows) {
      for (const hook of functions.get(name) ?? []) {
        const data = (await backend.read(tensor)) as Float32Array;
        const original = data.slice();
        const replacement = (await hook({ ...rows, name, shape, data })) ?? data;
        // A hook that only looks must not write: a backend may hold the value in more than f32.
        if (replacement.length === data.length && replacement.every((x, i) => Object.is(x, original[i])))
          continue;
        if (!(replacement instanceof Float32Array) || replacement.length !== data.length) {
          throw new ReflowError(
            "usage",
            `the hook at ${name} returned ${replacement.constructor.name}(${replacement.length})`,
            `return a Float32Array of ${data.length} values, shape (${shape}), or nothing`,
          );
        }
        backend.write(tensor, replacement);
      }
    },
  };
}

/** Combines sets of hooks: at a common point they act in order. Undefined if all are. */
export function chainHooks(...sets: readonly (HookSet | undefined)[]): HookSet | undefined {
  const there = sets.filter((set) => set !== undefined);
  if (there.length <= 1) return there[0];
  return {
    has: (name) => there.some((set) => set.has(name)),
    async at(name, ...activation) {
      for (const set of there) if (set.has(name)) await set.at(name, ...activation);
    },
  };
}

/** Inputs of `hook_pattern`: rotated queries, and the cache with the keys and values up to each row's position. */
export interface PatternInputs {
  /** (B·T, H·D) */
  q: Tensor;
  /** (B, context, K·D) */
  k: Tensor;
  v: Tensor;
  /** (B·T, H·D): the attention's output, recomputed for rows whose pattern the hook changed. */
  z: Tensor;
  heads: number;
  kvHeads: number;
}

/**
 * The attention pattern (B,H,T,P), where P is the last row's position + 1. No kernel materialises it, so it is computed
 * on the host for the hook. Rows that the hook changes are applied to v again; the other rows of z keep their bits.
 */
export async function hookPattern(
  backend: Backend,
  hooks: HookSet,
  name: string,
  { q, k, v, z, heads: H, kvHeads: K }: PatternInputs,
  rows: HookRows,
): Promise<void> {
  if (!hooks.has(name)) return;
  const { batch: B, length: T, positions } = rows;
  const D = q.shape[1] / H;
  const context = k.shape[1];
  const P = positions.reduce((a, b) => Math.max(a, b)) + 1;
  const [queries, keys] = [(await backend.read(q)) as Float32Array, (await backend.read(k)) as Float32Array];
  const pattern = new Float32Array(B * H * T * P);
  /** Calls `visit` with the offsets of each row of the pattern, of its query (or z) and of its first key (or value). */
  const eachRow = (visit: (row: number, query: number, key: number, seen: number) => void) => {
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let t = 0; t < T; t++) {
          const key = (b * context * K + Math.floor((h * K) / H)) * D;
          visit(((b * H + h) * T + t) * P, ((b * T + t) * H + h) * D, key, positions[b * T + t] + 1);
        }
      }
    }
  };
  eachRow((row, query, key, seen) => {
    let most = -Infinity;
    for (let s = 0; s < seen; s++) {
      let score = 0;
      for (let i = 0; i < D; i++) score += queries[query + i] * keys[key + s * K * D + i];
      pattern[row + s] = score / Math.sqrt(D);
      most = Math.max(most, pattern[row + s]);
    }
    let sum = 0;
    for (let s = 0; s < seen; s++) {
      pattern[row + s] = Math.exp(pattern[row + s] - most);
      sum += pattern[row + s];
    }
    for (let s = 0; s < seen; s++) pattern[row + s] /= sum;
  });
  const tensor = backend.alloc([B, H, T, P]);
  try {
    backend.write(tensor, pattern);
    await hooks.at(name, tensor, tensor.shape, rows);
    const changed = (await backend.read(tensor)) as Float32Array;
    if (changed.every((x, i) => Object.is(x, pattern[i]))) return;
    const values = (await backend.read(v)) as Float32Array;
    const out = (await backend.read(z)) as Float32Array;
    eachRow((row, query, key, seen) => {
      let same = true;
      for (let s = 0; s < P; s++) same &&= changed[row + s] === pattern[row + s];
      if (same) return;
      for (let i = 0; i < D; i++) {
        let sum = 0;
        for (let s = 0; s < seen; s++) sum += changed[row + s] * values[key + s * K * D + i];
        out[query + i] = sum;
      }
    });
    backend.write(z, out);
  } finally {
    backend.free(tensor);
  }
}
