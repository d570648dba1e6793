/** What a checkpoint's claims come to, all together, and whether its signals are those of other seeds. */
import { assign } from "../math/assignment.ts";
import type { Matrix } from "../math/matrix.ts";
import { matrix, multiply, pick, transposed, unitRows } from "../math/matrix.ts";
import { sample } from "../math/permutation.ts";
import { holm, mean } from "../math/statistics.ts";
import { CLAIMS, type ClaimId, FAMILY } from "./framework/claims.ts";
import type { Claim, ClaimResult, ProbeContext, ProbedModel, ProbeFindings } from "./framework/experiment.ts";
import { histogram } from "./framework/figure.ts";
import { coordinateDraws, coordinateNull } from "./framework/null-draws.ts";
import { claim } from "./framework/statistics.ts";

/** All claims of a checkpoint. */
export interface Certificate {
  readonly checkpoint: string;
  readonly seed: number;
  readonly quick: boolean;
  /** How many claims p-values are corrected for, whichever were looked at. */
  readonly family: number;
  /** In the family's order. */
  readonly claims: readonly Claim[];
  /** Those that weren't looked at: they count as p = 1. */
  readonly notRun: readonly ClaimId[];
  /** How signals match those of the further seeds' checkpoints, where they were given. */
  readonly matching?: Omit<ProbeFindings, "claims"> & { readonly checkpoints: readonly string[] };
}

/** Corrects claims for the whole family. */
export function corrected(results: readonly ClaimResult[]): Claim[] {
  const pHolms = holm(
    results.map(({ p }) => p),
    FAMILY,
  );
  return results.map((result, i) => {
    const { kind, statement } = CLAIMS[result.id];
    return { ...result, kind, statement, pHolm: pHolms[i], holds: pHolms[i] < 0.05 };
  });
}

/** Signals that are matched: the time grows with their cube. */
const MOST_SIGNALS = 256;

/**
 * Matches this model's signals with each other seed's, one to one, so that the |cosines| of their loadings over tokens are
 * largest in all (the Hungarian method), and does the same with the other's signals rotated at random.
 */
export async function matchSeeds(context: ProbeContext): Promise<ProbeFindings> {
  const { model, seeds, draws, quick, progress } = context;
  const tokens = sample(model.recipe.rows, quick ? 1024 : 4096, context.random("tokens"));
  const most = Math.min(MOST_SIGNALS, ...[model, ...seeds].map(({ recipe }) => recipe.columns));
  const signals = sample(model.recipe.columns, most, context.random("signals"));
  const loadings = unitRows(pick(transposed(pick(model.recipe, tokens)), signals)); // (n,tokens)

  const seen: number[] = [];
  const matched: number[][] = [];
  const chance = new Float64Array(draws.cheap);
  const chanceMatched = new Float64Array(signals.length);
  for (const [i, seed] of seeds.entries()) {
    const rows = pick(seed.recipe, tokens);
    const best = await matchedCosines(model, loadings, rows);
    matched.push(best);
    seen.push(mean(best));
    let draw = 0;
    for await (const turned of coordinateDraws(context, rows, draws.cheap, context.random(`seed ${i}`))) {
      const best = await matchedCosines(model, loadings, turned);
      chance[draw++] += mean(best) / seeds.length;
      for (const [s, cosine] of best.entries()) chanceMatched[s] += cosine / (draws.cheap * seeds.length);
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
    claims: [claim("certificate.seeds", mean(seen), { name: coordinateNull(context), values: chance })],
    figures: [
      {
        type: "lines",
        title: "Signals and their match in another seed's model",
        caption:
          "The |cosine| of each signal's loadings over tokens with those of the signal it is matched with, from the best " +
          "match on; and with the other model's signals rotated at random.",
        x: { label: "signal, by match" },
        y: { label: "|cosine|" },
        series: [
          ...matched.map((y, i) => ({ name: seeds.length > 1 ? `seed ${i + 1}` : "the other seed", x, y })),
          { name: coordinateNull(context), x, y: Array.from(chanceMatched), isNull: true },
        ],
      },
      histogram(
        {
          title: "Mean match",
          caption: "The mean |cosine| of matched signals, of the draws and as observed.",
        },
        { label: "mean |cosine|" },
        chance,
        mean(seen),
      ),
    ],
    notes: [],
  };
}

/** |cosines| of loadings (n,tokens) with the columns of (tokens,S) that they are matched with, largest first. */
async function matchedCosines({ model }: ProbedModel, loadings: Matrix, rows: Matrix): Promise<number[]> {
  const { rows: n, columns: S, data } = await multiply(model, loadings, rows);
  const squares = new Float64Array(S);
  for (let i = 0, at = 0; i < rows.rows; i++) {
    for (let s = 0; s < S; s++, at++) squares[s] += rows.data[at] ** 2;
  }
  const sizes = data.map((x, at) => (squares[at % S] > 0 ? Math.abs(x) / Math.sqrt(squares[at % S]) : 0));
  const columns = assign(matrix(n, S, sizes));
  return Array.from(columns, (s, i) => sizes[i * S + s]).sort((a, b) => b - a);
}
