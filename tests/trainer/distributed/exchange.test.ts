import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { bf16ToF32 } from "../../../runtime/formats/f16.ts";
import type { Collective } from "../../../trainer/collective/collective.ts";
import { f32ToBf16 } from "../../../trainer/collective/mpi/bf16.ts";
import { broadcast, Exchange, requireAgreement } from "../../../trainer/distributed/exchange.ts";
import {
  agreedStopReason,
  encodeStopReason,
  type StopReason,
} from "../../../trainer/distributed/stop-reason.ts";

const round = (values: Float32Array) => bf16ToF32(f32ToBf16(Float32Array.from(values)));

/** Ranks within this process, over a wire that keeps 8 significant bits. */
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

test("gathered numbers are exact, while the wire rounds the sums", async () => {
  const message = fc.array(fc.double(), { minLength: 3, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 5 }), async (messages) => {
      const all = await Promise.all(
        ranksOf(messages.length).map((rank, i) => {
          const exchange = new Exchange(rank, { values: 2, numbers: 3 });
          exchange.values.set([1, i]);
          return exchange
            .sumAndGather(...messages[i])
            .then((gathered) => ({ gathered, sums: [...exchange.values] }));
        }),
      );
      const world = messages.length;
      for (const { gathered, sums } of all) {
        assert.deepEqual(gathered, messages);
        assert.deepEqual(sums, [world, (world * (world - 1)) / 2]);
      }
    }),
    { numRuns: 50 },
  );
});

test("broadcast copies any bit pattern exactly", async () => {
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

test("one rank that stops ends the job; a signal takes precedence over the time limit", () => {
  const agreed = (...stops: (StopReason | undefined)[]) => agreedStopReason(stops.map(encodeStopReason));
  assert.equal(agreed(undefined, undefined), undefined);
  assert.equal(agreed(undefined, "minutes"), "minutes");
  assert.equal(agreed(undefined, "minutes", "SIGTERM"), "SIGTERM");
});

test("ranks with different settings are an error on every rank", async () => {
  const check = (found: unknown[]) =>
    Promise.allSettled(ranksOf(3).map((rank) => requireAgreement(rank, found[rank.rank], "settings")));
  const same = await check([{ a: 1 }, { a: 1 }, { a: 1 }]);
  assert.deepEqual(
    same.map(({ status }) => status),
    ["fulfilled", "fulfilled", "fulfilled"],
  );
  for (const result of await check([{ a: 1 }, { a: 1 }, { a: 2 }])) {
    assert.ok(result.status === "rejected" && result.reason instanceof ReflowError);
    assert.match(result.reason.message, /^rank 2 and rank 0 differ in settings$/);
  }
});
