import { expect, test } from "bun:test";
import { type Intervention, parseInterventions } from "../../../runtime/interventions/spec.ts";
import { expectError } from "../../support/expect-error.ts";

const common = { target: { token: " king" }, hook: "hook_resid_post", layers: [0, 1] };
const add = { op: "add", ...common, strength: 1 };

test("one intervention or a list is accepted, with every field", () => {
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

/** An invalid specification, the expected message, and the expected help if it does not only list the fields of an op. */
const CASES: [spec: unknown, message: string, help?: string][] = [
  [[add, { ...add, strength: Number.NaN }], "interventions[1].strength is NaN: expected a finite number"],
  [
    { ...add, strength: 1e38 },
    "interventions[0].strength is 1e+38: expected a number of at most 1000000 in magnitude",
  ],
  [{ ...add, strength: Infinity }, "interventions[0].strength is Infinity: expected a finite number"],
  [{ ...add, strength: "1" }, 'interventions[0].strength is "1": expected a finite number'],
  [
    { op: "add", ...common },
    "interventions[0].strength is missing",
    '"add" needs op, target, hook, strength, and takes layers, positions, when, unit',
  ],
  [{ op: "set", ...common }, "interventions[0].value is missing"],
  [{ op: "scale", ...common }, "interventions[0].factor is missing"],
  [{ op: "swap", ...common }, "interventions[0].with is missing"],
  [
    { op: "set", ...common, value: -Infinity },
    "interventions[0].value is -Infinity: expected a finite number",
  ],
  [
    { op: "scale", ...common, factor: 2e6 },
    "interventions[0].factor is 2000000: expected a number of at most 1000000 in magnitude",
  ],
  [
    { op: "add", ...common, strenght: 1 },
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
    'interventions[0].op is "ad": expected add, set, scale, ablate, swap',
    'did you mean "add"?',
  ],
  [common, "interventions[0].op is missing", "an intervention has an op: add, set, scale, ablate, swap"],
  [{ ...add, unit: "norm" }, 'interventions[0].unit is "norm": expected residNorm, raw, sigma'],
  [
    { op: "ablate", ...common, ablateWith: "max" },
    'interventions[0].ablateWith is "max": expected zero, mean, resample',
  ],
  [{ ...add, hook: 3 }, "interventions[0].hook is 3: expected text"],
  [{ ...add, layers: [1] }, "interventions[0].layers is [1]: expected [first, last]"],
  [{ ...add, layers: [2, 1] }, "interventions[0].layers is [2,1]: expected [first, last]"],
  [{ ...add, layers: [0, 1, 2] }, "interventions[0].layers is [0,1,2]: expected [first, last]"],
  [{ ...add, layers: [0, 0.5] }, "interventions[0].layers[1] is 0.5: expected a whole number of at least 0"],
  [{ ...add, layers: 2 }, "interventions[0].layers is 2: expected [first, last]"],
  [
    { ...add, positions: "some" },
    'interventions[0].positions is "some": expected all, prompt, generated or a list of positions',
  ],
  [{ ...add, positions: [] }, "interventions[0].positions is []: expected a list of positions"],
  [
    { ...add, positions: [1, -1] },
    "interventions[0].positions[1] is -1: expected a whole number of at least 0",
  ],
  [
    { ...add, when: { signal: 1 } },
    'interventions[0].when is {"signal":1}: expected a condition with gt or lt',
  ],
  [{ ...add, when: { signal: 1, gte: 2 } }, "interventions[0].when.gte is not a field", 'did you mean "gt"?'],
  [
    { ...add, when: { gt: 2 } },
    "interventions[0].when.signal is missing",
    'a condition is {"signal":9,"gt":0.3}, with gt, lt or both',
  ],
  [
    { ...add, when: { signal: 1, gt: Number.NaN } },
    "interventions[0].when.gt is NaN: expected a finite number",
  ],
  [
    { ...add, target: { tokn: " a" } },
    "interventions[0].target.tokn is not a field",
    'did you mean "token"?',
  ],
  [
    { ...add, target: {} },
    "interventions[0].target is {}: expected one of signal, token, expression and vector",
  ],
  [
    { ...add, target: { token: " a", signal: 1 } },
    'interventions[0].target is {"signal":1,"token":" a"}: expected one of signal, token, expression and vector',
  ],
  [
    { ...add, target: "king" },
    'interventions[0].target is "king": expected a target',
    'a target is {"signal":17}, {"token":" king"}, {"expression":"king - man"} or {"vector":[0.5,-1,…]}',
  ],
  [{ ...add, target: { token: "" } }, 'interventions[0].target.token is "": expected text'],
  [
    { ...add, target: { signal: 1.5 } },
    "interventions[0].target.signal is 1.5: expected a whole number of at least 0",
  ],
  [{ ...add, target: { vector: [] } }, "interventions[0].target.vector is []: expected a list of numbers"],
  [
    { ...add, target: { vector: [1, Number.NaN] } },
    "interventions[0].target.vector[1] is NaN: expected a finite number",
  ],
  [
    { ...add, target: { vector: [1, "2"] } },
    'interventions[0].target.vector[1] is "2": expected a finite number',
  ],
  [
    { op: "swap", ...common, with: { vector: [1e9] } },
    "interventions[0].with.vector[0] is 1000000000: expected a number of at most 1000000 in magnitude",
  ],
  ["add", 'interventions is "add": expected a list of interventions'],
  [null, "interventions is null: expected a list of interventions"],
  [[7], "interventions[0] is 7: expected an intervention (an object)"],
  [[[]], "interventions[0].op is missing"],
];

for (const [spec, message, help] of CASES) {
  test(message, async () => {
    const error = await expectError(() => parseInterventions(spec), "usage", /^interventions/);
    expect(error.message).toBe(message);
    if (help) expect(error.help).toBe(help);
  });
}
