import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { corrected } from "../../../runtime/experiments/certificate.ts";
import type { Experiment, ExperimentContext } from "../../../runtime/experiments/framework/experiment.ts";
import { randomOrthogonal } from "../../../runtime/experiments/framework/null-draws.ts";
import { algebra } from "../../../runtime/experiments/recipes/algebra.ts";
import { atlas } from "../../../runtime/experiments/recipes/atlas.ts";
import { galaxy } from "../../../runtime/experiments/recipes/galaxy-clusters.ts";
import { geometry } from "../../../runtime/experiments/recipes/geometry.ts";
import { hardtopk } from "../../../runtime/experiments/recipes/hardtopk.ts";
import { matchSeeds } from "../../../runtime/experiments/recipes/seed-matching.ts";
import { sparsity } from "../../../runtime/experiments/recipes/sparsity.ts";
import type { ClaimId } from "../../../runtime/experiments/registry.ts";
import { runSuite } from "../../../runtime/experiments/suite.ts";
import { type Matrix, matrix, multiply, rowOf } from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import { CATEGORIES, RELATIONS, SIMILAR } from "../../../runtime/text/word-lists.ts";
import { toyConfig, toyContext, toyModel, toyProbed, toyText, toyTokenizer, V } from "./toy-model.ts";

/** Hundreds of draws for many models take a busy machine longer than the default five seconds. */
const TIMEOUT = { timeout: 120_000 };

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const id = (word: string) => toyTokenizer.tokenId(` ${word}`)!;

/** The claims of some experiments that hold if no others run. */
async function holding(context: ExperimentContext, ...experiments: Experiment[]): Promise<ClaimId[]> {
  const claims = [];
  for (const experiment of experiments) claims.push(...(await experiment.run(context)).claims);
  return corrected(claims)
    .filter(({ holds }) => holds)
    .map(({ id }) => id);
}

/** Recipes of independent Gaussian entries with a planted structure. */
function recipes(plant: (row: (word: string) => Float32Array, random: Random) => void): Matrix {
  const random = new Random("planted");
  const table = matrix(V, 32);
  for (let i = 0; i < table.data.length; i++) table.data[i] = random.normal();
  plant((word) => rowOf(table, id(word)), random);
  return table;
}

const contextWith = async (recipe: Matrix) => toyContext(await toyModel(backend), { recipe });

describe("at initialisation", () => {
  test("at most four of 20 models have a claim that holds", TIMEOUT, async () => {
    const found: string[] = [];
    for (let seed = 1; seed <= 20; seed++) {
      const model = await toyModel(backend, { seed });
      const context = await toyContext(model, { seed });
      const held = await holding(context, atlas, sparsity, geometry, galaxy, algebra, hardtopk);
      found.push(...held.map((claim) => `${seed}: ${claim}`));
    }
    expect(found.length, found.join(", ")).toBeLessThanOrEqual(4);
  });

  test("signals of another seed do not match; the same signals in another order do", async () => {
    const model = await toyModel(backend, { seed: 1 });
    const stranger = await toyProbed(await toyModel(backend, { seed: 2 }));
    const strangers = await toyContext(model, { seeds: [stranger], draws: 99 });
    const [{ p, effect, null: nothing }] = (await matchSeeds(strangers)).claims;
    expect(p).toBeGreaterThan(0.01);
    expect(Math.abs(effect - nothing.mean)).toBeLessThan(4 * nothing.sd);

    const own = strangers.model.recipe;
    const shuffled = matrix(V, 32);
    for (let i = 0; i < V; i++) {
      const [from, to] = [rowOf(own, i), rowOf(shuffled, i)];
      for (let s = 0; s < 32; s++) to[(5 * s + 3) % 32] = -2 * from[s];
    }
    const context = {
      ...strangers,
      seeds: [{ ...stranger, recipe: shuffled }],
      draws: { cheap: 440, forward: 440 },
    };
    const { claims, figures } = await matchSeeds(context);
    expect(claims[0].effect).toBeCloseTo(1, 5);
    expect(corrected(claims)[0].holds).toBe(true);
    expect(figures.length).toBe(2);
  });
});

describe("planted structure is found", () => {
  test("clusters: categories of words around centres", async () => {
    const context = await contextWith(
      recipes((row, random) => {
        for (const words of Object.values(CATEGORIES)) {
          const centre = Array.from({ length: 32 }, () => 0.8 * random.normal());
          for (const word of words) for (const [s, x] of centre.entries()) row(word)[s] += x;
        }
      }),
    );
    expect(await holding(context, galaxy, atlas)).toEqual([
      "galaxy.silhouette",
      "galaxy.plane",
      "atlas.neighbours",
    ]);
  });

  test("signals: one per category; rotating the same recipes hides them", async () => {
    const planted = recipes((row) => {
      for (const [s, words] of Object.values(CATEGORIES).entries())
        for (const word of words) row(word)[3 * s] += 4;
    });
    const context = await contextWith(planted);
    expect(await holding(context, atlas)).toContain("atlas.codebooks");
    const hidden = await multiply(context.model.model, planted, randomOrthogonal(32, new Random("hide")));
    const { claims } = await atlas.run(await contextWith(hidden));
    const codebooks = corrected(claims).find(({ id }) => id === "atlas.codebooks")!;
    expect(codebooks.holds).toBe(false);
    expect(codebooks.p).toBeGreaterThan(0.01);
  });

  test("sparse recipes: few large entries", TIMEOUT, async () => {
    const sparse = recipes(() => {});
    const random = new Random("sparse");
    for (let i = 0; i < sparse.data.length; i++) sparse.data[i] *= random.uniform() < 0.1 ? 3 : 0.3;
    expect(await holding(await contextWith(sparse), sparsity, hardtopk)).toEqual([
      "sparsity.active",
      "sparsity.hoyer",
      "sparsity.kurtosis",
      "hardtopk.cut",
    ]);
  });

  test("evenly used signals: a direction shared by all recipes and spread over all signals", async () => {
    // A shared direction spread evenly over the signals: any rotation makes it uneven.
    const even = recipes(() => {});
    for (let i = 0; i < even.data.length; i++) even.data[i] += i % 2 ? 2.5 : -2.5;
    expect(await holding(await contextWith(even), sparsity)).toContain("sparsity.gini");
  });

  test("analogies: second words are first words shifted along a relation", async () => {
    const planted = recipes((row, random) => {
      for (const pairs of Object.values(RELATIONS)) {
        const relation = Array.from({ length: 32 }, () => 1.5 * random.normal());
        for (const [first, second] of pairs) {
          for (const [s, x] of relation.entries()) row(second)[s] = row(first)[s] + x + 0.3 * random.normal();
        }
      }
    });
    expect(await holding(await contextWith(planted), algebra)).toEqual([
      "algebra.recipe",
      "algebra.embedding",
    ]);
  });

  test("pairs of similar meaning", async () => {
    const planted = recipes((row) => {
      for (const [first, second] of SIMILAR)
        for (let s = 0; s < 32; s++) row(second)[s] += 0.7 * row(first)[s];
    });
    expect(await holding(await contextWith(planted), atlas)).toEqual(["atlas.similarity"]);
  });

  test("a basis that uses few directions", async () => {
    const config = toyConfig();
    const random = new Random("basis");
    const basis = Float32Array.from({ length: 32 * 32 }, (_, at) => random.normal() + (at % 32 < 2 ? 2 : 0));
    const context = await toyContext(await toyModel(backend, { config, values: { basis } }));
    expect(await holding(context, geometry)).toEqual(["geometry.coherence"]);
  });
});

describe("runSuite", () => {
  const text = toyText(400);

  test(
    "the same seed gives the same JSON, whichever experiments run; another seed gives other draws",
    TIMEOUT,
    async () => {
      const model = await toyModel(backend);
      const suite = { model, initial: { seed: 1 }, text, quick: true };
      const ids = ["galaxy", "sparsity"];
      const first = await runSuite({ ...suite, ids });
      expect(JSON.stringify(await runSuite({ ...suite, ids }))).toBe(JSON.stringify(first));
      const alone = await runSuite({ ...suite, ids: ["galaxy"] });
      expect(alone.results[0]).toEqual(first.results.find(({ id }) => id === "galaxy")!);
      const other = await runSuite({ ...suite, ids: ["galaxy"], seed: 2 });
      const [one, two] = [alone, other].map(({ certificate }) => certificate.claims[0].null);
      expect(one.mean).not.toBe(two.mean);

      // The results survive JSON, and contain no NaN or infinity.
      expect(JSON.parse(JSON.stringify(first))).toEqual(first);
      expect(JSON.stringify(first)).not.toContain("null,");
      const { family, claims, notRun } = first.certificate;
      expect(claims.length + notRun.length).toBe(family);
      expect(first.results.map(({ id }) => id)).toEqual(["sparsity", "galaxy"]);
      for (const { checkpoint, seed, claims } of first.results) {
        expect([checkpoint, seed]).toEqual(["reflow 1", 1]);
        for (const claim of claims) expect(claim.pHolm).toBeGreaterThanOrEqual(claim.p);
      }
    },
  );

  test("all models to compare with: the twin, top-k, another seed; progress ends at 1", TIMEOUT, async () => {
    const variantModel = async (variant: "reflow" | "gpt2-new" | "reflow-topk", seed: number) => ({
      model: await toyModel(backend, {
        seed,
        config: toyConfig({
          variant,
          n_signals: variant === "gpt2-new" ? undefined : 32,
          ...(variant === "reflow-topk" && { top_k: 4 }),
        }),
      }),
      initial: { seed },
    });
    const progress: number[] = [];
    const { results, certificate } = await runSuite({
      ...(await variantModel("reflow", 1)),
      twin: await variantModel("gpt2-new", 1),
      topk: await variantModel("reflow-topk", 1),
      seeds: [await variantModel("reflow", 2)],
      ids: ["hardtopk", "galaxy"],
      text,
      quick: true,
      onProgress: (_, done) => progress.push(done),
    });
    expect(progress.at(-1)).toBe(1);
    expect(progress.every((x, i) => i === 0 || x >= progress[i - 1] - 1e-9)).toBe(true);
    expect(certificate.matching?.checkpoints).toEqual(["reflow 2"]);
    expect(certificate.claims.map(({ id }) => id)).toContain("certificate.seeds");
    const names = JSON.stringify(results);
    for (const name of ["twin's embedding", "trained with top-k", "at initialisation"])
      expect(names).toContain(name);

    const topk = await runSuite({
      ...(await variantModel("reflow-topk", 1)),
      ids: ["sparsity"],
      text,
      quick: true,
    });
    expect(topk.certificate.claims.map((claim) => claim.null.name)).toEqual(
      Array(4).fill("models at initialisation"),
    );
    const twin = await runSuite({
      ...(await variantModel("gpt2-new", 1)),
      ids: ["geometry", "algebra"],
      text,
      quick: true,
    });
    expect(twin.results.map(({ inapplicable }) => inapplicable)).toEqual([
      "an unfactored model has no basis",
      undefined,
    ]);
    expect(twin.certificate.claims.map(({ id }) => id)).toEqual(["algebra.embedding"]);
  });

  test("what cannot be run is an error with a reason", async () => {
    const model = await toyModel(backend);
    const suite = { model, text };
    await expect(runSuite({ ...suite, ids: ["galxy"] })).rejects.toMatchObject({
      code: "usage",
      message: 'there is no experiment "galxy"',
      help: expect.stringContaining("did you mean galaxy?"),
    });
    await expect(runSuite({ ...suite, twin: { model } })).rejects.toThrow("the twin is a reflow");
    await expect(runSuite({ ...suite, topk: { model } })).rejects.toThrow("the model for top-k");
    const twin = await toyModel(backend, {
      config: toyConfig({ variant: "gpt2-new", n_signals: undefined }),
    });
    await expect(runSuite({ ...suite, seeds: [{ model: twin }] })).rejects.toThrow("not another seed");
    await expect(runSuite({ ...suite, sets: { analogies: "a b" } })).rejects.toMatchObject({
      code: "format",
    });
    const broken = await toyModel(backend, { values: { basis: new Float32Array(32 * 32).fill(Number.NaN) } });
    await expect(runSuite({ ...suite, model: broken })).rejects.toMatchObject({ code: "numerics" });
    const aborted = AbortSignal.abort(new Error("enough"));
    await expect(runSuite({ ...suite, ids: ["galaxy"], signal: aborted })).rejects.toThrow("enough");
  });
});
