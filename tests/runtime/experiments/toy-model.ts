/** Tiny models whose tokens are the words of the built-in lists. */
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { type ModelConfig, type PartialConfig, resolveConfig } from "../../../runtime/config/config.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentModel,
} from "../../../runtime/experiments/framework/experiment.ts";
import type { Matrix } from "../../../runtime/math/matrix.ts";
import { matrix, multiply } from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import { Model } from "../../../runtime/model/model.ts";
import { ALPHABET } from "../../../runtime/text/byte-level.ts";
import { Tokenizer } from "../../../runtime/text/tokenizer.ts";
import { END_OF_TEXT } from "../../../runtime/text/tokenizer-json.ts";
import * as lists from "../../../runtime/text/word-lists.ts";
import { type EvaluationSets, readWords } from "../../../runtime/text/word-sets.ts";
import { initialize } from "../../../runtime/transformer/parameters.ts";
import { prepareWeights } from "../../../runtime/transformer/weights.ts";

/** All words of the built-in lists, with leading spaces. Each is a token of its own; there are no merges. */
const words = [
  ...Object.values(lists.CATEGORIES).flat(),
  ...lists.SENTIMENT.flat(),
  ...lists.SIMILAR.flat(),
  ...Object.values(lists.RELATIONS).flat(2),
  ...lists.SOURCE_ANALOGIES.flat(),
  ...lists.SHOWN,
];
export const toyTokenizer = new Tokenizer({
  tokens: [...ALPHABET, END_OF_TEXT, ...new Set(words.map((word) => `Ġ${word}`))],
  merges: [],
});
export const V = toyTokenizer.vocabSize;

export function toyConfig(overrides: PartialConfig = {}): ModelConfig {
  return resolveConfig({
    variant: "reflow",
    vocab_size: V + 5,
    n_signals: 32,
    d_model: 32,
    n_layers: 1,
    n_heads: 2,
    d_ff: 32,
    context: 32,
    ...overrides,
  });
}

/** A model at initialisation, with some parameters replaced by `values`. */
export async function toyModel(
  backend: Backend,
  {
    seed = 1,
    config = toyConfig(),
    values = {},
    checkpoint,
  }: {
    seed?: number;
    config?: ModelConfig;
    values?: Record<string, Float32Array>;
    checkpoint?: string;
  } = {},
): Promise<Model> {
  const parameters = initialize(backend, config, { seed });
  for (const [name, data] of Object.entries(values)) backend.write(parameters[name], data);
  return new Model(
    {
      backend,
      config,
      weights: await prepareWeights(backend, config, parameters),
      checkpoint: checkpoint ?? `${config.variant} ${seed}`,
    },
    toyTokenizer,
  );
}

/** Random words with a Zipf distribution of frequencies. */
export function toyText(length: number, seed = 1): Int32Array {
  const random = new Random(`${seed}/text`);
  const first = ALPHABET.length + 1;
  return Int32Array.from({ length }, () => first + Math.floor((V - first) ** random.uniform()) - 1);
}

/** A context as the suite makes it. */
export async function toyContext(
  model: Model,
  {
    recipe,
    draws = 440,
    sets,
    seed = 1,
    seeds = [],
    textLength = 600,
  }: {
    /** Replaces the recipes of the model, (V,S). */
    recipe?: Matrix;
    draws?: number;
    sets?: EvaluationSets;
    seed?: number;
    seeds?: ExperimentModel[];
    textLength?: number;
  } = {},
): Promise<ExperimentContext> {
  const text = toyText(textLength, seed);
  return {
    model: await toyProbed(model, recipe),
    seeds,
    words: readWords(toyTokenizer, V, text, sets),
    text,
    draws: { cheap: draws, forward: draws },
    quick: true,
    random: (purpose) => new Random(`${seed}/${purpose}`),
    progress: async () => {},
  };
}

export async function toyProbed(model: Model, recipe?: Matrix): Promise<ExperimentModel> {
  const tables = await model.tables();
  const [, S] = tables.recipe.shape;
  const own = recipe ?? matrix(V, S, tables.recipe.data.subarray(0, V * S));
  const basis = tables.basis && matrix(tables.basis.shape[0], tables.basis.shape[1], tables.basis.data);
  const embedding = basis ? await multiply(model, own, basis) : own;
  return { model, recipe: own, basis, embedding };
}

/** Runs an experiment and returns its claims by id. */
export async function claimsOf(experiment: Experiment, context: ExperimentContext) {
  const { claims } = await experiment.run(context);
  return new Map(claims.map((claim) => [claim.id, claim]));
}
