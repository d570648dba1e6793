import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { SCRIPT_COMMAND } from "../../../runtime/host/child-process.ts";
import { JobMemory } from "../../../trainer/collective/job-memory.ts";
import { joinSharedMemory } from "../../../trainer/collective/shared-memory.ts";
import { launch } from "../../../trainer/distributed/launch.ts";
import { measureAllReduce } from "../../../trainer/distributed/measure-all-reduce.ts";

const TIMEOUT = { timeout: 60_000 };
const CHILD = join(import.meta.dirname, "shared-memory.child.ts");

for (const world of [2, 4]) {
  test(`${world} processes sum in rank order, bit for bit`, TIMEOUT, async () => {
    let output = "";
    const status = await launch({
      commands: Array(world).fill([...SCRIPT_COMMAND, CHILD]),
      devices: Array(world).fill("cpu"),
      onOutput: (text) => {
        output += text;
      },
    });
    assert.equal(status, 0);
    assert.equal(output, `${world} ranks over shared memory: done\n`);
  });
}

/** Two ranks in this process, which have completed one all-reduce. */
async function twoRanks(deadlineSeconds: number) {
  const memory = JobMemory.create(2);
  const ranks = [0, 1].map((rank) => joinSharedMemory(memory.path, { rank, world: 2, deadlineSeconds }));
  assert.equal(existsSync(memory.path), false, "the name is gone once all ranks have joined");
  await Promise.all(ranks.map((rank) => rank.allReduce(new Float32Array(1))));
  return ranks;
}

const isJobError = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ReflowError && error.code === "job", `${error}`);
  assert.match(error.message, message);
  return true;
};

test("a missing rank is named in the error of every rank", async () => {
  const [first, second] = await twoRanks(0.1);
  const message =
    /^rank 1 ended the job: the other ranks waited 0\.1 s for it in an all-reduce; its process is running$/;
  await assert.rejects(first.allReduce(new Float32Array(3)), isJobError(message));
  await assert.rejects(second.allReduce(new Float32Array(3)), isJobError(message));
});

test("a rank that aborts the job ends it for waiting and later ranks", async () => {
  const [first, second] = await twoRanks(60);
  const waiting = assert.rejects(
    second.allReduce(new Float32Array(3)),
    isJobError(/^rank 0 ended the job: äh$/),
  );
  first.abort("äh");
  first.abort("only the first reason counts");
  await waiting;
  await assert.rejects(second.allReduce(new Float32Array(3)), isJobError(/: äh$/));
});

test("ranks that sum different numbers of values throw a RangeError", async () => {
  const ranks = await twoRanks(60);
  const sums = ranks.map((rank, i) => assert.rejects(rank.allReduce(new Float32Array(1 + i)), RangeError));
  await Promise.all(sums);
});

test("measureAllReduce returns a time per length", TIMEOUT, async () => {
  const times = await measureAllReduce(2, [1, 100_000]);
  assert.deepEqual(
    times.map(({ length }) => length),
    [1, 100_000],
  );
  for (const { seconds } of times) assert.ok(seconds > 0 && seconds < 1, `${seconds} s`);
});
