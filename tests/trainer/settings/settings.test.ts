import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { PRESETS } from "../../../runtime/config/presets.ts";
import {
  type Flags,
  readFlags,
  resolveSettings,
  resumeSettings,
} from "../../../trainer/settings/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "reflow-settings-"));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function configFile(content: unknown): string {
  const path = join(folder, `config-${files++}.json`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** Asserts that a function throws a ReflowError. Returns its message and help as one text. */
function errorText(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ReflowError, `${error}`);
    return `${error.message}; ${error.help}`;
  }
  throw new Error("expected a ReflowError");
}

test("flags take precedence over the file, and the file over the preset", () => {
  const config = configFile({ preset: "nano", d_model: 64, n_heads: 2, lr: 0.5, steps: 70, context: 64 });
  const { preset, model, trajectory } = resolveSettings(readFlags({ config, steps: 90, context: 32 }));
  assert.equal(preset, "nano");
  assert.deepEqual(
    { ...model },
    { ...PRESETS.nano, d_model: 64, n_heads: 2, n_kv_heads: 2, context: 32, rope_theta: 10000 },
  );
  assert.equal(trajectory.steps, 90);
  assert.equal(trajectory.lr, 0.5);
  assert.equal(trajectory.minLr, 0.05);
  assert.equal(trajectory.batch, resolveSettings({ preset: "nano" }).trajectory.batch);
});

test("the file may contain every flag, including those of the run", () => {
  const config = configFile({ out: "somewhere", resume: true, init: "other", dryRun: true, minutes: 2 });
  assert.deepEqual(readFlags({ config }), {
    ...{ out: "somewhere", resume: true, init: "other", dryRun: true, minutes: 2 },
    model: {},
  });
});

test("a variant has the same effect in the file as in a flag", () => {
  for (const variant of ["reflow-topk", "reflow-lite", "gpt2-new", "gpt2"] as const) {
    const config = configFile({ variant, preset: "small" });
    const { model } = resolveSettings(readFlags({ config }));
    assert.deepEqual(model, resolveSettings({ variant, preset: "small" }).model);
    assert.equal(model.variant, variant);
  }
  assert.equal(resolveSettings({ variant: "reflow-lite" }).model.d_ff, 256);
});

test("the tokenizer determines the vocabulary size, unless the file sets it", () => {
  const vocabulary = (flags: Flags) => resolveSettings(flags).model.vocab_size;
  assert.equal(vocabulary({ tokenizer: "bpe:777" }), 777);
  assert.equal(vocabulary({ tokenizer: "gpt2" }), 50304);
  assert.equal(vocabulary({ tokenizer: "bpe:777", model: { vocab_size: 800 } }), 800);
});

test("the default warm-up is at most a tenth of the steps", () => {
  const warmup = (flags: Flags) => resolveSettings(flags).trajectory.warmup;
  assert.deepEqual([warmup({ steps: 20 }), warmup({ steps: 20, warmup: 30 })], [2, 30]);
  assert.equal(warmup({ preset: "small", steps: 10_000 }), 200);
});

test("an invalid value is an error that names the flag and the expected value", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ steps: 0 }, "--steps is 0; expected a whole number of at least 1"],
    [{ steps: 1.5 }, "--steps is 1.5; expected a whole number of at least 1"],
    [{ batch: -1 }, "--batch is -1; expected a whole number of at least 1"],
    [{ seed: 2 ** 60 }, "--seed is 1152921504606847000; expected a whole number of at least 0"],
    [{ lr: Number.POSITIVE_INFINITY }, "--lr is Infinity; expected a finite number of at least 0"],
    [{ minLr: -1 }, "--min-lr is -1; expected a finite number of at least 0"],
    [{ threads: 300 }, "--threads is 300; expected at most 256"],
    [{ minutes: 0 }, "--minutes is 0; expected a number greater than 0"],
    [{ schedule: "cosin" }, '--schedule is "cosin"; expected (cosine | wsd | constant)'],
    [{ basisInit: "x" }, '--basis-init is "x"; expected (orthogonal | normal)'],
    [
      { device: "gpu" },
      '--device is "gpu"; expected auto, wasm, webgpu, or a webgpu:N listed by `bun run cli devices`',
    ],
    [{ world: "many" }, '--world is "many"; expected auto or a whole number of at least 1'],
    [{ world: 0 }, "--world is 0; expected a whole number of at least 1"],
    [{ localSteps: 0 }, "--local-steps is 0; expected a whole number of at least 1"],
    [{ collective: "nccl" }, '--collective is "nccl"; expected (auto | shared | mpi)'],
    [{ deadline: 0 }, "--deadline is 0; expected a number greater than 0"],
  ];
  for (const [flags, expected] of wrong)
    assert.equal(
      errorText(() => readFlags(flags)),
      expected,
    );
  assert.match(
    errorText(() => resolveSettings({ preset: "nanoo" })),
    /--preset nanoo is not a known preset; did you mean nano\? Presets: tiny, nano, small/,
  );
});

test("impossible dimensions", () => {
  const refuse = (model: Flags["model"]) => errorText(() => resolveSettings({ model }));
  assert.match(refuse({ d_model: 130 }), /n_heads 4 does not divide d_model 130/);
  assert.match(refuse({ d_model: 12 }), /the head width 3 is odd/);
  assert.match(refuse({ d_model: 0 }), /d_model/);
  assert.match(refuse({ n_layers: "4" as never }), /n_layers is "4", expected number/);
  assert.match(refuse({ variant: "reflow-topk", top_k: 129 }), /top_k is 129; use 1 to n_signals = 128/);
});

test("an invalid file, or an unknown key", () => {
  const refuse = (config: string) => errorText(() => readFlags({ config }));
  assert.match(refuse(join(folder, "none.json")), /none\.json: ENOENT.*pass a JSON file/);
  assert.match(refuse(configFile("{")), /JSON/);
  assert.match(refuse(configFile([1])), /is not a JSON object; write an object such as \{"d_model": 192/);
  assert.match(
    refuse(configFile({ learning: 1 })),
    /config-\d+\.json: learning is not a known option; did you mean /,
  );
  assert.match(refuse(configFile({ dmodel: 1 })), /dmodel is not a known option; did you mean d_model\?/);
  assert.match(refuse(configFile({ "min-lr": 1 })), /min-lr is not a known option; did you mean minLr\?/);
  assert.match(refuse(configFile({ lr: "fast" })), /lr is "fast"; expected a finite number/);
});

test("--init determines the shape; only the context may differ", () => {
  const init = resolveSettings({ preset: "nano", variant: "reflow-lite" }).model;
  assert.deepEqual(resolveSettings({}, init).model, init);
  assert.equal(resolveSettings({ context: 32 }, init).model.context, 32);
  const refuse = (flags: Flags, from = init) => errorText(() => resolveSettings(flags, from));
  assert.match(refuse({ model: { d_model: 512 } }), /the model's d_model is 512, but that of --init is 256/);
  assert.match(refuse({ model: { n_heads: 8 } }), /the model's n_heads is 8, but that of --init is 4/);
  assert.match(
    refuse({ variant: "reflow" }),
    /the model's variant is reflow, but that of --init is reflow-lite/,
  );
  assert.match(refuse({ preset: "small" }), /that of --init.*; omit --preset/);
  const gpt2 = resolveSettings({ variant: "gpt2" }).model;
  assert.match(refuse({ context: 32 }, gpt2), /the model's context is 32, but that of --init is 128/);
});

test("a resumed run keeps its trajectory; a flag that would change it is an error", () => {
  const flags: Flags = { preset: "nano", data: "a.txt", lr: 1e-3, variant: "gpt2", model: { n_signals: 8 } };
  const saved = resolveSettings(flags);
  for (const same of [{}, flags, { ...flags, saveEvery: 7, threads: 2 }]) {
    const { preset, model, trajectory } = resumeSettings(same, saved);
    assert.equal(preset, "nano");
    assert.deepEqual(trajectory, saved.trajectory);
    assert.deepEqual(model, saved.model);
  }
  assert.equal(resumeSettings({ saveEvery: 7 }, saved).execution.saveEvery, 7);
  const longer = resumeSettings({ steps: 9000 }, saved);
  assert.deepEqual(longer.trajectory, { ...saved.trajectory, steps: 9000 });

  const others: [Flags, string][] = [
    [{ lr: 2e-3 }, "--lr is 0.002, but the run has 0.001"],
    [{ minLr: 0 }, "--min-lr is 0, but the run has 0.0001"],
    [{ data: "b.txt" }, "--data is b.txt, but the run has a.txt"],
    [{ init: "x" }, "--init is x, but the run has none"],
    [{ localSteps: 4 }, "--local-steps is 4, but the run has none"],
    [{ order: "sequential" }, "--order is sequential, but the run has shuffled"],
    [{ preset: "tiny" }, "--preset is tiny, but the run has nano"],
    [{ variant: "reflow" }, "--variant is reflow, but the run has gpt2"],
    [{ context: 64 }, "--context is 64, but the run has 256"],
    [{ model: { d_model: 128 } }, "d_model is 128, but the run has 256"],
  ];
  for (const [other, expected] of others) {
    assert.ok(errorText(() => resumeSettings(other, saved)).startsWith(`${expected}; omit it`), expected);
  }
});

test("a resumed run may distribute the sequences of a step differently", () => {
  const saved = resolveSettings({ preset: "nano", batch: 8, accumulate: 3, world: 2 });
  const share = (flags: Flags, from = saved) => {
    const { batch, accumulate, world } = resumeSettings(flags, from).trajectory;
    return [batch, accumulate, world];
  };
  assert.deepEqual(share({}), [8, 3, 2]);
  assert.deepEqual(share({ world: 1 }), [8, 6, 1]);
  assert.deepEqual(share({ world: 6 }), [8, 1, 6]);
  assert.deepEqual(share({ world: 4, batch: 4 }), [4, 3, 4]);
  assert.deepEqual(share({ world: 3, batch: 2, accumulate: 8 }), [2, 8, 3]);
  const refuse = (flags: Flags, from = saved) => errorText(() => share(flags, from));
  const run = "the run has 48 sequences per step \\(batch 8 × accumulate 3 × world 2\\)";
  assert.match(
    refuse({ world: 4 }),
    new RegExp(`^${run}, which is not divisible by world 4 × batch 8; pass --batch 6$`),
  );
  assert.match(
    refuse({ world: 5 }),
    /which is not divisible by world 5 × batch 8; pass a --world that divides 48$/,
  );
  assert.match(
    refuse({ world: 1, accumulate: 3 }),
    new RegExp(`^${run}; batch 8 × accumulate 3 × world 1 is 24; omit --accumulate`),
  );
  const local = resolveSettings({ preset: "nano", world: 2, localSteps: 10 });
  assert.equal(resumeSettings({ world: 2 }, local).trajectory.localSteps, 10);
  assert.match(
    refuse({ world: 1 }, local),
    /^with --local-steps each rank has its own optimizer state, and the run has 2 ranks; resume with --world 2$/,
  );
});

test("with local steps, a run is evaluated and saved only after outer steps", () => {
  const { execution } = resolveSettings({ steps: 100, localSteps: 8, evalEvery: 16, saveEvery: 3 });
  assert.deepEqual([execution.evalEvery, execution.saveEvery, execution.logEvery], [16, 8, 10]);
  const defaults = resolveSettings({ steps: 100, localSteps: 8 });
  assert.deepEqual([defaults.execution.evalEvery, defaults.execution.saveEvery], [16, 24]);
  assert.equal(resumeSettings({ saveEvery: 9 }, defaults).execution.saveEvery, 16);
});
