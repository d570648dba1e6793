import { describe, expect, test } from "bun:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { isFactored, type ModelConfig, VARIANTS } from "../../../runtime/config/config.ts";
import { HostTensor } from "../../../runtime/math/host-tensor.ts";
import { Model } from "../../../runtime/model/model.ts";
import { type Activation, type HookFunction, hookNames } from "../../../runtime/transformer/hooks.ts";
import { PREFILL_ROWS } from "../../../runtime/transformer/inference.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { makeModel, onBackends, randomIds, randomValues, tinyConfig } from "./inference-support.ts";

const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, what: string) =>
  assertClose(actual, expected, { relative: 1e-5 }, what);

/** a (rows, inner) · bᵀ, with b (columns, inner) */
function product(a: Float32Array, b: Float32Array, inner: number): Float32Array {
  const [rows, columns] = [a.length / inner, b.length / inner];
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const [r, c] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let i = 0; i < inner; i++) sum += a[r * inner + i] * b[c * inner + i];
    return sum;
  });
}

const sum = (a: Float32Array, b: Float32Array) => a.map((x, i) => x + b[i]);

async function setUp(backend: Backend, config: ModelConfig, B = 2, T = 7) {
  const values = randomValues(config);
  const model = new Model(await makeModel(backend, config, "f32", values));
  const ids = Array.from({ length: B }, (_, b) => randomIds(config, T, b));
  return { model, ids, values };
}

onBackends((backend) => {
  for (const variant of VARIANTS) {
    const config = tinyConfig(variant);

    test(`${variant}: every hook point is cached in order with its shape`, async () => {
      const { model, ids } = await setUp(backend(), config);
      const cache = await model.runWithCache(ids);
      expect([...cache.keys()]).toEqual(hookNames(config));
      const { d_model: d, n_heads: H, n_kv_heads: K, d_ff, n_signals: S = 0, vocab_size: V } = config;
      const inner: Record<string, number[]> = {
        hook_recipe: [S],
        hook_signals: [S],
        hook_logits: [V],
        hook_q: [H, d / H],
        hook_rot_q: [H, d / H],
        hook_k: [K, d / H],
        hook_rot_k: [K, d / H],
        hook_v: [K, d / H],
        hook_z: [H, d / H],
        hook_pre: [d_ff],
        hook_post: [d_ff],
      };
      for (const [name, { shape, data }] of cache) {
        const last = name.slice(name.lastIndexOf(".") + 1);
        expect(shape).toEqual(last === "hook_pattern" ? [2, H, 7, 7] : [2, 7, ...(inner[last] ?? [d])]);
        expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
      }
    });

    test(`${variant}: activations satisfy the equations of the model`, async () => {
      const { model, ids, values } = await setUp(backend(), config);
      const cache = await model.runWithCache(ids);
      const at = (name: string) => cache.get(name)!.data;
      const { d_model: d, n_layers: L } = config;
      if (isFactored(config)) {
        const S = config.n_signals!;
        close(
          product(at("ln_final.hook_normalized"), values.get("basis")!, d),
          at("hook_signals"),
          "z = n·Bᵀ",
        );
        if (variant !== "reflow-topk") {
          const rows = ids
            .flatMap((sequence) => [...sequence])
            .flatMap((id) => [...values.get("recipe")!.subarray(id * S, (id + 1) * S)]);
          close(at("hook_recipe"), rows, "R[ids]");
          close(product(at("hook_signals"), values.get("recipe")!, S), at("hook_logits"), "logits = z·Rᵀ");
        }
      }
      for (let l = 0; l < L; l++) {
        const block = (name: string) => at(`blocks.${l}.${name}`);
        close(sum(block("hook_resid_pre"), block("hook_attn_out")), block("hook_resid_mid"), "resid_mid");
        close(sum(block("hook_resid_mid"), block("hook_mlp_out")), block("hook_resid_post"), "resid_post");
        close(
          attend(cache.get(`blocks.${l}.attn.hook_pattern`)!, cache.get(`blocks.${l}.attn.hook_v`)!),
          block("attn.hook_z"),
          "z = pattern·v",
        );
        if (variant !== "gpt2") {
          // RoPE is the identity at position 0 and preserves lengths.
          const [q, rotated] = [block("attn.hook_q"), block("attn.hook_rot_q")];
          close(rotated.subarray(0, d), q.subarray(0, d), "position 0");
          expect(rotated.subarray(d, 2 * d)).not.toEqual(q.subarray(d, 2 * d));
          close([Math.hypot(...rotated)], [Math.hypot(...q)], "length");
          close(
            product(block("attn.hook_z"), values.get(`blocks.${l}.attn.o.weight`)!, d),
            block("hook_attn_out"),
            "attn_out = z·Wᵀ",
          );
        }
      }
      const logits = await model.forward(ids);
      close(at("hook_logits"), logits.data, "logits");
    });

    test(`${variant}: a replacement takes effect in the rest of the forward pass`, async () => {
      const { model, ids } = await setUp(backend(), config);
      const plain = await model.forward(ids);
      const changed = new Set<string>();
      for (const name of hookNames(config)) {
        const zeroed = await model.runWithHooks(ids, { hooks: [[name, ({ data }) => data.fill(0)]] });
        if (zeroed.data.some((x, i) => x !== plain.data[i])) changed.add(name);
      }
      expect([...changed]).toEqual(hookNames(config));
      const bias = await model.runWithHooks(ids, {
        hooks: [["hook_logits", ({ data }) => data.map((x) => x + 1)]],
      });
      close(
        bias.data,
        plain.data.map((x) => x + 1),
        "logits + 1",
      );
    });
  }

  test("replacing hook_embed by zeros equals an embedding of zeros", async () => {
    for (const variant of ["reflow", "gpt2"] as const) {
      const config = tinyConfig(variant);
      const { model, ids, values } = await setUp(backend(), config);
      const table = variant === "gpt2" ? "embedding" : "recipe";
      const zeros = values.get(table)!.map(() => 0);
      const zeroed = await makeModel(backend(), config, "f32", new Map(values).set(table, zeros));
      const cache = await new Model(zeroed).runWithCache(ids, { namesFilter: "ln_final.hook_normalized" });
      // Compared before the head, which reads the same table.
      const seen: Float32Array[] = [];
      await model.runWithHooks(ids, {
        hooks: [
          ["hook_embed", ({ data }) => data.fill(0)],
          ["ln_final.hook_normalized", ({ data }) => void seen.push(data)],
        ],
      });
      close(seen[0], cache.get("ln_final.hook_normalized")!.data, variant);
    }
  });

  test("swapping the residual streams of two sequences swaps all later activations", async () => {
    const config = tinyConfig("reflow");
    const { model, ids } = await setUp(backend(), config);
    const plain = await model.forward(ids);
    const swap = ({ data }: Activation) =>
      Float32Array.from(data, (_, i) => data[(i + data.length / 2) % data.length]);
    const swapped = await model.runWithHooks(ids, { hooks: [["blocks.0.hook_resid_post", swap]] });
    const half = plain.data.length / 2;
    close(swapped.data.subarray(0, half), plain.data.subarray(half), "first");
    close(swapped.data.subarray(half), plain.data.subarray(0, half), "second");
  });

  test("a replaced attention pattern is applied to the values", async () => {
    for (const variant of ["reflow-lite", "gpt2"] as const) {
      const { model, ids } = await setUp(backend(), tinyConfig(variant));
      const attendFirst = ({ data, shape }: Activation) => data.map((_, i) => (i % shape[3] === 0 ? 1 : 0));
      const z: Float32Array[] = [];
      await model.runWithHooks(ids, {
        hooks: [
          ["blocks.0.attn.hook_pattern", attendFirst],
          ["blocks.0.attn.hook_z", ({ data }) => void z.push(data)],
        ],
      });
      const v = (await model.runWithCache(ids)).get("blocks.0.attn.hook_v")!;
      const shape = [2, 4, 7, 7];
      const data = Float32Array.from({ length: 2 * 4 * 7 * 7 }, (_, i) => (i % 7 === 0 ? 1 : 0));
      close(z[0], attend(new HostTensor(shape, data), v), variant);
    }
  });

  test("a hook may edit in place, return a replacement, or both, and the replacement wins", async () => {
    const { model, ids } = await setUp(backend(), tinyConfig("reflow"));
    const run = (hook: HookFunction) => model.runWithHooks(ids, { hooks: [["blocks.0.hook_mlp_out", hook]] });
    const returned = await run(({ data }) => data.map(() => 0));
    const inPlace = await run(({ data }) => void data.fill(0));
    const both = await run(({ data }) => {
      data.fill(7);
      return new Float32Array(data.length);
    });
    expect(inPlace.data).toEqual(returned.data);
    expect(both.data).toEqual(returned.data);
    expect(returned.data).not.toEqual((await model.runWithHooks(ids, {})).data);
  });

  test("hooks that only read change no bit, regardless of their number", async () => {
    for (const variant of VARIANTS) {
      const { model, ids } = await setUp(backend(), tinyConfig(variant));
      const none = await model.runWithHooks(ids, { hooks: [] });
      const all = await model.runWithHooks(ids, { hooks: [[() => true, () => {}]] });
      expect(all.data).toEqual(none.data);
    }
  });
});

/** pattern (B,H,T,P) over v (B,T,K,D), as (B,T,H,D) */
function attend(pattern: HostTensor, v: HostTensor): Float32Array {
  const [B, H, T, P] = pattern.shape;
  const [, , K, D] = v.shape;
  return Float32Array.from({ length: B * T * H * D }, (_, at) => {
    const [b, t, h, i] = [
      Math.floor(at / (T * H * D)),
      Math.floor(at / (H * D)) % T,
      Math.floor(at / D) % H,
      at % D,
    ];
    let out = 0;
    for (let s = 0; s < P; s++) {
      out +=
        pattern.data[((b * H + h) * T + t) * P + s] *
        v.data[((b * P + s) * K + Math.floor((h * K) / H)) * D + i];
    }
    return out;
  });
}

test("on WASM an identity hook is bit-equal at every point", async () => {
  const { createWasmBackend } = await import("../../../runtime/backend/wasm/mod.ts");
  const backend = await createWasmBackend({ threads: 1 });
  for (const variant of VARIANTS) {
    const { model, ids } = await setUp(backend, tinyConfig(variant));
    const none = await model.runWithHooks(ids, { hooks: [] });
    const identity = await model.runWithHooks(ids, { hooks: [[() => true, ({ data }) => data]] });
    expect(identity.data).toEqual(none.data);
  }
  backend.dispose();
});

describe("selection of hooks", () => {
  const config = tinyConfig("reflow");

  test("only named hooks run, in order, with the positions of their rows", async () => {
    const { model, ids } = await setUp(new ReferenceBackend(), config, 2, 3);
    const calls: Activation[] = [];
    await model.runWithHooks(ids, {
      hooks: [
        ["blocks.1.hook_resid_pre", ({ data }) => data.fill(1)],
        [(name) => name.startsWith("blocks.1.hook_resid"), async (activation) => void calls.push(activation)],
      ],
    });
    expect(calls.map(({ name }) => name)).toEqual([
      "blocks.1.hook_resid_pre",
      "blocks.1.hook_resid_mid",
      "blocks.1.hook_resid_post",
    ]);
    const [{ batch, length, shape, data, positions, sequences }] = calls;
    expect([batch, length, ...shape]).toEqual([2, 3, 2, 3, 24]);
    expect([...positions]).toEqual([0, 1, 2, 0, 1, 2]);
    expect([...sequences]).toEqual([0, 1]);
    expect(data.every((x) => x === 1)).toBe(true);
  });

  test("namesFilter accepts a name, a list of names or a predicate", async () => {
    const { model, ids } = await setUp(new ReferenceBackend(), config);
    const kept = async (namesFilter: Parameters<Model["runWithCache"]>[1]) => [
      ...(await model.runWithCache(ids, namesFilter)).keys(),
    ];
    expect(await kept({ namesFilter: "hook_embed" })).toEqual(["hook_embed"]);
    expect(await kept({ namesFilter: ["hook_signals", "hook_embed"] })).toEqual([
      "hook_embed",
      "hook_signals",
    ]);
    expect(await kept({ namesFilter: (name) => name.endsWith("hook_z") })).toEqual([
      "blocks.0.attn.hook_z",
      "blocks.1.attn.hook_z",
    ]);
  });

  test("the readout is skipped if only earlier hooks are used", async () => {
    const backend = new ReferenceBackend();
    const { model, ids } = await setUp(backend, config);
    const widest = { value: 0 };
    const matmul = backend.matmul;
    Object.assign(backend, {
      matmul: (...args: Parameters<typeof matmul>) => {
        widest.value = Math.max(widest.value, args[0].shape[1]);
        matmul(...args);
      },
    });
    await model.runWithCache(ids, { namesFilter: "blocks.1.hook_resid_post" });
    expect(widest.value).toBeLessThan(config.vocab_size);
    await model.runWithCache(ids, { namesFilter: "hook_signals" });
    expect(widest.value).toBe(config.vocab_size);
  });

  test("unknown names are rejected, suggesting the nearest one", async () => {
    const { model, ids } = await setUp(new ReferenceBackend(), config);
    const error = await expectError(
      () => model.runWithCache(ids, { namesFilter: "blocks.1.hook_residpost" }),
      "usage",
      /no hook point "blocks.1.hook_residpost" in this reflow of 2 layers/,
    );
    expect(error.help).toBe('did you mean "blocks.1.hook_resid_post"?');
    const hooks = [["blocks.2.hook_resid_pre", () => {}]] as const;
    await expectError(() => model.runWithHooks(ids, { hooks }), "usage", /"blocks.2.hook_resid_pre"/);
    await expectError(() => model.runWithCache(ids, { namesFilter: () => false }), "usage", /no hook point/);
    const gpt2 = await setUp(new ReferenceBackend(), tinyConfig("gpt2"));
    for (const namesFilter of ["hook_signals", "hook_recipe", "blocks.0.attn.hook_rot_q"]) {
      await expectError(() => gpt2.model.runWithCache(ids, { namesFilter }), "usage", /no hook point/);
    }
  });

  test("a replacement of another size is rejected", async () => {
    const backend = new ReferenceBackend();
    const { model, ids } = await setUp(backend, config);
    const before = backend.memory().allocated;
    await expectError(
      () => model.runWithHooks(ids, { hooks: [["hook_embed", () => new Float32Array(3)]] }),
      "usage",
      /the hook at hook_embed returned Float32Array\(3\)/,
    );
    expect(backend.memory().allocated).toBe(before);
  });
});

test("the event loop runs while many rows are processed", async () => {
  const config = tinyConfig("reflow");
  const { model, ids } = await setUp(new ReferenceBackend(), config, 1 + PREFILL_ROWS / 8, 8);
  const fires = async (sequences: readonly Int32Array[]) => {
    // The next yield is due.
    await Bun.sleep(15);
    let fired = false;
    setImmediate(() => {
      fired = true;
    });
    await model.runWithHooks(sequences, {});
    return fired;
  };
  expect([await fires(ids), await fires(ids.slice(1))]).toEqual([true, false]);
});
