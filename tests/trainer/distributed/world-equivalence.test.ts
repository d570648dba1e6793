/** Runs on several ranks are equivalent to runs on one rank. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before, test } from "node:test";
import { assertClose } from "../../support/compare.ts";
import { assertSameFiles, COMMON, CPU, Workspace, withoutTimings } from "../workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const COMMAND = [...COMMON, "--steps", "20", "--log-every", "1", "--eval-every", "10"];

before(() => workspace.run([...COMMAND, "--batch", "4", "--accumulate", "4", "--out", "alone"]), TIMEOUT);

/** Asserts that losses and norms are those of the run on one rank. */
function assertEqualsSingleRank(run: string): void {
  const [found, expected] = [run, "alone"].map((name) => withoutTimings(workspace.metrics(name)));
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
  test(`${world} ranks are equivalent to one`, TIMEOUT, async () => {
    const run = `world-${world}`;
    const share = ["--world", `${world}`, "--batch", "4", "--accumulate", `${accumulate}`];
    const { stderr } = await workspace.run([...COMMAND, ...share, "--out", run]);
    assert.match(stderr, /20 steps of 256 tokens/);
    assert.match(stderr, new RegExp(`rank 0 of ${world} ranks over shared memory; writing to ${run}\n`));
    assertEqualsSingleRank(run);
  });
}

/** Ends a run after its current step, or after the next outer step. */
const STOP_IMMEDIATELY = ["--minutes", "0.00001"];

test(
  "a run continues on another number of ranks: 4, then 1, then 2 with another batch",
  TIMEOUT,
  async () => {
    const run = [...CPU, "--log-every", "1", "--eval-every", "10", "--out", "changing"];
    await workspace.run([
      ...COMMAND,
      "--world",
      "4",
      "--batch",
      "4",
      ...STOP_IMMEDIATELY,
      "--out",
      "changing",
    ]);
    assert.deepEqual(workspace.checkpoints("changing"), ["step-00000001"]);
    await workspace.run([...run, "--resume", "--world", "1", ...STOP_IMMEDIATELY]);
    assert.deepEqual(workspace.checkpoints("changing"), ["step-00000001", "step-00000002"]);
    const { stderr } = await workspace.run([...run, "--resume", "--world", "2", "--batch", "2"]);
    assert.match(stderr, /\(batch 2 × accumulate 4 × 2 ranks × context 16\)/);
    const lines = workspace
      .metrics("changing")
      .filter(({ step, valLoss }) => step > 2 || valLoss === undefined);
    writeFileSync(
      workspace.path("changing", "metrics.jsonl"),
      lines.map((line) => `${JSON.stringify(line)}\n`).join(""),
    );
    assertEqualsSingleRank("changing");
  },
);

test("with local steps, an interrupted and resumed run equals an uninterrupted one", TIMEOUT, async () => {
  const local = [...COMMAND, "--world", "2", "--batch", "4", "--local-steps", "6"];
  const { stderr } = await workspace.run([...local, "--out", "local"]);
  assert.match(stderr, /synchronized every 6 steps \(DiLoCo\)/);
  const newest = workspace.newest("local");
  for (const name of ["optimizer-1.safetensors", "outer.safetensors"]) assert.ok(newest.has(name), name);
  assert.ok(!newest.get("optimizer-1.safetensors")!.equals(newest.get("optimizer.safetensors")!));
  const losses = workspace.metrics("local").flatMap(({ valLoss }) => valLoss ?? []);
  assert.ok(losses.at(-1)! < 5, `${losses}`);

  await workspace.run([...local, ...STOP_IMMEDIATELY, "--out", "pieces"]);
  assert.deepEqual(workspace.checkpoints("pieces"), ["step-00000006"]);
  await workspace.run([...local, "--out", "pieces", "--resume"]);
  assertSameFiles(workspace.newest("pieces"), newest, "pieces");
  const { stderr: refusal } = await workspace.run(["--out", "local", "--resume", "--world", "1", ...CPU], 2);
  assert.match(refusal, /error: with --local-steps each rank has its own optimizer state/);
});
