/** Toy models with planted structure. */

import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import type { PartialConfig } from "../../../runtime/config/config.ts";
import type { Claim } from "../../../runtime/experiments/certificate.ts";
import { corrected } from "../../../runtime/experiments/certificate.ts";
import type { Experiment, ExperimentContext } from "../../../runtime/experiments/framework/experiment.ts";
import type { Matrix } from "../../../runtime/math/matrix.ts";
import { matrix, rowOf } from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import { toyConfig, toyContext, toyModel, toyText, toyTokenizer, V } from "./toy-model.ts";

/** The token of a word with a leading space. */
export const tokenOf = (word: string): number => toyTokenizer.tokenId(` ${word}`)!;

/** Recipes of all tokens and of padding, Gaussian with the given standard deviation, with a planted structure. */
export function recipesOf(
  deviation: number,
  plant: (row: (id: number) => Float32Array) => void,
  S = 32,
): Matrix {
  const random = new Random("recipes");
  const table = matrix(V + 5, S);
  for (let i = 0; i < table.data.length; i++) table.data[i] = deviation * random.normal();
  plant((id) => rowOf(table, id));
  return table;
}

/** A multiple of the identity, (d,d). */
export function scaledIdentity(d: number, by: number): Float32Array {
  const out = new Float32Array(d * d);
  for (let i = 0; i < d; i++) out[i * d + i] = by;
  return out;
}

/** An experiment context of a toy model that can be patched, with some parameters replaced by `values`. */
export async function contextWith(
  backend: Backend,
  {
    seed = 1,
    config = {},
    values = {},
    text = toyText(3000, seed),
  }: {
    seed?: number;
    config?: PartialConfig;
    values?: Record<string, Float32Array>;
    text?: Int32Array;
  } = {},
): Promise<ExperimentContext> {
  const checkpoint = String(seed).padStart(64, "0");
  const model = await toyModel(backend, { seed, config: toyConfig(config), values, checkpoint });
  return { ...(await toyContext(model, { seed })), text };
}

/** The only claim of an experiment, corrected as if no other experiment ran. */
export async function claimOf(experiment: Experiment, context: ExperimentContext): Promise<Claim> {
  const [claim] = corrected((await experiment.run(context)).claims);
  return claim;
}
