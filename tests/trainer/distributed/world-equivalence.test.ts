/** The same run on one rank or on several. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { assertClose } from "../../support/compare.ts";
import { assertSame, COMMON, CPU, timeless, Workplace } from "../workspace.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };
const COMMAND = [...COMMON, "--steps", "20", "--log-every", "1", "--eval-every", "10"];

before(() => place.run([...COMMAND, "--batch", "4", "--accumulate", "4", "--out", "alone"]), TIMEOUT);

/** Losses and norms are those of the run on one rank. */
function assertEqualsAlone(run: string): void {
  const [found, expected] = [run, "alone"].map((name) => timeless(place.metrics(name)));
  const steps = (lines: Record<string, number>[]) => lines.map(({ step, tokens, lr }) => [step, tokens, lr]);
  assert.deepEqual(steps(found), steps(expected));
  for (const [i, line] of found.entries()) {
    for (const key of ["loss", "valLoss", "gradNorm"].filter((key) => key in line)) {
      assertClose([line[key]], [expected[i][key]], { relative: 1e-5 }, `${key} in step ${line.step}`);
    }
  }
}

for (const [world, accumulate] of [
  [2, 2],
  [4, 1],
]) {
  test(`${world} ranks do what one does`, TIMEOUT, async () => {
    const run = `world-${world}`;
    const share = ["--world", `${world}`, "--batch", "4", "--accumulate", `${accumulate}`];
    const { stderr } = await place.run([...COMMAND, ...share, "--out", run]);
    assert.match(stderr, /20 steps of 256 tokens/);
    assert.match(stderr, new RegExp(`the first of ${world} ranks over shared memory; writing to ${run}\n`));
    assertEqualsAlone(run);
  });
}

/** Ends a run after the step, or the round of steps, that it is in. */
const AT_ONCE = ["--minutes", "0.00001"];

test("a run changes hands: 4 ranks, then 1, then 2 with another batch", TIMEOUT, async () => {
  const run = [...CPU, "--log-every", "1", "--eval-every", "10", "--out", "changing"];
  await place.run([...COMMAND, "--world", "4", "--batch", "4", ...AT_ONCE, "--out", "changing"]);
  assert.deepEqual(place.checkpoints("changing"), ["step-00000001"]);
  await place.run([...run, "--resume", "--world", "1", ...AT_ONCE]);
  assert.deepEqual(place.checkpoints("changing"), ["step-00000001", "step-00000002"]);
  const { stderr } = await place.run([...run, "--resume", "--world", "2", "--batch", "2"]);
  assert.match(stderr, /\(batch 2 × accumulate 4 × 2 ranks × context 16\)/);
  const lines = place.metrics("changing").filter(({ step, valLoss }) => step > 2 || valLoss === undefined);
  writeFileSync(
    place.path("changing", "metrics.jsonl"),
    lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  assertEqualsAlone("changing");
});

test("with local steps: whole, or in pieces", TIMEOUT, async () => {
  const local = [...COMMAND, "--world", "2", "--batch", "4", "--local-steps", "6"];
  const { stderr } = await place.run([...local, "--out", "local"]);
  assert.match(stderr, /in rounds of 6 \(DiLoCo\)/);
  const newest = place.newest("local");
  for (const name of ["optimizer-1.safetensors", "outer.safetensors"]) assert.ok(newest.has(name), name);
  assert.ok(!newest.get("optimizer-1.safetensors")!.equals(newest.get("optimizer.safetensors")!));
  const losses = place.metrics("local").flatMap(({ valLoss }) => valLoss ?? []);
  assert.ok(losses.at(-1)! < 5, `${losses}`);

  await place.run([...local, ...AT_ONCE, "--out", "pieces"]);
  assert.deepEqual(place.checkpoints("pieces"), ["step-00000006"]);
  await place.run([...local, "--out", "pieces", "--resume"]);
  assertSame(place.newest("pieces"), newest, "pieces");
  const { stderr: refusal } = await place.run(["--out", "local", "--resume", "--world", "1", ...CPU], 2);
  assert.match(refusal, /error: with --local-steps each rank has an optimizer of its own/);
});
