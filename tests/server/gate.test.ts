import { expect, test } from "bun:test";
import { Gate } from "../../server/gate.ts";

/** Something that runs until it is told to end. */
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
const turn = () => new Promise((resolve) => setTimeout(resolve));

test("so many run at once, the others in their order", async () => {
  const gate = new Gate({ places: 2, queue: 8 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const all = Promise.all([a, b, c].map(({ compute }) => gate.run(compute)));
  await turn();
  expect(log).toEqual(["a begins", "b begins"]);
  b.end();
  await turn();
  expect(log.slice(2)).toEqual(["b ends", "c begins"]);
  a.end();
  c.end();
  expect(await all).toEqual(["a", "b", "c"]);
});

test("who wants to be alone waits for all, and nobody passes", async () => {
  const gate = new Gate({ places: 2, queue: 8 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const running = [gate.run(a.compute), gate.alone(b.compute), gate.run(c.compute)];
  await turn();
  expect(log).toEqual(["a begins"]);
  a.end();
  await turn();
  expect(log.slice(1)).toEqual(["a ends", "b begins"]);
  b.end();
  c.end();
  await Promise.all(running);
  expect(log.slice(3)).toEqual(["b ends", "c begins", "c ends"]);
});

test("too many are turned away, and who leaves makes room", async () => {
  const gate = new Gate({ places: 1, queue: 2 });
  const log: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((name) => task(log, name));
  const first = gate.run(a.compute);
  const left = new AbortController();
  const second = gate.alone(b.compute, left.signal);
  const third = gate.run(c.compute);
  expect(gate.run(c.compute)).rejects.toMatchObject({ code: "busy" });
  left.abort(new Error("left"));
  expect(second).rejects.toThrow("left");
  expect(gate.run(c.compute, AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
  a.end();
  c.end();
  await Promise.all([first, third]);
  expect(log).toEqual(["a begins", "a ends", "c begins", "c ends"]);
});

test("what fails makes room, and an abort that comes too late changes nothing", async () => {
  const gate = new Gate({ places: 1, queue: 1 });
  const left = new AbortController();
  const fail = gate.run(async () => {
    left.abort();
    throw new Error("failed");
  }, left.signal);
  expect(fail).rejects.toThrow("failed");
  expect(await gate.run(async () => 7)).toBe(7);
});
