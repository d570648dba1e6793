import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { JobMemory } from "../../../trainer/collective/job-memory.ts";
import { measureAllReduce } from "../../../trainer/distributed/measure-all-reduce.ts";
import { joinSharedMemory } from "../../../trainer/collective/shared-memory.ts";
import { HOST, launch } from "../../../trainer/distributed/launch.ts";

const TIMEOUT = { timeout: 60_000 };
const CHILD = join(import.meta.dirname, "shared-memory.child.ts");

for (const world of [2, 4]) {
  test(`${world} processes sum in the order of ranks, bit for bit`, TIMEOUT, async () => {
    let output = "";
    const status = await launch({
      commands: Array(world).fill([...HOST, CHILD]),
      devices: Array(world).fill("cpu"),
      onOutput: (text) => {
        output += text;
      },
    });
    assert.equal(status, 0);
    assert.equal(output, `${world} ranks over shared memory: done\n`);
  });
}

/** Two ranks in this process, which have met once. */
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

test("a rank that doesn't come is named to the others, and finds out itself", async () => {
  const [first, second] = await twoRanks(0.1);
  const message =
    /^rank 1 ended the job: the others waited 0\.1 s for it in an all-reduce; its process is running$/;
  await assert.rejects(first.allReduce(new Float32Array(3)), isJobError(message));
  await assert.rejects(second.allReduce(new Float32Array(3)), isJobError(message));
});

test("a rank that ends the job ends it for those who wait and those who come later", async () => {
  const [first, second] = await twoRanks(60);
  const waiting = assert.rejects(
    second.allReduce(new Float32Array(3)),
    isJobError(/^rank 0 ended the job: äh$/),
  );
  first.abort("äh");
  first.abort("of several reasons the first one counts");
  await waiting;
  await assert.rejects(second.allReduce(new Float32Array(3)), isJobError(/: äh$/));
});

test("ranks that sum different things are a bug, and found", async () => {
  const ranks = await twoRanks(60);
  const sums = ranks.map((rank, i) => assert.rejects(rank.allReduce(new Float32Array(1 + i)), RangeError));
  await Promise.all(sums);
});

test("the time that sums take", TIMEOUT, async () => {
  const times = await measureAllReduce(2, [1, 100_000]);
  assert.deepEqual(
    times.map(({ length }) => length),
    [1, 100_000],
  );
  for (const { seconds } of times) assert.ok(seconds > 0 && seconds < 1, `${seconds} s`);
});
