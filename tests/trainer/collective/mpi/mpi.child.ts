/** One rank of an MPI job, which runs the scene named by its first argument. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { ReflowError } from "../../../../runtime/common/errors.ts";
import { bf16ToF32 } from "../../../../runtime/formats/f16.ts";
import { f32ToBf16 } from "../../../../trainer/collective/mpi/bf16.ts";
import { createMpi, SLICE_LENGTH } from "../../../../trainer/collective/mpi/mpi-collective.ts";

const [scene, wire = "f32", ...more] = process.argv.slice(2) as [string, "f32" | "bf16", ...string[]];
const lengths = more.map(Number);

async function join() {
  try {
    return await createMpi({ wire, deadlineSeconds: ["stopped", "lengths"].includes(scene) ? 1 : 60 });
  } catch (error) {
    if (!(error instanceof ReflowError)) throw error;
    console.error(`${error.code}: ${error.message}\nhelp: ${error.help}`);
    process.exit(2);
  }
}
const mpi = await join();
const { rank, world } = mpi;

/** A rank's values, of many magnitudes, so that many sums depend on the order of addition. */
function valuesOf(rank: number, length: number): Float32Array {
  let state = 7919 * (rank + 1);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = (state >> 8) * 2 ** -((state >>> 27) & 15);
  }
  return values;
}

function sumInOrder(parts: Float32Array[]): Float32Array {
  const sum = parts[0].slice();
  for (const part of parts.slice(1)) {
    for (let i = 0; i < sum.length; i++) sum[i] += part[i];
  }
  return sum;
}

function assertEqual(found: Float32Array, expected: Float32Array): void {
  const at = expected.findIndex((x, i) => !Object.is(x, found[i]));
  assert.equal(at, -1, `value ${at} of ${expected.length} is ${found[at]}, expected ${expected[at]}`);
}

const scenes: Record<string, () => Promise<void>> = {
  async sums() {
    const chunk = SLICE_LENGTH * world;
    const most = chunk + 1000;
    const parts = Array.from({ length: world }, (_, rank) => valuesOf(rank, most));
    const sum = sumInOrder(parts);
    if (world > 2) assert.notDeepEqual(sum, sumInOrder(parts.toReversed()), "the sums depend on the order");
    const round = (values: Float32Array) => bf16ToF32(f32ToBf16(values));
    const expected = wire === "f32" ? sum : round(sumInOrder(parts.map(round)));
    if (wire === "bf16") {
      const sizes = sumInOrder(parts.map((part) => part.map(Math.abs)));
      const isNear = (x: number, i: number) => Math.abs(x - sum[i]) <= 2 ** -7 * sizes[i];
      assert.ok(expected.every(isNear), "the error is within its bound");
    }
    const edges = [0, 1, 2, 3, world + 1, chunk - 1, chunk, chunk + 1, most];
    for (const length of [...edges, ...lengths.filter((length) => length < most)]) {
      const values = parts[rank].slice(0, length);
      await mpi.allReduce(values);
      assertEqual(values, expected.subarray(0, length));
    }
    // A non-finite value on one rank makes the sum non-finite on all.
    const values = Float32Array.of(
      1,
      rank === 0 ? Number.NaN : 1,
      rank === world - 1 ? Number.POSITIVE_INFINITY : 1,
    );
    await mpi.allReduce(values);
    assertEqual(values, Float32Array.of(world, Number.NaN, Number.POSITIVE_INFINITY));
    // A view into shared memory: values outside the view must not change.
    const shared = new Float32Array(new SharedArrayBuffer(40)).fill(1);
    await mpi.allReduce(shared.subarray(3, 8));
    assertEqual(
      shared,
      Float32Array.from({ length: 10 }, (_, i) => (i >= 3 && i < 8 ? world : 1)),
    );
  },

  async signals() {
    const pid = Float32Array.of(rank === 0 ? process.pid : 0);
    await mpi.allReduce(pid);
    if (rank > 0) {
      await sleep(200);
      process.kill(pid[0], "SIGINT");
      await sleep(300);
      return mpi.allReduce(pid);
    }
    const heard: string[] = [];
    process.once("SIGINT", () => heard.push("signal"));
    setTimeout(() => heard.push("timer"), 100);
    await mpi.allReduce(pid);
    assert.deepEqual(heard, ["timer", "signal"]);
  },

  async traps() {
    // (module (memory 1) (func (export "load") (param i32) (result i32) local.get 0 i32.load))
    const header = [0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 5, 3, 1, 0, 1];
    const body = [7, 8, 1, 4, 108, 111, 97, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11];
    const { instance } = await WebAssembly.instantiate(Uint8Array.of(...header, ...body));
    const load = instance.exports.load as (address: number) => number;
    assert.equal(load(0), 0);
    assert.throws(() => load(2 ** 30), WebAssembly.RuntimeError);
  },

  abort: () => failing(() => mpi.abort("the disk is full")),
  exit: () => failing(() => process.exit()),
  throw: () =>
    failing(() => {
      throw new Error("something unforeseen");
    }),
  killed: () => failing(() => process.kill(process.pid, "SIGKILL")),
  lengths: () => failing(() => mpi.allReduce(new Float32Array(9))),
  stopped: () => failing(() => process.kill(process.pid, "SIGSTOP")),
};

/** The last rank fails after an all-reduce; the other ranks wait for it in the next one. */
async function failing(fail: () => unknown): Promise<void> {
  await mpi.allReduce(new Float32Array(10));
  try {
    if (rank === world - 1) await fail();
    await mpi.allReduce(new Float32Array(10));
  } catch (error) {
    if (!(error instanceof ReflowError)) throw error;
    assert.equal(error.code, "job");
    mpi.dispose(); // must not wait for the failed rank
    console.error(`error: ${error.message}`);
    process.exit(2);
  }
}

await scenes[scene]();
console.log(`rank ${rank} of ${mpi.description}: done`);
mpi.dispose();
mpi.dispose();
process.exit();
