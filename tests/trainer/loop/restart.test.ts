import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { withBackend } from "../../../trainer/loop/restart.ts";
import { assertSameFiles, COMMON, Workspace, withoutTimings } from "../workspace.ts";

const lost = new ReflowError("lost", "the GPU was lost: it fell off the bus", "try again");

/** Runs work that fails the given number of times, and counts the backends created and disposed of, and the restarts. */
async function countRestarts(
  times: number,
  error: Error = lost,
): Promise<{ created: number; disposed: number; reported: number }> {
  const counts = { created: 0, disposed: 0, reported: 0 };
  const create = async () => {
    counts.created++;
    return { dispose: () => counts.disposed++ } as unknown as Backend;
  };
  const onLoss = () => counts.reported++;
  const work = async () => {
    if (counts.created <= times) throw error;
    return "done";
  };
  try {
    assert.equal(await withBackend({ create, restarts: 3, onLoss }, work), "done");
    assert.ok(times <= 3);
  } catch (thrown) {
    assert.equal(thrown, error);
  }
  return counts;
}

test("a lost device is replaced at most three times, and every backend is disposed of", async () => {
  assert.deepEqual(await countRestarts(0), { created: 1, disposed: 1, reported: 0 });
  assert.deepEqual(await countRestarts(3), { created: 4, disposed: 4, reported: 3 });
  assert.deepEqual(await countRestarts(4), { created: 4, disposed: 4, reported: 3 });
  const other = new ReflowError("memory", "the GPU is full");
  assert.deepEqual(await countRestarts(4, other), { created: 1, disposed: 1, reported: 0 });
});

test("a run whose device is lost resumes from its last checkpoint", { timeout: 60_000 }, async () => {
  const workspace = new Workspace();
  const args = [...COMMON, "--steps", "20", "--log-every", "1", "--save-every", "5"];
  const faults = { FAULT: "device", FAULT_STEP: "13", FAULT_RANK: "0" };
  await workspace.run([...args, "--out", "whole"]);
  const trainer = workspace.start([...args, "--out", "lost"], [], faults);
  await trainer.waitForExit(0);
  assert.match(
    trainer.stderr,
    /step 12\/20 .*\nthe GPU was lost: it fell off the bus; resuming from the last checkpoint\nwasm .*\nstep 11\/20 /,
  );
  assertSameFiles(workspace.newest("lost"), workspace.newest("whole"), "lost");
  assert.deepEqual(withoutTimings(workspace.metrics("lost")), withoutTimings(workspace.metrics("whole")));
});
