/** Failures and signals in jobs of several ranks: the error, the files left behind, and the resumed run. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Child } from "../../support/child.ts";
import { assertSameFiles, COMMON, Workspace, withoutTimings } from "../workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 60_000 };
const STEPS = 250;
const COMMAND = [
  ...[...COMMON, "--world", "2", "--batch", "4", "--steps", `${STEPS}`, "--lr", "1e-3", "--warmup", "30"],
  ...["--log-every", "1", "--save-every", "50"],
];

before(() => workspace.run([...COMMAND, "--out", "whole"]), TIMEOUT);

/** The process ids of the ranks that a launcher started, by rank. Also finds them after the launcher's death. */
function ranksOf({ child }: Child): number[] {
  const ranks: number[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      const memory = new RegExp(`^REFLOW_MEMORY=.*/reflow-${child.pid}-`, "m");
      const variables = environment.replaceAll("\0", "\n");
      if (memory.test(variables)) ranks[Number(/^REFLOW_RANK=(\d)/m.exec(variables)![1])] = Number(pid);
    } catch {
      // The process has ended, or belongs to another user.
    }
  }
  return ranks;
}

/** Asserts that no process and no shared memory of a job remain. */
function assertGone(trainer: Child): void {
  assert.deepEqual(ranksOf(trainer), []);
  const left = readdirSync("/dev/shm").filter((name) => name.startsWith(`reflow-${trainer.child.pid}-`));
  assert.deepEqual(left, []);
}

/** Asserts that the job ends with status 1 and a single error, within the given number of seconds. */
async function assertFails(trainer: Child, error: RegExp, seconds = 10): Promise<void> {
  const start = performance.now();
  await trainer.waitForExit(1);
  const took = (performance.now() - start) / 1000;
  assert.ok(took < seconds, `it took ${took} s`);
  assert.equal(trainer.stderr.match(/^error: /gm)?.length, 1, trainer.stderr);
  assert.match(trainer.stderr, error);
  assert.doesNotMatch(trainer.stderr, /\n {4}at /, "a stack trace");
  assertGone(trainer);
}

const losses = (run: string) =>
  withoutTimings(workspace.metrics(run)).filter(({ loss }) => loss !== undefined);

/** Asserts that the resumed run equals an uninterrupted one. */
async function assertResumes(run: string): Promise<void> {
  await workspace.run([...COMMAND, "--out", run, "--resume"]);
  assertSameFiles(workspace.newest(run), workspace.newest("whole"), run);
  assert.deepEqual(losses(run), losses("whole"));
}

for (const rank of [0, 1]) {
  test(`kill -9 of rank ${rank} ends the job, which resumes bit for bit`, TIMEOUT, async () => {
    const run = `killed-${rank}`;
    const trainer = workspace.start([...COMMAND, "--out", run]);
    await trainer.waitForOutput(/step 60\//);
    const pid = ranksOf(trainer)[rank];
    process.kill(pid, "SIGKILL");
    const error = new RegExp(
      `\nerror: rank ${rank} \\(process ${pid}, wasm\\): ended by SIGKILL\nhelp: {2}pass --resume to continue`,
    );
    await assertFails(trainer, error);
    await assertResumes(run);
  });
}

test("a rank that stalls past the deadline ends the job", TIMEOUT, async () => {
  const trainer = workspace.start([...COMMAND, "--steps", "100000", "--deadline", "0.5", "--out", "stalled"]);
  await trainer.waitForOutput(/step 10\//);
  const pid = ranksOf(trainer)[1];
  process.kill(pid, "SIGSTOP");
  await assertFails(
    trainer,
    new RegExp(
      `\nerror: rank 1 \\(process ${pid}, wasm\\): the other ranks waited 0\\.5 s for it in an all-reduce; its process is stopped\n`,
    ),
  );
});

for (const [fault, what] of [
  ["loss", "the loss is NaN"],
  ["gradient", "the gradients' norm is NaN"],
]) {
  test(`a non-finite ${fault} on one rank ends the job`, TIMEOUT, async () => {
    const faults = { FAULT: fault, FAULT_STEP: "12", FAULT_RANK: "1" };
    const args = [...COMMAND, "--save-every", "10", "--out", fault];
    const trainer = workspace.start(args, [], faults);
    await assertFails(
      trainer,
      new RegExp(`\nerror: rank 1 \\(process \\d+, wasm\\): step 12: ${what}\nhelp: {2}lower --lr`),
    );
    assert.deepEqual(workspace.checkpoints(fault), ["step-00000010"]);
  });
}

test("ranks exit when their launcher is killed", TIMEOUT, async () => {
  const trainer = workspace.start([...COMMAND, "--steps", "100000", "--out", "orphaned"]);
  await trainer.waitForOutput(/step 10\//);
  assert.equal(ranksOf(trainer).length, 2);
  trainer.signal("SIGKILL");
  await trainer.waitForExit("SIGKILL");
  const start = performance.now();
  while (ranksOf(trainer).length > 0 && performance.now() - start < 5000) await sleep(50);
  assertGone(trainer);
});

test(
  "after a signal to the launcher or to a rank, all ranks save the same step and the run resumes",
  TIMEOUT,
  async () => {
    const trainer = workspace.start([...COMMAND, "--out", "interrupted"]);
    await trainer.waitForOutput(/step 60\//);
    trainer.signal("SIGINT");
    await trainer.waitForExit(130);
    assertGone(trainer);
    const [first] = workspace.checkpoints("interrupted").slice(-1);
    assert.match(
      trainer.stderr,
      new RegExp(`SIGINT.*: saving.*\n(.*\n)*Saved interrupted/${first}; pass --resume`),
    );

    const second = workspace.start([...COMMAND, "--out", "interrupted", "--resume"]);
    await second.waitForOutput(new RegExp(`step ${Number(first.slice(5)) + 50}/`));
    process.kill(ranksOf(second)[1], "SIGTERM");
    await second.waitForExit(143);
    assertGone(second);
    await assertResumes("interrupted");
  },
);

test("a duplicate signal, as from a terminal through bun run, counts once", TIMEOUT, async () => {
  const trainer = workspace.start([...COMMAND, "--steps", "100000", "--out", "terminal"]);
  await trainer.waitForOutput(/step 10\//);
  // A stopped rank prevents the checkpoint from completing before the second signal.
  const [, rank] = ranksOf(trainer);
  process.kill(rank, "SIGSTOP");
  trainer.signal("SIGINT");
  await sleep(20);
  trainer.signal("SIGINT");
  await sleep(100);
  process.kill(rank, "SIGCONT");
  await trainer.waitForExit(130);
  assert.equal(workspace.checkpoints("terminal").length, 1);
});

test("a second signal ends the ranks immediately", TIMEOUT, async () => {
  const trainer = workspace.start([...COMMAND, "--steps", "100000", "--out", "impatient"]);
  await trainer.waitForOutput(/step 10\//);
  process.kill(ranksOf(trainer)[1], "SIGSTOP");
  trainer.signal("SIGINT");
  await trainer.waitForOutput(/repeat the signal to exit immediately/);
  await sleep(300);
  trainer.signal("SIGINT");
  await trainer.waitForExit(130);
  assertGone(trainer);
  assert.doesNotMatch(trainer.stderr, /error/);
});

test("an error that the user can correct is printed once, with status 2", TIMEOUT, async () => {
  const first = workspace.start([...COMMAND, "--data", "none.txt", "--out", "mistaken"]);
  const second = workspace.start([...COMMAND, "--out", "whole"]);
  await Promise.all([first.waitForExit(2), second.waitForExit(2)]);
  assert.equal(
    first.stderr.slice(first.stderr.indexOf("error")),
    "error: none.txt: no such file or folder\nhelp:  check the path and its permissions\n",
  );
  assert.equal(
    second.stderr,
    "error: whole already contains a run\nhelp:  pass --resume to continue it, or choose another --out\n",
  );
  for (const trainer of [first, second]) assertGone(trainer);
});

test("--dry-run with several ranks", TIMEOUT, async () => {
  const trainer = await workspace.run([...COMMAND, "--dry-run", "--out", "dry"]);
  assert.match(trainer.stderr, /250 steps of 128 tokens \(batch 4 × accumulate 1 × 2 ranks × context 16\)/);
  assertGone(trainer);
});
