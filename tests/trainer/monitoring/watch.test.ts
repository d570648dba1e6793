/** `--watch`: the log of some tokens during training. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { Tokenizer } from "../../../runtime/text/tokenizer.ts";
import { readLines } from "../../../trainer/monitoring/metrics.ts";
import { resolveWatched, type WatchLine } from "../../../trainer/monitoring/watch.ts";
import { COMMON, MODEL, Workspace } from "../workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const lines = (run: string) => readLines<WatchLine>(workspace.path(run, "watch.jsonl"));

/** A whole parameter of a run's newest checkpoint. */
function parameter(run: string, name: string): { data: Float32Array; columns: number } {
  const checkpoint = openCheckpoint(workspace.path(run));
  try {
    const [rows, columns] = checkpoint.tensors.tensors.get(name)!.shape;
    const data = new Float32Array(rows * columns);
    checkpoint.tensors.readF32(name, (chunk, offset) => data.set(chunk, offset));
    return { data, columns };
  } finally {
    checkpoint.close();
  }
}

const tokenizerOf = (run: string) =>
  Tokenizer.fromJSON(JSON.parse(readFileSync(`${openAndClose(run)}/tokenizer.json`, "utf8")));

function openAndClose(run: string): string {
  const checkpoint = openCheckpoint(workspace.path(run));
  checkpoint.close();
  return checkpoint.folder;
}

test(
  "recipes and neighbours are logged at the start and at each evaluation, and match the checkpoint",
  TIMEOUT,
  async () => {
    writeFileSync(workspace.path("topk.json"), JSON.stringify({ ...MODEL, top_k: 5 }));
    for (const [run, flags] of [
      ["factored", []],
      ["topk", ["--variant", "reflow-topk", "--config", "topk.json"]],
      ["twin", ["--variant", "gpt2-new"]],
    ] as const) {
      const args = ["--steps", "25", "--eval-every", "10", "--watch", "the, people,the", "--out", run];
      await workspace.run([...COMMON, ...args, ...flags]);
      const found = lines(run);
      assert.deepEqual(
        found.map(({ step }) => step),
        [0, 10, 20, 25],
      );
      assert.equal(found[0].valLoss, undefined);
      const losses = workspace.metrics(run).filter(({ valLoss }) => valLoss !== undefined);
      assert.deepEqual(
        found.slice(1).map(({ valLoss }) => valLoss),
        losses.map(({ valLoss }) => valLoss),
      );

      const last = found[3].tokens;
      assert.deepEqual(
        last.map(({ word }) => word),
        ["the", "people"],
      );
      const tokenizer = tokenizerOf(run);
      const factored = run !== "twin";
      const table = parameter(run, factored ? "recipe" : "embedding");
      const basis = factored ? parameter(run, "basis") : undefined;
      const recipe = (id: number) => {
        const row = Array.from(table.data.subarray(id * table.columns, (id + 1) * table.columns));
        if (run !== "topk") return row;
        const least = row.toSorted((a, b) => b - a)[4];
        return row.map((x) => (x >= Math.max(0, least) ? x : 0));
      };
      const embedding = (id: number) => {
        if (!basis) return recipe(id);
        const out = new Array(basis.columns).fill(0);
        for (const [s, r] of recipe(id).entries()) {
          for (let j = 0; j < out.length; j++) out[j] += r * basis.data[s * basis.columns + j];
        }
        return out;
      };
      for (const { word, recipe: logged, recipes, embeddings } of last) {
        const id = tokenizer.tokenId(` ${word}`)!;
        assert.deepEqual(
          logged,
          recipe(id).map((x) => Number(x.toPrecision(4))),
        );
        assert.equal(recipes !== undefined, factored);
        for (const [near, row] of [
          [recipes ?? [], recipe],
          [embeddings, embedding],
        ] as const) {
          assert.ok(near.length <= 8);
          const cosines = near.map(([other]) => cosine(row(id), row(tokenizer.tokenId(` ${other}`)!)));
          for (const [i, value] of cosines.entries()) assert.ok(Math.abs(value - near[i][1]) < 1e-3);
          assert.deepEqual(
            [...near].sort((a, b) => b[1] - a[1]),
            near,
          );
        }
        assert.ok(embeddings.length > 3 && embeddings.every(([other]) => /^\p{L}+$/u.test(other)));
      }
    }
  },
);

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

test("watching does not affect training; a resumed run extends its log", TIMEOUT, async () => {
  const args = ["--eval-every", "5", "--save-every", "10"];
  await workspace.run([...COMMON, ...args, "--steps", "20", "--out", "unwatched"]);
  await workspace.run([...COMMON, ...args, "--steps", "20", "--watch", "war", "--out", "watched"]);
  const weights = (run: string) => workspace.newest(run).get("model.safetensors")!;
  assert.ok(weights("watched").equals(weights("unwatched")));
  assert.equal(existsSync(workspace.path("unwatched", "watch.jsonl")), false);
  const whole = lines("watched");
  const more = ["--out", "watched", "--resume", "--steps", "25", "--watch", "war"];
  await workspace.run([...COMMON, ...args, ...more]);
  const steps = lines("watched").map(({ step }) => step);
  assert.deepEqual(steps, [0, 5, 10, 15, 20, 25]);
  assert.deepEqual(lines("watched").slice(0, 5), whole);
});

test("words that cannot be watched are an error, and no run starts", TIMEOUT, async () => {
  for (const [words, message] of [
    [
      "the,unheard",
      /--watch the,unheard: unheard is \d tokens, " " "u" .*\nhelp: {2}choose words that are a single token/,
    ],
    [" , ", /expected at least one word/],
  ] as const) {
    const { stderr } = await workspace.run([...COMMON, "--watch", words, "--out", "none"], 2);
    assert.match(stderr, message);
    assert.equal(existsSync(workspace.path("none")), false);
  }
  assert.throws(() => resolveWatched("the", undefined), /the data has no tokenizer/);
});
