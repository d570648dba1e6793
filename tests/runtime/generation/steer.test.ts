import { expect, test } from "bun:test";
import type { GenerateEvent } from "../../../runtime/generation/options.ts";
import type { SteerEvent } from "../../../runtime/generation/steer.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { SEA, setUp } from "../interventions/support.ts";

const setting = await setUp();
const { model } = setting;
const interventions: Intervention[] = [
  {
    op: "add",
    target: { expression: "the - sea" },
    hook: "hook_resid_post",
    layers: [0, 1],
    strength: 1,
    unit: "residNorm",
  },
];

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const event of events) list.push(event);
  return list;
}

const eventsOf = (events: SteerEvent[], wanted: SteerEvent["run"]): GenerateEvent[] =>
  events.filter(({ run }) => run === wanted).map(({ run: _, ...event }) => event);

test("both runs equal generate with the same seed, and their events alternate", async () => {
  const options = { maxTokens: 6, seed: 4, logprobs: 2 };
  for (const prompts of ["the sea", ["the sea", "the people went"]]) {
    const events = await all(model.steer(prompts, { ...options, interventions }));
    expect(eventsOf(events, "default")).toEqual(await all(model.generate(prompts, options)));
    expect(eventsOf(events, "steered")).toEqual(
      await all(model.generate(prompts, { ...options, interventions })),
    );
    expect(eventsOf(events, "steered")).not.toEqual(eventsOf(events, "default"));
    expect(new Set(events.slice(0, 2).map(({ run }) => run)).size).toBe(2);
  }
});

test("without a seed, both runs share a random one", async () => {
  const idle: Intervention[] = [{ ...interventions[0], strength: 0 } as Intervention];
  const events = await all(model.steer("the sea", { interventions: idle, maxTokens: 8 }));
  expect(eventsOf(events, "steered")).toEqual(eventsOf(events, "default"));
});

test("a run continues when the other has ended", async () => {
  const end: Intervention[] = [
    { op: "set", target: { token: "<|endoftext|>" }, hook: "hook_logits", value: 1000 },
  ];
  const events = await all(model.steer("the", { interventions: end, maxTokens: 3, temperature: 0 }));
  expect(eventsOf(events, "steered")).toEqual([{ type: "finish", index: 0, reason: "endOfText", text: "" }]);
  expect(eventsOf(events, "default").length).toBe(4);
});

test("leaving early frees the memory", async () => {
  const before = setting.backend.memory().allocated;
  for await (const _ of model.steer("the sea", { interventions, maxTokens: 5 })) break;
  expect(setting.backend.memory().allocated).toBe(before);
});

test("invalid prompts and interventions are rejected before any event", async () => {
  const events: SteerEvent[] = [];
  const run = async (prompt: string | string[], spec: Intervention[]) => {
    for await (const event of model.steer(prompt, { interventions: spec })) events.push(event);
  };
  await expectError(() => run("", interventions), "usage", /prompt 0 is empty/);
  await expectError(() => run(["the", ""], interventions), "usage", /prompt 1 is empty/);
  await expectError(
    () => run("the ".repeat(40), interventions),
    "data",
    /prompt 0 has 41 tokens, the context 24/,
  );
  const wrong = [{ ...interventions[0], strength: Number.NaN } as Intervention];
  await expectError(() => run("the", wrong), "usage", /strength is NaN/);
  expect(events).toEqual([]);
});

test("logprobs of a sequence equal the log-softmax of the logits", async () => {
  const ids = [5, SEA, 9, 200];
  const { data } = await model.forward(ids);
  const expected = ids.slice(1).map((id, t) => {
    const row = data.subarray(t * 300, (t + 1) * 300);
    return row[id] - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
  });
  const logprobs = await model.logprobs(ids);
  assertClose(logprobs, expected, { relative: 1e-5 }, "logprobs");
  const { loss } = await model.evaluate(ids);
  expect(loss).toBeCloseTo(-logprobs.reduce((a, b) => a + b) / 3, 5);
  expect((await model.logprobs([1])).length).toBe(0);
  expect((await model.logprobs(Array(25).fill(1))).length).toBe(24);
  await expectError(() => model.logprobs(Array(26).fill(1)), "data", /26 ids/);
});
