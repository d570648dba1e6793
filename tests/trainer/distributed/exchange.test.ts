import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { bf16ToF32 } from "../../../runtime/formats/f16.ts";
import type { Collective } from "../../../trainer/collective/collective.ts";
import { f32ToBf16 } from "../../../trainer/collective/mpi/bf16.ts";
import { agreedStop, broadcast, Exchange, mustAgree, stopNumber } from "../../../trainer/distributed/synchronization.ts";
import type { Stop } from "../../../trainer/distributed/stop-reason.ts";

const round = (values: Float32Array) => bf16ToF32(f32ToBf16(Float32Array.from(values)));

/** Ranks of this process, over a wire that keeps 8 significant bits. */
function ranksOf(world: number): Collective[] {
  let waiting: { values: Float32Array; done: () => void }[] = [];
  const allReduce = async (values: Float32Array) => {
    await new Promise<void>((done) => {
      waiting.push({ values, done });
      if (waiting.length < world) return;
      const arrived = waiting;
      waiting = [];
      const parts = arrived.map(({ values }) => round(values));
      const sum = round(parts[0].map((_, i) => parts.reduce((sum, part) => sum + part[i], 0)));
      for (const { values, done } of arrived) {
        values.set(sum);
        done();
      }
    });
  };
  return Array.from({ length: world }, (_, rank) => {
    return { rank, world, description: "", allReduce, abort() {}, dispose() {} };
  });
}

test("messages arrive to the last bit, beside sums that the wire rounds", async () => {
  const message = fc.array(fc.double(), { minLength: 3, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 5 }), async (messages) => {
      const all = await Promise.all(
        ranksOf(messages.length).map((rank, i) => {
          const exchange = new Exchange(rank, { values: 2, numbers: 3 });
          exchange.values.set([1, i]);
          return exchange.run(...messages[i]).then((told) => ({ told, sums: [...exchange.values] }));
        }),
      );
      const world = messages.length;
      for (const { told, sums } of all) {
        assert.deepEqual(told, messages);
        assert.deepEqual(sums, [world, (world * (world - 1)) / 2]);
      }
    }),
    { numRuns: 50 },
  );
});

test("one rank's values come to all as they are, of whatever bits", async () => {
  const values = fc.uint8Array({ minLength: 4, maxLength: 64 });
  await fc.assert(
    fc.asyncProperty(values, fc.nat(2), async (bytes, from) => {
      const bits = Uint8Array.from(bytes).slice(0, bytes.length - (bytes.length % 4));
      const buffers = await Promise.all(
        ranksOf(3).map(async (rank) => {
          const own = rank.rank === from ? bits.slice() : new Uint8Array(bits.length);
          await broadcast(rank, new Float32Array(own.buffer), from);
          return own;
        }),
      );
      for (const buffer of buffers) assert.deepEqual(buffer, bits);
    }),
    { numRuns: 50 },
  );
});

test("one rank that wants to stop stops all; a signal comes before the time", () => {
  const agreed = (...stops: (Stop | undefined)[]) => agreedStop(stops.map(stopNumber));
  assert.equal(agreed(undefined, undefined), undefined);
  assert.equal(agreed(undefined, "minutes"), "minutes");
  assert.equal(agreed(undefined, "minutes", "SIGTERM"), "SIGTERM");
});

test("ranks that found different things refuse to begin", async () => {
  const check = (found: unknown[]) =>
    Promise.allSettled(ranksOf(3).map((rank) => mustAgree(rank, found[rank.rank], "settings")));
  const same = await check([{ a: 1 }, { a: 1 }, { a: 1 }]);
  assert.deepEqual(
    same.map(({ status }) => status),
    ["fulfilled", "fulfilled", "fulfilled"],
  );
  for (const result of await check([{ a: 1 }, { a: 1 }, { a: 2 }])) {
    assert.ok(result.status === "rejected" && result.reason instanceof ReflowError);
    assert.match(result.reason.message, /^rank 2 does not have the settings that rank 0 has$/);
  }
});
