/** Compares a model's signals with those of the same model trained from other seeds. */
import { assign } from "../../math/assignment.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, pick, transposed, unitRows } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { mean } from "../../math/statistics.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { ExperimentContext, ExperimentModel, Findings } from "../framework/experiment.ts";
import { histogram } from "../framework/figure.ts";
import { coordinateDraws, coordinateNull } from "../framework/null-draws.ts";

export const SEED_CLAIMS = {
  "certificate.seeds": {
    kind: "bound",
    statement: "Signals of another seed's model match this model's better than randomly rotated ones.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

/** Maximum number of matched signals: the time grows with its cube. */
const MOST_SIGNALS = 256;

/**
 * Matches this model's signals one to one with those of each other seed, maximising the sum of the |cosines| of their
 * loadings over tokens (the Hungarian method). The null does the same with the other model's signals randomly rotated.
 */
export async function matchSeeds(context: ExperimentContext): Promise<Findings> {
  const { model, seeds, draws, quick, progress } = context;
  const tokens = sample(model.recipe.rows, quick ? 1024 : 4096, context.random("tokens"));
  const most = Math.min(MOST_SIGNALS, ...[model, ...seeds].map(({ recipe }) => recipe.columns));
  const signals = sample(model.recipe.columns, most, context.random("signals"));
  const loadings = unitRows(pick(transposed(pick(model.recipe, tokens)), signals)); // (n,tokens)

  const observed: number[] = [];
  const matched: number[][] = [];
  const nullMeans = new Float64Array(draws.cheap);
  const nullMatched = new Float64Array(signals.length);
  for (const [i, seed] of seeds.entries()) {
    const rows = pick(seed.recipe, tokens);
    const best = await matchedCosines(model, loadings, rows);
    matched.push(best);
    observed.push(mean(best));
    let draw = 0;
    for await (const drawn of coordinateDraws(context, rows, draws.cheap, context.random(`seed ${i}`))) {
      const best = await matchedCosines(model, loadings, drawn);
      nullMeans[draw++] += mean(best) / seeds.length;
      for (const [s, cosine] of best.entries()) nullMatched[s] += cosine / (draws.cheap * seeds.length);
      await progress((i + draw / draws.cheap) / seeds.length);
    }
  }
  const x = signals.map((_, s) => s + 1);
  return {
    parameters: {
      seeds: seeds.length,
      tokens: tokens.length,
      signals: signals.length,
      draws: draws.cheap,
    },
    claims: [
      claim(SEED_CLAIMS, "certificate.seeds", mean(observed), {
        name: coordinateNull(context),
        values: nullMeans,
      }),
    ],
    figures: [
      {
        type: "lines",
        title: "Signals and their match in another seed's model",
        caption:
          "The |cosine| between the token loadings of each signal and of the signal it is matched with, in descending order; " +
          "and the same with the other model's signals randomly rotated.",
        x: { label: "signal, by match" },
        y: { label: "|cosine|" },
        series: [
          ...matched.map((y, i) => ({ name: seeds.length > 1 ? `seed ${i + 1}` : "the other seed", x, y })),
          { name: coordinateNull(context), x, y: Array.from(nullMatched), isNull: true },
        ],
      },
      histogram(
        {
          title: "Mean match",
          caption: "The mean |cosine| of matched signals: null distribution and observed value.",
        },
        { label: "mean |cosine|" },
        nullMeans,
        mean(observed),
      ),
    ],
    notes: [],
  };
}

/** |cosines| of loadings (n,tokens) with the matched columns of (tokens,S), in descending order. */
async function matchedCosines({ model }: ExperimentModel, loadings: Matrix, rows: Matrix): Promise<number[]> {
  const { rows: n, columns: S, data } = await multiply(model, loadings, rows);
  const squares = new Float64Array(S);
  for (let i = 0, at = 0; i < rows.rows; i++) {
    for (let s = 0; s < S; s++, at++) squares[s] += rows.data[at] ** 2;
  }
  const sizes = data.map((x, at) => (squares[at % S] > 0 ? Math.abs(x) / Math.sqrt(squares[at % S]) : 0));
  const columns = assign(matrix(n, S, sizes));
  return Array.from(columns, (s, i) => sizes[i * S + s]).sort((a, b) => b - a);
}
