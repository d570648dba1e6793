import { expect, test } from "bun:test";
import { AdmissionQueue } from "../../../runtime/generation/admission-queue.ts";

/** A computation that runs until `end` is called. */
function task(log: string[], name: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const compute = async () => {
    log.push(`${name} begins`);
    await promise;
    log.push(`${name} ends`);
    return name;
  };
  return { compute, end: resolve };
}
const nextTask = () => new Promise((resolve) => setTimeout(resolve));

test("the configured number runs at once, and the others follow in order", async () => {
  const queue = new AdmissionQueue({ slots: 2, queue: 8 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const all = Promise.all([a, b, c].map(({ compute }) => queue.run(compute)));
  await nextTask();
  expect(log).toEqual(["a begins", "b begins"]);
  b.end();
  await nextTask();
  expect(log.slice(2)).toEqual(["b ends", "c begins"]);
  a.end();
  c.end();
  expect(await all).toEqual(["a", "b", "c"]);
});

test("an exclusive request waits for all running ones, and later requests do not overtake it", async () => {
  const queue = new AdmissionQueue({ slots: 2, queue: 8 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const running = [queue.run(a.compute), queue.exclusive(b.compute), queue.run(c.compute)];
  await nextTask();
  expect(log).toEqual(["a begins"]);
  a.end();
  await nextTask();
  expect(log.slice(1)).toEqual(["a ends", "b begins"]);
  b.end();
  c.end();
  await Promise.all(running);
  expect(log.slice(3)).toEqual(["b ends", "c begins", "c ends"]);
});

test("a full queue refuses requests, and an aborted request frees its place", async () => {
  const queue = new AdmissionQueue({ slots: 1, queue: 2 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const first = queue.run(a.compute);
  const left = new AbortController();
  const second = queue.exclusive(b.compute, { signal: left.signal });
  const third = queue.run(c.compute);
  expect(queue.run(c.compute)).rejects.toMatchObject({ code: "busy" });
  left.abort(new Error("left"));
  expect(second).rejects.toThrow("left");
  expect(queue.run(c.compute, { signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow("gone");
  a.end();
  c.end();
  await Promise.all([first, third]);
  expect(log).toEqual(["a begins", "a ends", "c begins", "c ends"]);
});

test("a failed request releases its slot, and a late abort has no effect", async () => {
  const queue = new AdmissionQueue({ slots: 1, queue: 1 });
  const left = new AbortController();
  const fail = queue.run(
    async () => {
      left.abort();
      throw new Error("failed");
    },
    { signal: left.signal },
  );
  expect(fail).rejects.toThrow("failed");
  expect(await queue.run(async () => 7)).toBe(7);
});

test("uncounted requests are neither counted nor refused", async () => {
  const queue = new AdmissionQueue({ slots: 1, queue: 0 });
  const first = task([], "first");
  const running = queue.run(first.compute);
  const exclusive = queue.exclusive(async () => "exclusive", { counted: false });
  expect([queue.active, queue.queued, queue.isFull]).toEqual([1, 0, true]);
  first.end();
  expect(await Promise.all([running, exclusive])).toEqual(["first", "exclusive"]);
  expect([queue.active, queue.isFull]).toEqual([0, false]);
});
