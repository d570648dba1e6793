import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { PRESETS } from "../../../runtime/config/config.ts";
import { type Flags, readFlags, resolveSettings, resumeSettings } from "../../../trainer/settings/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "reflow-settings-"));
after(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function configFile(content: unknown): string {
  const path = join(folder, `config-${files++}.json`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** What must be refused: the error's message and help as one text. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ReflowError, `${error}`);
    return `${error.message}; ${error.help}`;
  }
  throw new Error("it was not refused");
}

test("flags win over the file, the file over the preset", () => {
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

test("every flag may stand in the file, those of the run too", () => {
  const config = configFile({ out: "somewhere", resume: true, init: "other", dryRun: true, minutes: 2 });
  assert.deepEqual(readFlags({ config }), {
    ...{ out: "somewhere", resume: true, init: "other", dryRun: true, minutes: 2 },
    model: {},
  });
});

test("a variant means the same in the file as in a flag", () => {
  for (const variant of ["reflow-topk", "reflow-lite", "gpt2-new", "gpt2"] as const) {
    const config = configFile({ variant, preset: "small" });
    const { model } = resolveSettings(readFlags({ config }));
    assert.deepEqual(model, resolveSettings({ variant, preset: "small" }).model);
    assert.equal(model.variant, variant);
  }
  assert.equal(resolveSettings({ variant: "reflow-lite" }).model.d_ff, 256);
});

test("a tokenizer's size is the vocabulary's, unless the file says it", () => {
  const vocabulary = (flags: Flags) => resolveSettings(flags).model.vocab_size;
  assert.equal(vocabulary({ tokenizer: "bpe:777" }), 777);
  assert.equal(vocabulary({ tokenizer: "gpt2" }), 50304);
  assert.equal(vocabulary({ tokenizer: "bpe:777", model: { vocab_size: 800 } }), 800);
});

test("the warm-up leaves most of a short run to the peak", () => {
  const warmup = (flags: Flags) => resolveSettings(flags).trajectory.warmup;
  assert.deepEqual([warmup({ steps: 20 }), warmup({ steps: 20, warmup: 30 })], [2, 30]);
  assert.equal(warmup({ preset: "small", steps: 10_000 }), 200);
});

test("what can't be: each is refused, naming it and what was expected", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ steps: 0 }, "--steps is 0; a whole number of at least 1 was expected"],
    [{ steps: 1.5 }, "--steps is 1.5; a whole number of at least 1 was expected"],
    [{ batch: -1 }, "--batch is -1; a whole number of at least 1 was expected"],
    [{ seed: 2 ** 60 }, "--seed is 1152921504606847000; a whole number of at least 0 was expected"],
    [{ lr: Number.POSITIVE_INFINITY }, "--lr is Infinity; a finite number of at least 0 was expected"],
    [{ minLr: -1 }, "--min-lr is -1; a finite number of at least 0 was expected"],
    [{ threads: 300 }, "--threads is 300; at most 256 was expected"],
    [{ minutes: 0 }, "--minutes is 0; more than 0 was expected"],
    [{ schedule: "cosin" }, '--schedule is "cosin"; expected (cosine | wsd | constant)'],
    [{ basisInit: "x" }, '--basis-init is "x"; expected (orthogonal | normal)'],
    [
      { device: "gpu" },
      '--device is "gpu"; use auto, wasm, webgpu, or webgpu:N of those that `bun run cli devices` lists',
    ],
    [{ world: "many" }, '--world is "many"; auto, or a whole number of at least 1 was expected'],
    [{ world: 0 }, "--world is 0; a whole number of at least 1 was expected"],
    [{ localSteps: 0 }, "--local-steps is 0; a whole number of at least 1 was expected"],
    [{ collective: "nccl" }, '--collective is "nccl"; expected (auto | shared | mpi)'],
    [{ deadline: 0 }, "--deadline is 0; more than 0 was expected"],
  ];
  for (const [flags, expected] of wrong)
    assert.equal(
      refusal(() => readFlags(flags)),
      expected,
    );
  assert.match(
    refusal(() => resolveSettings({ preset: "nanoo" })),
    /"nanoo" is unknown; did you mean nano\? There are tiny, nano, small/,
  );
});

test("impossible dimensions", () => {
  const refuse = (model: Flags["model"]) => refusal(() => resolveSettings({ model }));
  assert.match(refuse({ d_model: 130 }), /n_heads 4 does not divide d_model 130/);
  assert.match(refuse({ d_model: 12 }), /the head width 3 is odd/);
  assert.match(refuse({ d_model: 0 }), /d_model/);
  assert.match(refuse({ n_layers: "4" as never }), /n_layers is "4", expected number/);
  assert.match(refuse({ variant: "reflow-topk", top_k: 129 }), /top_k is 129; use 1 to n_signals = 128/);
});

test("a file that is none, or has a key that there isn't", () => {
  const refuse = (config: string) => refusal(() => readFlags({ config }));
  assert.match(refuse(join(folder, "none.json")), /none\.json: ENOENT.*pass a JSON file/);
  assert.match(refuse(configFile("{")), /JSON/);
  assert.match(refuse(configFile([1])), /is not a JSON object; write \{"d_model": 192/);
  assert.match(refuse(configFile({ learning: 1 })), /config-\d+\.json: learning is unknown; did you mean /);
  assert.match(refuse(configFile({ dmodel: 1 })), /dmodel is unknown; did you mean d_model\?/);
  assert.match(refuse(configFile({ "min-lr": 1 })), /min-lr is unknown; did you mean minLr\?/);
  assert.match(refuse(configFile({ lr: "fast" })), /lr is "fast"; a finite number/);
});

test("--init brings its shape; only another context may be asked for", () => {
  const init = resolveSettings({ preset: "nano", variant: "reflow-lite" }).model;
  assert.deepEqual(resolveSettings({}, init).model, init);
  assert.equal(resolveSettings({ context: 32 }, init).model.context, 32);
  const refuse = (flags: Flags, from = init) => refusal(() => resolveSettings(flags, from));
  assert.match(refuse({ model: { d_model: 512 } }), /the model's d_model is 512, that of --init 256/);
  assert.match(refuse({ model: { n_heads: 8 } }), /the model's n_heads is 8, that of --init 4/);
  assert.match(refuse({ variant: "reflow" }), /the model's variant is reflow, that of --init reflow-lite/);
  assert.match(refuse({ preset: "small" }), /that of --init.*; leave --preset/);
  const gpt2 = resolveSettings({ variant: "gpt2" }).model;
  assert.match(refuse({ context: 32 }, gpt2), /the model's context is 32, that of --init 128/);
});

test("a resumed run keeps its trajectory; what would change it is refused by name", () => {
  const flags: Flags = { preset: "nano", data: "a.txt", lr: 1e-3, variant: "gpt2", model: { n_signals: 8 } };
  const saved = resolveSettings(flags);
  for (const same of [{}, flags, { ...flags, saveEvery: 7, threads: 2 }]) {
    const { preset, model, trajectory } = resumeSettings(same, saved);
    assert.equal(preset, "nano");
    assert.deepEqual(trajectory, saved.trajectory);
    assert.deepEqual(model, saved.model);
  }
  assert.equal(resumeSettings({ saveEvery: 7 }, saved).conduct.saveEvery, 7);
  const longer = resumeSettings({ steps: 9000 }, saved);
  assert.deepEqual(longer.trajectory, { ...saved.trajectory, steps: 9000 });

  const others: [Flags, string][] = [
    [{ lr: 2e-3 }, "--lr 0.002 is not the run's, which is 0.001"],
    [{ minLr: 0 }, "--min-lr 0 is not the run's, which is 0.0001"],
    [{ data: "b.txt" }, "--data b.txt is not the run's, which is a.txt"],
    [{ init: "x" }, "--init x is not the run's, which is not set"],
    [{ localSteps: 4 }, "--local-steps 4 is not the run's, which is not set"],
    [{ order: "sequential" }, "--order sequential is not the run's, which is shuffled"],
    [{ preset: "tiny" }, "--preset tiny is not the run's, which is nano"],
    [{ variant: "reflow" }, "--variant reflow is not the run's, which is gpt2"],
    [{ context: 64 }, "--context 64 is not the run's, which is 256"],
    [{ model: { d_model: 128 } }, "d_model 128 is not the run's, which is 256"],
  ];
  for (const [other, expected] of others) {
    assert.ok(refusal(() => resumeSettings(other, saved)).startsWith(`${expected}; leave it out`), expected);
  }
});

test("a resumed run has the sequences of its steps shared out anew", () => {
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
  const refuse = (flags: Flags, from = saved) => refusal(() => share(flags, from));
  const run = "the run's steps are of 48 sequences \\(batch 8 × accumulate 3 × world 2\\)";
  assert.match(refuse({ world: 4 }), new RegExp(`^${run}, which 4 × 8 does not divide; pass --batch 6$`));
  assert.match(refuse({ world: 5 }), /which 5 × 8 does not divide; pass a --world that divides 48$/);
  assert.match(
    refuse({ world: 1, accumulate: 3 }),
    new RegExp(`^${run}; batch 8 × accumulate 3 × world 1 is 24; leave --accumulate out`),
  );
  const local = resolveSettings({ preset: "nano", world: 2, localSteps: 10 });
  assert.equal(resumeSettings({ world: 2 }, local).trajectory.localSteps, 10);
  assert.match(
    refuse({ world: 1 }, local),
    /^with --local-steps each rank has an optimizer of its own, and the run has 2; resume with --world 2$/,
  );
});

test("with local steps, a run is evaluated and saved after whole rounds", () => {
  const { conduct } = resolveSettings({ steps: 100, localSteps: 8, evalEvery: 16, saveEvery: 3 });
  assert.deepEqual([conduct.evalEvery, conduct.saveEvery, conduct.logEvery], [16, 8, 10]);
  const defaults = resolveSettings({ steps: 100, localSteps: 8 });
  assert.deepEqual([defaults.conduct.evalEvery, defaults.conduct.saveEvery], [16, 24]);
  assert.equal(resumeSettings({ saveEvery: 9 }, defaults).conduct.saveEvery, 16);
});
