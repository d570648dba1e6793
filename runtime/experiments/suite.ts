import { closest } from "fastest-levenshtein";
import { ReflowError } from "../common/errors.ts";
import { yieldToEventLoop } from "../common/event-loop.ts";
import { keepLargest, type Matrix, matrix, multiply } from "../math/matrix.ts";
import { Random } from "../math/random.ts";
import type { Model } from "../model/model.ts";
import { type EvaluationSets, readWords } from "../text/word-sets.ts";
import { type InitializeOptions, initialValues } from "../transformer/parameters.ts";
import { type Certificate, type Claim, corrected } from "./certificate.ts";
import type { ExperimentContext, ExperimentModel, Findings } from "./framework/experiment.ts";
import { matchSeeds } from "./recipes/seed-matching.ts";
import {
  CLAIM_IDS,
  EXPERIMENT_IDS,
  EXPERIMENTS,
  type ExperimentId,
  FAMILY,
  isExperimentId,
  LEAST_DRAWS,
  type RegisteredExperiment,
} from "./registry.ts";

/** A model under examination, or one to compare with. */
export interface SuiteModel {
  model: Model;
  /** How its run was initialised; absent if unknown, or if it started from the weights of another model. */
  initial?: InitializeOptions;
}

export interface SuiteOptions extends SuiteModel {
  /** Models to compare with, all with this model's tokenizer: the tied twin, `gpt2-new`. */
  twin?: SuiteModel;
  /** A trained `reflow-topk`. */
  topk?: SuiteModel;
  /** The same model trained from other seeds. */
  seeds?: readonly SuiteModel[];
  /** Held-out text as token ids; each document follows `<|endoftext|>`. */
  text: Int32Array;
  sets?: EvaluationSets;
  /** Experiments to run. Default: all. */
  ids?: readonly string[];
  /** Seed of every random draw. Default: 1. */
  seed?: number;
  /** Fewer prompts, positions and words, but never fewer draws than the family requires. */
  quick?: boolean;
  /** Receives the running experiment and the completed fraction of the whole suite, from 0 to 1. */
  onProgress?(at: ExperimentId | "certificate", done: number): void;
  signal?: AbortSignal;
}

/** The entry of one experiment in `results.json`. */
export interface ExperimentResult extends Omit<Findings, "claims"> {
  readonly id: ExperimentId;
  /** Why the experiment does not apply to this model; absent if it does. */
  readonly inapplicable?: string;
  readonly question: string;
  /** SHA-256 of the F32 weights; "unknown" if the model does not record it. */
  readonly checkpoint: string;
  readonly seed: number;
  readonly claims: readonly Claim[];
}

export interface SuiteResults {
  results: ExperimentResult[];
  certificate: Certificate;
}

/** Draws of a null that requires no forward pass: the smallest p is .001. */
const CHEAP_DRAWS = 999;

/**
 * Runs experiments on a model and tests their claims against null distributions. The same seed, engine, kernels and thread
 * count give the same results, byte for byte; the draws of one experiment do not depend on which others run.
 *
 * @throws ReflowError `usage` for an unknown id or a model that cannot be compared with this one; `numerics` for weights that
 *   are not finite; `format` for an evaluation set that cannot be parsed
 * @throws the signal's reason once it is aborted
 * @example
 * const { results, certificate } = await runSuite({ model, text, ids: ["galaxy"], quick: true });
 * certificate.claims.filter(({ holds }) => holds).map(({ statement }) => statement);
 */
export async function runSuite(options: SuiteOptions): Promise<SuiteResults> {
  const { twin, topk, seeds = [], text, sets, seed = 1, quick = false, onProgress, signal } = options;
  const experiments = selectExperiments(options.ids);
  checkOtherModels(options);
  const model = await experimentModel(options);
  const base = {
    model,
    twin: twin && (await experimentModel(twin)),
    topk: topk && (await experimentModel(topk)),
    seeds: await Promise.all(seeds.map(experimentModel)),
    words: readWords(options.model.tokenizer, model.recipe.rows, text, sets),
    text,
    draws: { cheap: CHEAP_DRAWS, forward: LEAST_DRAWS },
    quick,
  };
  const steps = experiments.length + (seeds.length > 0 ? 1 : 0);
  const contextOf = (id: ExperimentId | "certificate", step: number): ExperimentContext => ({
    ...base,
    random: (purpose) => new Random(`${seed}/probes/${id}/${purpose}`),
    async progress(share) {
      if (share !== undefined) onProgress?.(id, (step + share) / steps);
      await yieldToEventLoop(signal);
    },
  });

  const found: { experiment: RegisteredExperiment; findings: Findings; inapplicable?: string }[] = [];
  for (const [step, experiment] of experiments.entries()) {
    const context = contextOf(experiment.id, step);
    await context.progress(0);
    const inapplicable = experiment.inapplicable?.(context);
    const findings = inapplicable === undefined ? await experiment.run(context) : NOTHING;
    found.push({ experiment, findings, inapplicable });
    await context.progress(1);
  }
  const matching =
    seeds.length > 0 ? await matchSeeds(contextOf("certificate", experiments.length)) : undefined;

  const claims = corrected([
    ...found.flatMap(({ findings }) => findings.claims),
    ...(matching?.claims ?? []),
  ]);
  const claimOf = new Map<string, Claim>(claims.map((claim) => [claim.id, claim]));
  const about = { checkpoint: identity(model), seed };
  const results = found.map(({ experiment, findings, inapplicable }): ExperimentResult => {
    const { id, question } = experiment;
    const ours: Claim[] = findings.claims.map((claim) => claimOf.get(claim.id)!);
    return { id, question, ...about, ...(inapplicable && { inapplicable }), ...findings, claims: ours };
  });
  const certificate: Certificate = {
    ...about,
    quick,
    family: FAMILY,
    claims: CLAIM_IDS.flatMap((id) => claimOf.get(id) ?? []),
    notRun: CLAIM_IDS.filter((id) => !claimOf.has(id)),
    ...(matching && {
      matching: {
        checkpoints: base.seeds.map(identity),
        parameters: matching.parameters,
        figures: matching.figures,
        notes: matching.notes,
      },
    }),
  };
  return rounded({ results, certificate }, "results");
}

const identity = ({ model }: ExperimentModel): string => model.checkpoint ?? "unknown";

const NOTHING: Findings = { parameters: {}, claims: [], figures: [], notes: [] };

function selectExperiments(ids: readonly string[] = EXPERIMENT_IDS): RegisteredExperiment[] {
  const unknown = ids.find((id) => !isExperimentId(id));
  if (unknown !== undefined) {
    const help = `did you mean ${closest(unknown, [...EXPERIMENT_IDS])}? The experiments are ${EXPERIMENT_IDS.join(", ")}`;
    throw new ReflowError("usage", `there is no experiment "${unknown}"`, help);
  }
  return EXPERIMENTS.filter(({ id }) => ids.includes(id));
}

/** Words are token ids of this model's tokenizer, which every model compared with it must therefore share. */
function checkOtherModels({ model, twin, topk, seeds = [] }: SuiteOptions): void {
  const fail = (message: string, help: string): never => {
    throw new ReflowError("usage", message, help);
  };
  if (twin && twin.model.config.variant !== "gpt2-new") {
    fail(
      `the twin is a ${twin.model.config.variant}: expected gpt2-new`,
      "give a gpt2-new of the same size, trained on the same tokens",
    );
  }
  if (topk && topk.model.config.variant !== "reflow-topk") {
    fail(
      `the model for top-k is a ${topk.model.config.variant}: expected reflow-topk`,
      "give a trained reflow-topk",
    );
  }
  for (const { config } of seeds.map(({ model }) => model)) {
    if (config.variant !== model.config.variant || config.n_signals === undefined) {
      const help = "give models of the same factored variant: only their signals can be matched";
      fail(`a ${config.variant} is not another seed of a ${model.config.variant}`, help);
    }
  }
  const others = [
    ["the twin", twin],
    ["the model for top-k", topk],
    ...seeds.map((seed) => ["another seed's model", seed]),
  ];
  for (const [name, other] of others as [string, SuiteModel | undefined][]) {
    if (other && !sameTokens(model, other.model)) {
      fail(`${name} has another tokenizer`, "compare models that were trained with the same tokenizer");
    }
  }
}

const sameTokens = ({ tokenizer: a }: Model, { tokenizer: b }: Model): boolean =>
  a === b || JSON.stringify(a) === JSON.stringify(b);

/** Copies a model's tables to the host: rows of the tokenizer's tokens only, since the rest of the vocabulary is padding. */
async function experimentModel({ model, initial }: SuiteModel): Promise<ExperimentModel> {
  const tables = await model.tables();
  const rows = Math.min(model.tokenizer.vocabSize, model.config.vocab_size);
  const recipe = topRows(tables.recipe.data, rows, tables.recipe.shape[1]);
  const basis = tables.basis && matrix(tables.basis.shape[0], tables.basis.shape[1], tables.basis.data);
  if (![recipe, basis].every((table) => table?.data.every(Number.isFinite) ?? true)) {
    const message = "the weights contain values that are not finite";
    throw new ReflowError("numerics", message, "use a checkpoint from before the run diverged");
  }
  const embedding = basis ? await multiply(model, recipe, basis) : recipe;
  return { model, recipe, basis, embedding, initial: initial && tablesAt(model, initial, rows) };
}

const topRows = (data: Float32Array, rows: number, columns: number): Matrix =>
  matrix(rows, columns, data.subarray(0, rows * columns));

/** The tables at initialisation. */
function tablesAt({ config }: Model, initial: InitializeOptions, rows: number): ExperimentModel["initial"] {
  const { n_signals: S, d_model: d, top_k } = config;
  if (S === undefined) return { recipe: topRows(initialValues(config, "embedding", initial), rows, d) };
  const recipe = topRows(initialValues(config, "recipe", initial), rows, S);
  return {
    recipe:
      top_k === undefined
        ? recipe
        : keepLargest({ ...recipe, data: recipe.data.map((x) => Math.max(0, x)) }, top_k),
    basis: matrix(S, d, initialValues(config, "basis", initial)),
  };
}

/** Rounds numbers to six significant digits: further digits differ between machines. */
function rounded<T>(value: T, where: string): T {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new RangeError(`${where} is ${value}`);
    return Number(value.toPrecision(6)) as T;
  }
  if (Array.isArray(value)) return value.map((item, i) => rounded(item, `${where}[${i}]`)) as T;
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [key, rounded(item, `${where}.${key}`)])) as T;
}
