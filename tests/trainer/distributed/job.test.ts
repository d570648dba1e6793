/** Jobs of several ranks that one of them, or somebody else, ends: what is said, what is left, and that it goes on. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Child } from "../../support/child.ts";
import { assertSame, COMMON, timeless, Workplace } from "../workspace.ts";

const place = new Workplace();
const TIMEOUT = { timeout: 60_000 };
const STEPS = 250;
const COMMAND = [
  ...[...COMMON, "--world", "2", "--batch", "4", "--steps", `${STEPS}`, "--lr", "1e-3", "--warmup", "30"],
  ...["--log-every", "1", "--save-every", "50"],
];

before(() => place.run([...COMMAND, "--out", "whole"]), TIMEOUT);

/** Process ids of the ranks that a launcher started, by rank. They are found after its death, too. */
function ranksOf({ child }: Child): number[] {
  const ranks: number[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      const memory = new RegExp(`^REFLOW_MEMORY=.*/reflow-${child.pid}-`, "m");
      const variables = environment.replaceAll("\0", "\n");
      if (memory.test(variables)) ranks[Number(/^REFLOW_RANK=(\d)/m.exec(variables)![1])] = Number(pid);
    } catch {
      // It ended, or is somebody else's.
    }
  }
  return ranks;
}

/** No process and no shared memory is left of a job. */
function assertGone(trainer: Child): void {
  assert.deepEqual(ranksOf(trainer), []);
  const left = readdirSync("/dev/shm").filter((name) => name.startsWith(`reflow-${trainer.child.pid}-`));
  assert.deepEqual(left, []);
}

/** Ends with status 1 within so many seconds, and one error. */
async function assertFails(trainer: Child, error: RegExp, seconds = 10): Promise<void> {
  const start = performance.now();
  await trainer.ends(1);
  const took = (performance.now() - start) / 1000;
  assert.ok(took < seconds, `it took ${took} s`);
  assert.equal(trainer.stderr.match(/^error: /gm)?.length, 1, trainer.stderr);
  assert.match(trainer.stderr, error);
  assert.doesNotMatch(trainer.stderr, /\n {4}at /, "a stack trace");
  assertGone(trainer);
}

const losses = (run: string) => timeless(place.metrics(run)).filter(({ loss }) => loss !== undefined);

/** Its resumption leaves what the run would have left that nothing happened to. */
async function assertResumes(run: string): Promise<void> {
  await place.run([...COMMAND, "--out", run, "--resume"]);
  assertSame(place.newest(run), place.newest("whole"), run);
  assert.deepEqual(losses(run), losses("whole"));
}

for (const rank of [0, 1]) {
  test(`kill -9 of rank ${rank}: the job ends, and resumes bit for bit`, TIMEOUT, async () => {
    const run = `killed-${rank}`;
    const trainer = place.start([...COMMAND, "--out", run]);
    await trainer.says(/step 60\//);
    const pid = ranksOf(trainer)[rank];
    process.kill(pid, "SIGKILL");
    const error = new RegExp(
      `\nerror: rank ${rank} \\(process ${pid}, wasm\\): ended by SIGKILL\nhelp: {2}--resume goes on`,
    );
    await assertFails(trainer, error);
    await assertResumes(run);
  });
}

test("a rank that stalls past the deadline", TIMEOUT, async () => {
  const trainer = place.start([...COMMAND, "--steps", "100000", "--deadline", "0.5", "--out", "stalled"]);
  await trainer.says(/step 10\//);
  const pid = ranksOf(trainer)[1];
  process.kill(pid, "SIGSTOP");
  await assertFails(
    trainer,
    new RegExp(
      `\nerror: rank 1 \\(process ${pid}, wasm\\): the others waited 0\\.5 s for it in an all-reduce; its process is stopped\n`,
    ),
  );
});

for (const [fault, what] of [
  ["loss", "the loss is NaN"],
  ["gradient", "the gradients' norm is NaN"],
]) {
  test(`a ${fault} that is not finite on one rank`, TIMEOUT, async () => {
    const faults = { FAULT: fault, FAULT_STEP: "12", FAULT_RANK: "1" };
    const args = [...COMMAND, "--save-every", "10", "--out", fault];
    const trainer = place.start(args, [], faults);
    await assertFails(
      trainer,
      new RegExp(`\nerror: rank 1 \\(process \\d+, wasm\\): step 12: ${what}\nhelp: {2}lower --lr`),
    );
    assert.deepEqual(place.checkpoints(fault), ["step-00000010"]);
  });
}

test("a launcher that is killed takes its ranks along", TIMEOUT, async () => {
  const trainer = place.start([...COMMAND, "--steps", "100000", "--out", "orphaned"]);
  await trainer.says(/step 10\//);
  assert.equal(ranksOf(trainer).length, 2);
  trainer.signal("SIGKILL");
  await trainer.ends("SIGKILL");
  const start = performance.now();
  while (ranksOf(trainer).length > 0 && performance.now() - start < 5000) await sleep(50);
  assertGone(trainer);
});

test("a signal to the launcher, or to a rank: all save the same step, and go on", TIMEOUT, async () => {
  const trainer = place.start([...COMMAND, "--out", "interrupted"]);
  await trainer.says(/step 60\//);
  trainer.signal("SIGINT");
  await trainer.ends(130);
  assertGone(trainer);
  const [first] = place.checkpoints("interrupted").slice(-1);
  assert.match(
    trainer.stderr,
    new RegExp(`SIGINT.*: saving.*\n(.*\n)*Saved interrupted/${first}; add --resume`),
  );

  const second = place.start([...COMMAND, "--out", "interrupted", "--resume"]);
  await second.says(new RegExp(`step ${Number(first.slice(5)) + 50}/`));
  process.kill(ranksOf(second)[1], "SIGTERM");
  await second.ends(143);
  assertGone(second);
  await assertResumes("interrupted");
});

test(
  "a signal that comes twice at once, as a terminal's does through bun run: it is one",
  TIMEOUT,
  async () => {
    const trainer = place.start([...COMMAND, "--steps", "100000", "--out", "terminal"]);
    await trainer.says(/step 10\//);
    // Nothing can be saved before the second one comes.
    const [, rank] = ranksOf(trainer);
    process.kill(rank, "SIGSTOP");
    trainer.signal("SIGINT");
    await sleep(20);
    trainer.signal("SIGINT");
    await sleep(100);
    process.kill(rank, "SIGCONT");
    await trainer.ends(130);
    assert.equal(place.checkpoints("terminal").length, 1);
  },
);

test("a second signal ends the ranks at once", TIMEOUT, async () => {
  const trainer = place.start([...COMMAND, "--steps", "100000", "--out", "impatient"]);
  await trainer.says(/step 10\//);
  process.kill(ranksOf(trainer)[1], "SIGSTOP");
  trainer.signal("SIGINT");
  await trainer.says(/once more to leave at once/);
  await sleep(300);
  trainer.signal("SIGINT");
  await trainer.ends(130);
  assertGone(trainer);
  assert.doesNotMatch(trainer.stderr, /error/);
});

test("what users can mend is said once, with status 2", TIMEOUT, async () => {
  const first = place.start([...COMMAND, "--data", "none.txt", "--out", "mistaken"]);
  const second = place.start([...COMMAND, "--out", "whole"]);
  await Promise.all([first.ends(2), second.ends(2)]);
  assert.equal(
    first.stderr.slice(first.stderr.indexOf("error")),
    "error: none.txt: there is no such file or folder\nhelp:  check the path, and that you may read it\n",
  );
  assert.equal(
    second.stderr,
    "error: whole holds a run already\nhelp:  add --resume to go on, or choose another --out\n",
  );
  for (const trainer of [first, second]) assertGone(trainer);
});

test("--dry-run of several ranks", TIMEOUT, async () => {
  const trainer = await place.run([...COMMAND, "--dry-run", "--out", "dry"]);
  assert.match(trainer.stderr, /250 steps of 128 tokens \(batch 4 × accumulate 1 × 2 ranks × context 16\)/);
  assertGone(trainer);
});
