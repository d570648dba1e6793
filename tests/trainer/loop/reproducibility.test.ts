/** The same command writes the same bytes, whether the run is interrupted or not. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { learningRate } from "../../../trainer/settings/schedule.ts";
import { assertSameFiles, COMMON, CPU, Workspace, withoutTimings } from "../workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const STEPS = 300;
const COMMAND = [
  ...[...COMMON, "--steps", `${STEPS}`, "--lr", "1e-3", "--warmup", "30"],
  ...["--log-every", "1", "--save-every", "50"],
];

before(() => workspace.run([...COMMAND, "--out", "whole"]), TIMEOUT);

test("the same command writes the same bytes", TIMEOUT, async () => {
  await workspace.run([...COMMAND, "--out", "again"]);
  const expected = workspace.newest("whole");
  assert.deepEqual(
    [...expected.keys()],
    [
      "config.json",
      "manifest.json",
      "model.safetensors",
      "optimizer.safetensors",
      "tokenizer.json",
      "trainer.json",
    ],
  );
  assertSameFiles(workspace.newest("again"), expected, "again");
  assert.deepEqual(withoutTimings(workspace.metrics("again")), withoutTimings(workspace.metrics("whole")));
});

for (const variant of ["reflow", "reflow-topk", "gpt2"]) {
  test(`${variant} with accumulation does not depend on the number of threads`, TIMEOUT, async () => {
    const args = [...COMMON, "--variant", variant, "--accumulate", "2", "--steps", "12"];
    await Promise.all([
      workspace.run([...args, "--out", variant]),
      workspace.run([...args, "--out", `${variant}-2`, "--threads", "2"]),
    ]);
    assertSameFiles(workspace.newest(`${variant}-2`), workspace.newest(variant), variant);
  });
}

for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGKILL", "SIGKILL"],
] as const) {
  test(`a run interrupted by ${signal} and resumed equals an uninterrupted one`, TIMEOUT, async () => {
    const run = `interrupted-${signal}`;
    const trainer = workspace.start([...COMMAND, "--out", run]);
    await trainer.waitForOutput(/step 60\//);
    trainer.signal(signal);
    await trainer.waitForExit(status);
    const [last] = workspace.checkpoints(run).slice(-1);
    const step = Number(last.slice(5));
    if (signal === "SIGKILL") assert.equal(step % 50, 0);
    else assert.match(trainer.stderr, new RegExp(`Saved ${run}/${last}; pass --resume to continue`));
    assert.ok(step >= 50 && step < STEPS, last);
    const resumed = await workspace.run([...COMMAND, "--out", run, "--resume"]);
    assert.match(resumed.stderr, new RegExp(`\nstep ${step + 1}/`));
    assertSameFiles(workspace.newest(run), workspace.newest("whole"), signal);
    assert.deepEqual(losses(run), losses("whole"));
  });
}

test("--minutes ends a run early without changing the schedule; --resume continues it", TIMEOUT, async () => {
  const short = await workspace.run([...COMMAND, "--out", "minutes", "--minutes", "0.003"]);
  assert.match(short.stdout, /Validation loss/);
  const [last] = workspace.checkpoints("minutes").slice(-1);
  assert.ok(Number(last.slice(5)) < STEPS, last);
  const schedule = { schedule: "cosine", lr: 1e-3, minLr: 1e-4, warmup: 30, steps: STEPS } as const;
  for (const { step, lr } of losses("minutes")) assert.equal(lr, learningRate(step - 1, schedule));
  await workspace.run(["--out", "minutes", "--resume", "--log-every", "1", ...CPU]);
  assertSameFiles(workspace.newest("minutes"), workspace.newest("whole"), "minutes");
  assert.deepEqual(losses("minutes"), losses("whole"));
});

test("--steps may be increased on resuming", TIMEOUT, async () => {
  const args = [...COMMON, "--schedule", "constant", "--warmup", "10"];
  await Promise.all([
    workspace.run([...args, "--steps", "60", "--out", "straight"]),
    workspace
      .run([...args, "--steps", "30", "--out", "extended"])
      .then(() => workspace.run([...args, "--steps", "60", "--out", "extended", "--resume"])),
  ]);
  assertSameFiles(workspace.newest("extended"), workspace.newest("straight"), "extended");
});

test("resuming a finished run only prints its summary again", TIMEOUT, async () => {
  const metrics = workspace.metrics("extended");
  const { stdout } = await workspace.run(["--out", "extended", "--resume", ...CPU]);
  assert.match(stdout, /Checkpoint: extended\/step-00000060/);
  assert.deepEqual(workspace.metrics("extended"), metrics);
});

test("--keep limits the number of checkpoints", () => {
  assert.deepEqual(workspace.checkpoints("whole"), ["step-00000250", "step-00000300"]);
});

const losses = (run: string) =>
  withoutTimings(workspace.metrics(run)).filter(({ loss }) => loss !== undefined);
