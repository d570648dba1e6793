import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { withBackend } from "../../../trainer/loop/restart.ts";
import { assertSame, COMMON, timeless, Workplace } from "../workspace.ts";

const lost = new ReflowError("lost", "the GPU was lost: it fell off the bus", "try again");

/** Counts what is made and disposed of, and runs work that fails so often. */
async function losing(
  times: number,
  error: Error = lost,
): Promise<{ made: number; disposed: number; said: number }> {
  const counts = { made: 0, disposed: 0, said: 0 };
  const create = async () => {
    counts.made++;
    return { dispose: () => counts.disposed++ } as unknown as Backend;
  };
  const onLoss = () => counts.said++;
  const work = async () => {
    if (counts.made <= times) throw error;
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

test("a lost device is replaced three times; every backend is disposed of", async () => {
  assert.deepEqual(await losing(0), { made: 1, disposed: 1, said: 0 });
  assert.deepEqual(await losing(3), { made: 4, disposed: 4, said: 3 });
  assert.deepEqual(await losing(4), { made: 4, disposed: 4, said: 3 });
  const other = new ReflowError("memory", "the GPU is full");
  assert.deepEqual(await losing(4, other), { made: 1, disposed: 1, said: 0 });
});

test("a run whose device is lost goes on from its last checkpoint", { timeout: 60_000 }, async () => {
  const place = new Workplace();
  const args = [...COMMON, "--steps", "20", "--log-every", "1", "--save-every", "5"];
  const faults = { FAULT: "device", FAULT_STEP: "13", FAULT_RANK: "0" };
  await place.run([...args, "--out", "whole"]);
  const trainer = place.start([...args, "--out", "lost"], [], faults);
  await trainer.ends(0);
  assert.match(
    trainer.stderr,
    /step 12\/20 .*\nthe GPU was lost: it fell off the bus; going on from the last checkpoint\nwasm .*\nstep 11\/20 /,
  );
  assertSame(place.newest("lost"), place.newest("whole"), "lost");
  assert.deepEqual(timeless(place.metrics("lost")), timeless(place.metrics("whole")));
});
