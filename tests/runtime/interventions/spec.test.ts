import { expect, test } from "bun:test";
import { type Intervention, parseInterventions } from "../../../runtime/interventions/spec.ts";
import { expectError } from "../formats/support.ts";

const place = { target: { token: " king" }, hook: "hook_resid_post", layers: [0, 1] };
const add = { op: "add", ...place, strength: 1 };

test("one, or a list, with every field", () => {
  const full: Intervention[] = [
    {
      op: "add",
      target: { expression: "great - terrible" },
      hook: "hook_resid_post",
      layers: [0, 3],
      positions: "all",
      strength: 0.15,
      unit: "residNorm",
      when: { signal: 9, gt: 0.3 },
    },
    { op: "set", target: { signal: 17 }, hook: "hook_signals", positions: [3, 4], value: -2 },
    { op: "scale", target: { vector: [1, 2] }, hook: "hook_embed", positions: "prompt", factor: 0.5 },
    {
      op: "ablate",
      target: { token: " king" },
      hook: "hook_recipe",
      ablateWith: "mean",
      positions: "generated",
    },
    {
      op: "swap",
      target: { token: " king" },
      with: { token: " queen" },
      hook: "hook_embed",
      when: { signal: 0, lt: 1 },
    },
  ];
  expect(parseInterventions(full)).toEqual(full);
  expect(parseInterventions(JSON.parse(JSON.stringify(full[0])))).toEqual([full[0]]);
  expect(parseInterventions([])).toEqual([]);
  const blank = { ...add, target: { signal: undefined, token: " a" }, layers: undefined, unit: undefined };
  expect(Object.keys(parseInterventions(blank)[0].target)).toEqual(["token"]);
  const vector = { ...add, target: { vector: Float32Array.of(1, 2) } };
  expect(parseInterventions(vector)[0].target).toEqual({ vector: Float32Array.of(1, 2) });
});

/** What is wrong, what the message says, and the help, where it is more than the fields of an op. */
const CASES: [spec: unknown, message: string, help?: string][] = [
  [[add, { ...add, strength: Number.NaN }], "interventions[1].strength is NaN: a finite number was expected"],
  [
    { ...add, strength: 1e38 },
    "interventions[0].strength is 1e+38: a number of at most 1000000 in size was expected",
  ],
  [{ ...add, strength: Infinity }, "interventions[0].strength is Infinity: a finite number was expected"],
  [{ ...add, strength: "1" }, 'interventions[0].strength is "1": a finite number was expected'],
  [
    { op: "add", ...place },
    "interventions[0].strength is missing",
    '"add" needs op, target, hook, strength, and takes layers, positions, when, unit',
  ],
  [{ op: "set", ...place }, "interventions[0].value is missing"],
  [{ op: "scale", ...place }, "interventions[0].factor is missing"],
  [{ op: "swap", ...place }, "interventions[0].with is missing"],
  [
    { op: "set", ...place, value: -Infinity },
    "interventions[0].value is -Infinity: a finite number was expected",
  ],
  [
    { op: "scale", ...place, factor: 2e6 },
    "interventions[0].factor is 2000000: a number of at most 1000000 in size was expected",
  ],
  [
    { op: "add", ...place, strenght: 1 },
    "interventions[0].strenght is not a field",
    'did you mean "strength"?',
  ],
  [
    { ...add, factor: 2 },
    'interventions[0].factor is not a field of op "add"',
    'it belongs to op "scale"; "add" needs op, target, hook, strength, and takes layers, positions, when, unit',
  ],
  [
    { ...add, op: "ad" },
    'interventions[0].op is "ad": add, set, scale, ablate, swap was expected',
    'did you mean "add"?',
  ],
  [place, "interventions[0].op is missing", "an intervention has an op: add, set, scale, ablate, swap"],
  [{ ...add, unit: "norm" }, 'interventions[0].unit is "norm": residNorm, raw, sigma was expected'],
  [
    { op: "ablate", ...place, ablateWith: "max" },
    'interventions[0].ablateWith is "max": zero, mean, resample was expected',
  ],
  [{ ...add, hook: 3 }, "interventions[0].hook is 3: text was expected"],
  [{ ...add, layers: [1] }, "interventions[0].layers is [1]: [first, last] was expected"],
  [{ ...add, layers: [2, 1] }, "interventions[0].layers is [2,1]: [first, last] was expected"],
  [{ ...add, layers: [0, 1, 2] }, "interventions[0].layers is [0,1,2]: [first, last] was expected"],
  [{ ...add, layers: [0, 0.5] }, "interventions[0].layers[1] is 0.5: a whole number from 0 on was expected"],
  [{ ...add, layers: 2 }, "interventions[0].layers is 2: [first, last] was expected"],
  [
    { ...add, positions: "some" },
    'interventions[0].positions is "some": all, prompt, generated or a list of positions was expected',
  ],
  [{ ...add, positions: [] }, "interventions[0].positions is []: a list of positions was expected"],
  [
    { ...add, positions: [1, -1] },
    "interventions[0].positions[1] is -1: a whole number from 0 on was expected",
  ],
  [
    { ...add, when: { signal: 1 } },
    'interventions[0].when is {"signal":1}: a condition with gt or lt was expected',
  ],
  [{ ...add, when: { signal: 1, gte: 2 } }, "interventions[0].when.gte is not a field", 'did you mean "gt"?'],
  [
    { ...add, when: { gt: 2 } },
    "interventions[0].when.signal is missing",
    'a condition is {"signal":9,"gt":0.3}, with gt, lt or both',
  ],
  [
    { ...add, when: { signal: 1, gt: Number.NaN } },
    "interventions[0].when.gt is NaN: a finite number was expected",
  ],
  [
    { ...add, target: { tokn: " a" } },
    "interventions[0].target.tokn is not a field",
    'did you mean "token"?',
  ],
  [
    { ...add, target: {} },
    "interventions[0].target is {}: one of signal, token, expression and vector was expected",
  ],
  [
    { ...add, target: { token: " a", signal: 1 } },
    'interventions[0].target is {"signal":1,"token":" a"}: one of signal, token, expression and vector was expected',
  ],
  [
    { ...add, target: "king" },
    'interventions[0].target is "king": a target was expected',
    'a target is {"signal":17}, {"token":" king"}, {"expression":"king - man"} or {"vector":[0.5,-1,…]}',
  ],
  [{ ...add, target: { token: "" } }, 'interventions[0].target.token is "": text was expected'],
  [
    { ...add, target: { signal: 1.5 } },
    "interventions[0].target.signal is 1.5: a whole number from 0 on was expected",
  ],
  [
    { ...add, target: { vector: [] } },
    "interventions[0].target.vector is []: a list of numbers was expected",
  ],
  [
    { ...add, target: { vector: [1, Number.NaN] } },
    "interventions[0].target.vector[1] is NaN: a finite number was expected",
  ],
  [
    { ...add, target: { vector: [1, "2"] } },
    'interventions[0].target.vector[1] is "2": a finite number was expected',
  ],
  [
    { op: "swap", ...place, with: { vector: [1e9] } },
    "interventions[0].with.vector[0] is 1000000000: a number of at most 1000000 in size was expected",
  ],
  ["add", 'interventions is "add": a list of interventions was expected'],
  [null, "interventions is null: a list of interventions was expected"],
  [[7], "interventions[0] is 7: an intervention, which is an object, was expected"],
  [[[]], "interventions[0].op is missing"],
];

for (const [spec, message, help] of CASES) {
  test(message, async () => {
    const error = await expectError(() => parseInterventions(spec), "usage", /^interventions/);
    expect(error.message).toBe(message);
    if (help) expect(error.help).toBe(help);
  });
}
