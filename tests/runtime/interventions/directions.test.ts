import { describe, expect, test } from "bun:test";
import { directionOf, signalReader } from "../../../runtime/interventions/directions.ts";
import { pointsOf, type Space } from "../../../runtime/interventions/points.ts";
import type { Target } from "../../../runtime/interventions/spec.ts";
import type { InferenceModel } from "../../../runtime/transformer/inference.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { combine, norm, SEA, type Setting, setUp, THE } from "./support.ts";

const withTokenizer = ({ inner }: Setting): InferenceModel => ({ ...inner, tokenizer: tinyTokenizer });

/** v = ‖v‖·u as a dense vector. */
async function denseDirection(setting: Setting, target: Target, space: Space): Promise<number[]> {
  const { d_model, n_signals = 0, vocab_size } = setting.config;
  const width = {
    residual: d_model,
    normalized: d_model,
    recipe: n_signals,
    signals: n_signals,
    logits: vocab_size,
  };
  const { indices, values, length } = await directionOf(withTokenizer(setting), target, space, "x");
  expect(norm(values)).toBeCloseTo(1, 10);
  const v: number[] = Array(width[space]).fill(0);
  for (const [i, index] of indices.entries()) v[index] = values[i] * length;
  return v;
}
const close = (a: number[], b: number[], what: string) => assertClose(a, b, { relative: 1e-5 }, what);

/** r (S) · B (S,d) */
const written = ({ row, config }: Setting, r: readonly number[]) =>
  combine(...r.slice(0, config.n_signals).map((c, s): [number, number[]] => [c, row("basis", s)]));

describe("targets", () => {
  test("a token resolves to r·B, an expression to the sum, a signal to B[s,:]", async () => {
    const s = await setUp("reflow");
    const [the, sea] = [s.row("recipe", THE), s.row("recipe", SEA)];
    for (const space of ["residual", "normalized"] as const) {
      close(await denseDirection(s, { token: " the" }, space), written(s, the), "token");
      const expression = "0.5 * (the - sea)";
      close(
        await denseDirection(s, { expression }, space),
        written(s, combine([0.5, the], [-0.5, sea])),
        "expression",
      );
      close(await denseDirection(s, { signal: 7 }, space), s.row("basis", 7), "signal");
    }
  });

  test("at recipes and signals the direction is r itself", async () => {
    const s = await setUp("reflow", { n_signals: 11 });
    const [the, sea] = [s.row("recipe", THE), s.row("recipe", SEA)];
    for (const space of ["recipe", "signals"] as const) {
      close(await denseDirection(s, { token: " the" }, space), the, "token");
      close(
        await denseDirection(s, { expression: "the - 2 * sea" }, space),
        combine([1, the], [-2, sea]),
        "expression",
      );
      expect(await denseDirection(s, { signal: 7 }, space)).toEqual(
        Array.from({ length: 11 }, (_, i) => Number(i === 7)),
      );
      const vector = Array.from({ length: 11 }, (_, i) => i - 5);
      close(await denseDirection(s, { vector }, space), vector, "vector");
    }
  });

  test("at the logits a token resolves to its own axis", async () => {
    const v = await denseDirection(await setUp(), { expression: "the - 2 * sea" }, "logits");
    expect(v[THE]).toBeCloseTo(1, 10);
    expect(v[SEA]).toBeCloseTo(-2, 10);
    expect(v.filter((x) => x !== 0).length).toBe(2);
  });

  test("reflow-topk resolves recipes after top-k", async () => {
    const s = await setUp("reflow-topk");
    const r = await denseDirection(s, { token: " sea" }, "signals");
    const largest = s
      .row("recipe", SEA)
      .toSorted((a, b) => b - a)
      .slice(0, 4);
    expect(r.filter((x) => x !== 0).length).toBe(4);
    close(
      r,
      s.row("recipe", SEA).map((x) => (largest.includes(x) ? x : 0)),
      "top-k",
    );
  });

  test("rounded recipes are read as stored", async () => {
    const s = await setUp("reflow", { n_signals: 32 }, "i8");
    assertClose(
      await denseDirection(s, { token: " sea" }, "signals"),
      s.row("recipe", SEA),
      { relative: 0.02 },
      "int8",
    );
  });

  test("in an unfactored model a token resolves to its embedding, and signals are rejected", async () => {
    for (const variant of ["gpt2", "gpt2-new"] as const) {
      const s = await setUp(variant);
      const expected = combine([1, s.row("embedding", THE)], [-1, s.row("embedding", SEA)]);
      close(await denseDirection(s, { expression: "the - sea" }, "residual"), expected, variant);
      const error = await expectError(
        () => denseDirection(s, { signal: 3 }, "residual"),
        "usage",
        /x\.signal is 3: a gpt2.* has no signals/,
      );
      expect(error.help).toContain("give a token");
      await expectError(() => signalReader(withTokenizer(s), 3, "residual", "x"), "usage", /has no signals/);
    }
  });

  test("targets without a direction are rejected, naming the field", async () => {
    const s = await setUp();
    const cases: [Target, Space, RegExp][] = [
      [{ signal: 20 }, "residual", /^x\.signal is 20: expected one of 20 signals/],
      [{ signal: 3 }, "logits", /^x\.signal is 3: expected a token at hook_logits/],
      [{ token: " king" }, "residual", /^x\.token: " king" is 2 tokens, " kin" "g"/],
      [{ expression: "the - king" }, "residual", /^x\.expression: " king" is 2 tokens/],
      [{ expression: "the -" }, "residual", /^x\.expression: expected a word/],
      [{ expression: "the - the" }, "residual", /^x has no direction: it adds up to zero/],
      [{ vector: Array(24).fill(0) }, "residual", /^x has no direction/],
      [{ vector: [1, 2] }, "residual", /^x\.vector has 2 numbers: expected 24/],
      [{ vector: Array(24).fill(1) }, "signals", /^x\.vector has 24 numbers: expected 20/],
      [
        { vector: Array.from({ length: 300 }, (_, i) => Number(i > 291)) },
        "logits",
        /^x\.vector\[292\] is 1: expected 0, because there is no such token/,
      ],
    ];
    for (const [target, space, message] of cases) {
      await expectError(() => directionOf(withTokenizer(s), target, space, "x"), "usage", message);
    }
    await expectError(
      () => directionOf(s.inner, { token: " the" }, "residual", "x"),
      "usage",
      /no tokenizer/,
    );
  });

  test("resolving leaves no memory allocated on the device", async () => {
    const s = await setUp();
    const before = s.backend.memory().allocated;
    await denseDirection(s, { expression: "the - sea" }, "residual");
    await expectError(() => denseDirection(s, { token: " king" }, "residual"), "usage", /2 tokens/);
    expect(s.backend.memory().allocated).toBe(before);
  });
});

describe("reading a signal", () => {
  test("after the last block and after the norm the value equals hook_signals", async () => {
    for (const variant of ["reflow", "reflow-topk", "reflow-lite"] as const) {
      const s = await setUp(variant);
      const cache = await s.model.runWithCache([5, 6, 7]);
      const { d_model: d, n_signals: S } = s.config;
      const row = (name: string, width: number) => cache.get(name)!.data.subarray(2 * width, 3 * width);
      const exact = row("hook_signals", S!)[4];
      const read = async (space: Space, name: string, width: number) =>
        (await signalReader(withTokenizer(s), 4, space, "x"))(row(name, width));
      expect(await read("signals", "hook_signals", S!)).toBe(exact);
      expect(await read("normalized", "ln_final.hook_normalized", d)).toBeCloseTo(exact, 5);
      expect(await read("residual", "blocks.1.hook_resid_post", d)).toBeCloseTo(exact, 5);
      expect(await read("recipe", "hook_recipe", S!)).toBe(row("hook_recipe", S!)[4]);
    }
  });
});

describe("hook points", () => {
  const points = async (variant: "reflow" | "gpt2", hook: string, layers?: [number, number]) =>
    pointsOf((await setUp(variant)).config, { hook, layers }, "x");

  test("are given by a full name, or by a name within a block and layers", async () => {
    expect(await points("reflow", "hook_resid_post", [0, 1])).toEqual({
      names: ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"],
      space: "residual",
      readout: false,
    });
    expect((await points("reflow", "hook_mlp_out", [1, 1])).names).toEqual(["blocks.1.hook_mlp_out"]);
    expect((await points("reflow", "blocks.1.hook_resid_mid")).names).toEqual(["blocks.1.hook_resid_mid"]);
    expect(await points("reflow", "hook_signals")).toEqual({
      names: ["hook_signals"],
      space: "signals",
      readout: true,
    });
    expect((await points("gpt2", "ln_final.hook_normalized")).space).toBe("normalized");
  });

  test("that are unknown or ambiguous are rejected", async () => {
    const cases: [string, [number, number] | undefined, RegExp, string?][] = [
      [
        "hook_resid_pots",
        [0, 1],
        /^x\.hook is "hook_resid_pots": expected the name of a hook point/,
        'did you mean "hook_resid_post"?',
      ],
      ["blocks.0.hook_resid_pots", undefined, /the name of a hook point/, 'did you mean "hook_resid_post"?'],
      ["blocks.0.hook_embed", undefined, /the name of a hook point/, 'did you mean "hook_embed"?'],
      ["blocks.1.hook_resid_post", [0, 1], /^x\.layers is given, but x\.hook already names block 1/],
      [
        "blocks.2.hook_resid_post",
        undefined,
        /^x\.hook is "blocks\.2\.hook_resid_post": expected a block of the model/,
        "the blocks are 0 to 1",
      ],
      ["hook_resid_post", [0, 2], /^x\.layers is \[0,2\]: expected \[first, last\] from 0 to 1/],
      ["hook_resid_post", undefined, /^x\.layers is missing/],
      ["hook_embed", [0, 1], /^x\.layers is given, but hook_embed is not in a block/],
      [
        "attn.hook_q",
        [0, 1],
        /^x\.hook is "attn\.hook_q": expected a point of the residual stream, the signals or the logits/,
      ],
      ["blocks.0.mlp.hook_post", undefined, /a point of the residual stream/],
    ];
    for (const [hook, layers, message, help] of cases) {
      const error = await expectError(() => points("reflow", hook, layers), "usage", message);
      if (help) expect(error.help).toBe(help);
    }
    const error = await expectError(
      () => points("gpt2", "hook_signals"),
      "usage",
      /a gpt2 has no recipes and no signals/,
    );
    expect(error.help).not.toContain("hook_signals");
  });
});
