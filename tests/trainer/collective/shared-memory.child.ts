/** A rank of shared-memory.test.ts: sums values with the other ranks, and compares them with the expected sums. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { SLOT_LENGTH } from "../../../trainer/collective/job-memory.ts";
import { joinLaunched } from "../../../trainer/distributed/join-launched.ts";

const collective = joinLaunched(20);
const { rank, world } = collective;
const MAX_LENGTH = 2 * SLOT_LENGTH + 1000;

/** A rank's values, of many magnitudes, so that many sums depend on the order of addition. */
function valuesOf(rank: number): Float32Array {
  let state = 7919 * (rank + 1);
  return new Float32Array(MAX_LENGTH).map(() => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >> 8) * 2 ** -((state >>> 27) & 15);
  });
}

function sumInOrder([first, ...others]: Float32Array[]): Float32Array {
  const sum = first.slice();
  for (const other of others) for (let i = 0; i < sum.length; i++) sum[i] += other[i];
  return sum;
}

const parts = Array.from({ length: world }, (_, rank) => valuesOf(rank));
const expected = sumInOrder(parts);
if (world > 2) assert.notDeepEqual(expected, sumInOrder(parts.toReversed()), "the sums depend on the order");

const edges = [
  0,
  1,
  15,
  16,
  17,
  32 * world,
  SLOT_LENGTH - 1,
  SLOT_LENGTH,
  SLOT_LENGTH + 1,
  2 * SLOT_LENGTH,
  2 * SLOT_LENGTH + 1,
];
const lengths = fc.oneof(fc.constantFrom(...edges), fc.nat(100), fc.nat(MAX_LENGTH - 100));
// Every rank draws the same lengths, from the same seed.
await fc.assert(
  fc.asyncProperty(lengths, fc.nat(100), async (length, start) => {
    const buffer = new Float32Array(length + 2).fill(7);
    const values = buffer.subarray(1, 1 + length);
    const end = start + length;
    values.set(parts[rank].subarray(start, end));
    await collective.allReduce(values);
    const sum = expected.subarray(start, end);
    const wrong = values.findIndex((x, i) => !Object.is(x, sum[i]));
    assert.equal(
      wrong,
      -1,
      `rank ${rank}, value ${wrong} of ${length}: ${values[wrong]}, expected ${sum[wrong]}`,
    );
    assert.deepEqual([buffer[0], buffer[length + 1]], [7, 7]);
  }),
  { seed: world, numRuns: 60, endOnFailure: true },
);

const odd = Float32Array.of(1, rank === 0 ? Number.NaN : 1, rank === 1 ? Number.POSITIVE_INFINITY : 1);
await collective.allReduce(odd);
assert.deepEqual([...odd], [world, Number.NaN, Number.POSITIVE_INFINITY]);
collective.dispose();
if (rank === 0) console.log(`${collective.description}: done`);
process.exit();
