/** `--watch`: what is logged of some words while they form. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { Tokenizer } from "../../../runtime/text/tokenizer.ts";
import { readLines } from "../../../trainer/monitoring/metrics.ts";
import { findWatched, type WatchLine } from "../../../trainer/monitoring/watch.ts";
import { COMMON, MODEL, Workplace } from "../workspace.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };
const lines = (run: string) => readLines<WatchLine>(place.path(run, "watch.jsonl"));

/** A checkpoint's parameter, whole. */
function parameter(run: string, name: string): { data: Float32Array; columns: number } {
  const checkpoint = openCheckpoint(place.path(run));
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
  const checkpoint = openCheckpoint(place.path(run));
  checkpoint.close();
  return checkpoint.folder;
}

test(
  "at the beginning and at each evaluation: recipes and neighbours are the checkpoint's",
  TIMEOUT,
  async () => {
    writeFileSync(place.path("topk.json"), JSON.stringify({ ...MODEL, top_k: 5 }));
    for (const [run, flags] of [
      ["factored", []],
      ["topk", ["--variant", "reflow-topk", "--config", "topk.json"]],
      ["twin", ["--variant", "gpt2-new"]],
    ] as const) {
      const args = ["--steps", "25", "--eval-every", "10", "--watch", "the, people,the", "--out", run];
      await place.run([...COMMON, ...args, ...flags]);
      const found = lines(run);
      assert.deepEqual(
        found.map(({ step }) => step),
        [0, 10, 20, 25],
      );
      assert.equal(found[0].valLoss, undefined);
      const losses = place.metrics(run).filter(({ valLoss }) => valLoss !== undefined);
      assert.deepEqual(
        found.slice(1).map(({ valLoss }) => valLoss),
        losses.map(({ valLoss }) => valLoss),
      );

      const last = found[3].watched;
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

test("watching changes nothing; a resumed run goes on with what it had logged", TIMEOUT, async () => {
  const args = ["--eval-every", "5", "--save-every", "10"];
  await place.run([...COMMON, ...args, "--steps", "20", "--out", "blind"]);
  await place.run([...COMMON, ...args, "--steps", "20", "--watch", "war", "--out", "watched"]);
  const weights = (run: string) => place.newest(run).get("model.safetensors")!;
  assert.ok(weights("watched").equals(weights("blind")));
  assert.equal(existsSync(place.path("blind", "watch.jsonl")), false);
  const whole = lines("watched");
  const more = ["--out", "watched", "--resume", "--steps", "25", "--watch", "war"];
  await place.run([...COMMON, ...args, ...more]);
  const steps = lines("watched").map(({ step }) => step);
  assert.deepEqual(steps, [0, 5, 10, 15, 20, 25]);
  assert.deepEqual(lines("watched").slice(0, 5), whole);
});

test("words that can't be watched: an error, and no run", TIMEOUT, async () => {
  for (const [words, message] of [
    [
      "the,unheard",
      /--watch the,unheard: unheard is \d tokens, " " "u" .*\nhelp: {2}give words of one token/,
    ],
    [" , ", /there is no word in it/],
  ] as const) {
    const { stderr } = await place.run([...COMMON, "--watch", words, "--out", "none"], 2);
    assert.match(stderr, message);
    assert.equal(existsSync(place.path("none")), false);
  }
  assert.throws(() => findWatched("the", undefined), /the data has no tokenizer/);
});
