/** Nothing is lost: the same command, whole or in pieces, leaves the same bytes. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { learningRate } from "../../../trainer/settings/schedule.ts";
import { assertSame, COMMON, CPU, timeless, Workplace } from "../workspace.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };
const STEPS = 300;
const COMMAND = [
  ...[...COMMON, "--steps", `${STEPS}`, "--lr", "1e-3", "--warmup", "30"],
  ...["--log-every", "1", "--save-every", "50"],
];

before(() => place.run([...COMMAND, "--out", "whole"]), TIMEOUT);

test("the same command leaves the same bytes", TIMEOUT, async () => {
  await place.run([...COMMAND, "--out", "again"]);
  const expected = place.newest("whole");
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
  assertSame(place.newest("again"), expected, "again");
  assert.deepEqual(timeless(place.metrics("again")), timeless(place.metrics("whole")));
});

for (const variant of ["reflow", "reflow-topk", "gpt2"]) {
  test(`so does ${variant} with accumulation, whatever the number of threads`, TIMEOUT, async () => {
    const args = [...COMMON, "--variant", variant, "--accumulate", "2", "--steps", "12"];
    await Promise.all([
      place.run([...args, "--out", variant]),
      place.run([...args, "--out", `${variant}-2`, "--threads", "2"]),
    ]);
    assertSame(place.newest(`${variant}-2`), place.newest(variant), variant);
  });
}

for (const [signal, status] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGKILL", "SIGKILL"],
] as const) {
  test(`a run interrupted by ${signal} and resumed`, TIMEOUT, async () => {
    const run = `interrupted-${signal}`;
    const trainer = place.start([...COMMAND, "--out", run]);
    await trainer.says(/step 60\//);
    trainer.signal(signal);
    await trainer.ends(status);
    const [last] = place.checkpoints(run).slice(-1);
    const step = Number(last.slice(5));
    if (signal === "SIGKILL") assert.equal(step % 50, 0);
    else assert.match(trainer.stderr, new RegExp(`Saved ${run}/${last}; add --resume to go on`));
    assert.ok(step >= 50 && step < STEPS, last);
    const resumed = await place.run([...COMMAND, "--out", run, "--resume"]);
    assert.match(resumed.stderr, new RegExp(`\nstep ${step + 1}/`));
    assertSame(place.newest(run), place.newest("whole"), signal);
    assert.deepEqual(losses(run), losses("whole"));
  });
}

test("--minutes ends a run early, with the schedule as it was; --resume goes on", TIMEOUT, async () => {
  const short = await place.run([...COMMAND, "--out", "minutes", "--minutes", "0.003"]);
  assert.match(short.stdout, /Validation loss/);
  const [last] = place.checkpoints("minutes").slice(-1);
  assert.ok(Number(last.slice(5)) < STEPS, last);
  const schedule = { schedule: "cosine", lr: 1e-3, minLr: 1e-4, warmup: 30, steps: STEPS } as const;
  for (const { step, lr } of losses("minutes")) assert.equal(lr, learningRate(step - 1, schedule));
  await place.run(["--out", "minutes", "--resume", "--log-every", "1", ...CPU]);
  assertSame(place.newest("minutes"), place.newest("whole"), "minutes");
  assert.deepEqual(losses("minutes"), losses("whole"));
});

test("--steps may be raised", TIMEOUT, async () => {
  const args = [...COMMON, "--schedule", "constant", "--warmup", "10"];
  await Promise.all([
    place.run([...args, "--steps", "60", "--out", "straight"]),
    place
      .run([...args, "--steps", "30", "--out", "raised"])
      .then(() => place.run([...args, "--steps", "60", "--out", "raised", "--resume"])),
  ]);
  assertSame(place.newest("raised"), place.newest("straight"), "raised");
});

test("a run that has ended can be resumed: nothing but its summary is made again", TIMEOUT, async () => {
  const metrics = place.metrics("raised");
  const { stdout } = await place.run(["--out", "raised", "--resume", ...CPU]);
  assert.match(stdout, /Checkpoint: raised\/step-00000060/);
  assert.deepEqual(place.metrics("raised"), metrics);
});

test("--keep bounds the checkpoints", () => {
  assert.deepEqual(place.checkpoints("whole"), ["step-00000250", "step-00000300"]);
});

const losses = (run: string) => timeless(place.metrics(run)).filter(({ loss }) => loss !== undefined);
