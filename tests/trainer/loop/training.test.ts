import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Tensor } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend, type WasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { ReflowError } from "../../../runtime/common/errors.ts";
import type { Data } from "../../../trainer/data/load.ts";
import type { TokenSource } from "../../../trainer/data/shards.ts";
import { restoreLatest, runTraining } from "../../../trainer/loop/loop.ts";
import { Training } from "../../../trainer/loop/training.ts";
import { type Flags, resolveSettings } from "../../../trainer/settings/settings.ts";
import { assertClose } from "../../support/compare.ts";
import { MODEL } from "../workspace.ts";

let backend: WasmBackend;
before(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
after(() => backend.dispose());

const root = mkdtempSync(join(tmpdir(), "reflow-training-"));
after(() => rmSync(root, { recursive: true, force: true }));

const T = MODEL.context;
const settings = (flags: Flags) => resolveSettings({ model: MODEL, steps: 10, batch: 4, ...flags });
const neverStop = async () => undefined;

/** The tokens 0 to 298, repeated; `reads` records the start of each window read. */
function countingTokens(length: number): TokenSource & { reads: number[] } {
  const reads: number[] = [];
  return {
    length,
    name: "counting",
    reads,
    read(position, into) {
      reads.push(position);
      for (let i = 0; i < into.length; i++) into[i] = (position + i) % 299;
    },
    close() {},
  };
}

const dataOf = (train: TokenSource): Data => ({
  train,
  val: countingTokens(20 * T + 1),
  tokenizer: undefined,
  bytesPerToken: undefined,
  description: "",
});

test("--order sequential: step s reads windows s·B to s·B+B−1, and the next epoch follows", async () => {
  const train = countingTokens(10 * T + 1);
  const flags = { order: "sequential", batch: 2, accumulate: 2 } as const;
  const training = new Training(backend, settings(flags), dataOf(train));
  training.start();
  for (let step = 0; step < 4; step++) await training.train(neverStop);
  const windows = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5];
  assert.deepEqual(
    train.reads,
    windows.map((window) => window * T),
  );
});

test("a shuffled epoch contains each window once, and epochs differ in order", async () => {
  const train = countingTokens(12 * T + 1);
  const training = new Training(backend, settings({}), dataOf(train));
  training.start();
  for (let step = 0; step < 6; step++) await training.train(neverStop);
  const windows = train.reads.map((position) => position / T);
  const sorted = (from: number) => windows.slice(from, from + 12).sort((a, b) => a - b);
  assert.deepEqual(sorted(0), [...Array(12).keys()]);
  assert.deepEqual(sorted(12), [...Array(12).keys()]);
  assert.notDeepEqual(windows.slice(0, 12), windows.slice(12));
});

test("the global batch is batch × accumulate, up to rounding", async () => {
  const trained = await Promise.all(
    [
      { batch: 4, accumulate: 1 },
      { batch: 2, accumulate: 2 },
      { batch: 1, accumulate: 4 },
    ].map(async (flags) => {
      const training = new Training(backend, settings(flags), dataOf(countingTokens(3000)));
      training.start();
      assert.equal(training.tokensPerStep, 4 * T);
      const results = [];
      for (let step = 0; step < 5; step++) results.push(await training.train(neverStop));
      return results.flatMap(({ loss, gradNorm }) => [loss, gradNorm]);
    }),
  );
  for (const other of trained.slice(1))
    assertClose(other, trained[0], { relative: 1e-5 }, "losses and norms");
});

test("a full evaluation uses each window once, for any batch size", async () => {
  const losses = [];
  for (const batch of [1, 3, 20, 32]) {
    const training = new Training(backend, settings({ batch }), dataOf(countingTokens(1000)));
    training.start();
    losses.push(await training.evaluate(Number.POSITIVE_INFINITY, neverStop));
    const some = await training.evaluate(7, neverStop);
    assert.ok(Math.abs(some - Math.log(300)) < 0.2, `${some}`);
  }
  for (const loss of losses) assertClose([loss], [losses[0]], { relative: 1e-6 }, "loss");
});

/**
 * Runs 20 steps over windows of which some are poisoned: every batch that contains one has a non-finite loss or gradient.
 */
class Poisoned {
  readonly train = countingTokens(200 * T + 1);
  readonly #backend: WasmBackend;
  #bad = false;

  private constructor(backend: WasmBackend, kind: "loss" | "gradient", windows: number[]) {
    this.#backend = backend;
    const read = this.train.read;
    this.train.read = (position, into) => {
      read(position, into);
      this.#bad ||= windows.includes(position / T);
    };
    const spoil = (tensor: Tensor) => {
      if (this.#bad) backend.fill(tensor, Number.NaN);
      this.#bad = false;
    };
    const { globalNorm, crossEntropy } = backend;
    if (kind === "gradient") {
      backend.globalNorm = (norm, tensors) => {
        globalNorm.call(backend, norm, tensors);
        spoil(norm);
      };
    } else {
      backend.crossEntropy = (losses, ...rest) => {
        crossEntropy.call(backend, losses, ...rest);
        spoil(losses);
      };
    }
  }

  static async make(kind: "loss" | "gradient", windows: number[]): Promise<Poisoned> {
    return new Poisoned(await createWasmBackend({ threads: 1 }), kind, windows);
  }

  /** Starts or resumes a run. */
  async run(name: string, steps = 20): Promise<void> {
    const training = new Training(
      this.#backend,
      settings({ steps, order: "sequential", schedule: "constant", warmup: 3, saveEvery: 5, logEvery: 3 }),
      dataOf(this.train),
    );
    const run = join(root, name);
    mkdirSync(run, { recursive: true });
    restoreLatest(training, run);
    await runTraining(training, { run });
  }

  /** The indexes of the batches that were read. */
  get batches(): number[] {
    return this.train.reads.map((position) => position / T / 4).filter(Number.isInteger);
  }
}

const read = (run: string, name: string) => readFileSync(join(root, run, "step-00000020", name));
const position = (run: string) => JSON.parse(read(run, "trainer.json").toString()).position;
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

for (const kind of ["loss", "gradient"] as const) {
  test(`after a non-finite ${kind} the run skips the batches, and so does a resumed run`, async () => {
    // The 7th batch, and the 14th, which is then step 12.
    const windows = [4 * 6 + 1, 4 * 13];
    const whole = await Poisoned.make(kind, windows);
    await whole.run(`${kind}-whole`);
    assert.deepEqual(whole.batches, range(0, 23), "each batch is read once");
    assert.deepEqual(position(`${kind}-whole`), { step: 20, skipped: 4 });
    const lines = readFileSync(join(root, `${kind}-whole`, "metrics.jsonl"), "utf8")
      .trimEnd()
      .split("\n");
    const losses = lines.map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined);
    assert.deepEqual(
      losses.map(({ step }) => step),
      [3, 6, 9, 12, 15, 18, 20],
    );

    // The result equals training on the remaining batches: failed steps leave no trace.
    const healthy = await Poisoned.make(kind, []);
    const kept = [...range(0, 4), ...range(7, 11), ...range(14, 23)];
    const readAny = healthy.train.read;
    healthy.train.read = (at, into) => {
      const window = at / T;
      readAny((kept[Math.floor(window / 4)] * 4 + (window % 4)) * T, into);
    };
    await healthy.run(`${kind}-healthy`);

    const resumed = await Poisoned.make(kind, windows);
    for (const steps of [8, 12, 20]) await resumed.run(`${kind}-resumed`, steps);
    assert.deepEqual(position(`${kind}-resumed`), { step: 20, skipped: 4 });
    for (const name of ["model.safetensors", "optimizer.safetensors"]) {
      assert.ok(read(`${kind}-whole`, name).equals(read(`${kind}-healthy`, name)), `${name}, healthy`);
      assert.ok(read(`${kind}-whole`, name).equals(read(`${kind}-resumed`, name)), `${name}, resumed`);
    }
  });
}

test("before the first checkpoint the run restarts, after the failed batches", async () => {
  const poisoned = await Poisoned.make("loss", [4]);
  await poisoned.run("early");
  assert.deepEqual(poisoned.batches, range(0, 21));
  assert.deepEqual(position("early"), { step: 20, skipped: 2 });
});

test("after a few rollbacks the run is abandoned; its last checkpoint remains", async () => {
  const poisoned = await Poisoned.make("gradient", [40, 44, 52, 56]);
  await assert.rejects(poisoned.run("hopeless"), (error) => {
    assert.ok(error instanceof ReflowError && error.code === "numerics", `${error}`);
    assert.match(error.message, /^step 11: the gradients' norm is NaN, after 3 rollbacks$/);
    return true;
  });
  assert.deepEqual(readdirSync(join(root, "hopeless")).sort(), [
    "metrics.jsonl",
    "step-00000005",
    "step-00000010",
  ]);
});
