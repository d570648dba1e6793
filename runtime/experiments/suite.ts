import { closest } from "fastest-levenshtein";
import { ReflowError } from "../common/errors.ts";
import { takeTurn } from "../common/event-loop.ts";
import { keepLargest, type Matrix, matrix, multiply } from "../math/matrix.ts";
import { Random } from "../math/random.ts";
import type { Model } from "../model/model.ts";
import { type EvaluationSets, readWords } from "../text/word-sets.ts";
import { type InitializeOptions, initialValues } from "../transformer/parameters.ts";
import { type Certificate, corrected, matchSeeds } from "./certificate.ts";
import { CLAIMS, type ClaimId, FAMILY, LEAST_DRAWS } from "./framework/claims.ts";
import {
  type Claim,
  PROBE_IDS,
  type Probe,
  type ProbeContext,
  type ProbedModel,
  type ProbeFindings,
  type ProbeId,
  type ProbeResult,
} from "./framework/experiment.ts";
import { genes } from "./patching/genes.ts";
import { algebra } from "./recipes/algebra.ts";
import { atlas } from "./recipes/atlas.ts";
import { galaxy } from "./recipes/galaxy-clusters.ts";
import { geometry } from "./recipes/geometry.ts";
import { hardtopk } from "./recipes/hardtopk.ts";
import { sparsity } from "./recipes/sparsity.ts";
import { ablation } from "./signals/ablation.ts";
import { flow } from "./signals/flow-attribution.ts";
import { crystallization } from "./steering/crystallization-boundary.ts";
import { inception } from "./steering/inception-dose.ts";
import { layers } from "./lens/layers.ts";
import { steer } from "./steering/steer.ts";
import { typo } from "./lens/typo.ts";

const BY_ID: Readonly<Record<ProbeId, Probe>> = {
  atlas,
  sparsity,
  geometry,
  galaxy,
  algebra,
  typo,
  layers,
  flow,
  ablation,
  steer,
  inception,
  genes,
  crystallization,
  hardtopk,
};

/** In the order in which they run, and the report shows them. */
export const PROBES: readonly Probe[] = PROBE_IDS.map((id) => BY_ID[id]);

/** A model that the suite looks at. */
export interface SuiteModel {
  model: Model;
  /** How its run began; absent where that isn't known, or where it began from another's weights. */
  initial?: InitializeOptions;
}

export interface SuiteOptions extends SuiteModel {
  /** The tied twin, `gpt2-new`; a trained `reflow-topk`; the same model from other seeds: all with this one's tokenizer. */
  twin?: SuiteModel;
  topk?: SuiteModel;
  seeds?: readonly SuiteModel[];
  /** Held-out text as ids, its documents each after `<|endoftext|>`. */
  text: Int32Array;
  sets?: EvaluationSets;
  /** All where they aren't said. */
  ids?: readonly string[];
  /** Of everything that is drawn. Default 1. */
  seed?: number;
  /** Fewer prompts, positions and words, never fewer draws than the family needs. */
  quick?: boolean;
  /** What is looked at, and how much of everything is done, from 0 to 1. */
  onProgress?(at: ProbeId | "certificate", done: number): void;
  signal?: AbortSignal;
}

export interface SuiteResults {
  results: ProbeResult[];
  certificate: Certificate;
}

/** Draws of a null that costs no forward pass: p can be .001. */
const CHEAP_DRAWS = 999;

/**
 * Runs experiments on a model and says what chance would give. The same seed, engine, kernels and thread count give the same
 * results, byte for byte; what one probe draws doesn't depend on which others run.
 *
 * @throws ReflowError `usage` for an unknown id, or a model that doesn't fit beside this one; `numerics` for weights that
 *   aren't finite; `format` for an evaluation set that isn't what it should be
 * @throws the signal's reason, once it is aborted
 * @example
 * const { results, certificate } = await runSuite({ model, text, ids: ["galaxy"], quick: true });
 * certificate.claims.filter(({ holds }) => holds).map(({ statement }) => statement);
 */
export async function runSuite(options: SuiteOptions): Promise<SuiteResults> {
  const { twin, topk, seeds = [], text, sets, seed = 1, quick = false, onProgress, signal } = options;
  const probes = probesOf(options.ids);
  checkArms(options);
  const model = await probed(options);
  const base = {
    model,
    twin: twin && (await probed(twin)),
    topk: topk && (await probed(topk)),
    seeds: await Promise.all(seeds.map(probed)),
    words: readWords(options.model.tokenizer, model.recipe.rows, text, sets),
    text,
    draws: { cheap: CHEAP_DRAWS, forward: LEAST_DRAWS },
    quick,
  };
  const steps = probes.length + (seeds.length > 0 ? 1 : 0);
  const contextOf = (id: ProbeId | "certificate", step: number): ProbeContext => ({
    ...base,
    random: (purpose) => new Random(`${seed}/probes/${id}/${purpose}`),
    async progress(share) {
      if (share !== undefined) onProgress?.(id, (step + share) / steps);
      await takeTurn(signal);
    },
  });

  const found: { probe: Probe; findings: ProbeFindings; inapplicable?: string }[] = [];
  for (const [step, probe] of probes.entries()) {
    const context = contextOf(probe.id, step);
    await context.progress(0);
    const inapplicable = probe.inapplicable?.(context);
    const findings = inapplicable === undefined ? await probe.run(context) : NOTHING;
    found.push({ probe, findings, inapplicable });
    await context.progress(1);
  }
  const matching = seeds.length > 0 ? await matchSeeds(contextOf("certificate", probes.length)) : undefined;

  const claims = corrected([
    ...found.flatMap(({ findings }) => findings.claims),
    ...(matching?.claims ?? []),
  ]);
  const claimOf = new Map(claims.map((claim) => [claim.id, claim]));
  const about = { checkpoint: identity(model), seed };
  const results = found.map(({ probe, findings, inapplicable }): ProbeResult => {
    const { id, question } = probe;
    const ours: Claim[] = findings.claims.map((claim) => claimOf.get(claim.id)!);
    return { id, question, ...about, ...(inapplicable && { inapplicable }), ...findings, claims: ours };
  });
  const family = Object.keys(CLAIMS) as ClaimId[];
  const certificate: Certificate = {
    ...about,
    quick,
    family: FAMILY,
    claims: family.flatMap((id) => claimOf.get(id) ?? []),
    notRun: family.filter((id) => !claimOf.has(id)),
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

const identity = ({ model }: ProbedModel): string => model.checkpoint ?? "unknown";

const NOTHING: ProbeFindings = { parameters: {}, claims: [], figures: [], notes: [] };

function probesOf(ids: readonly string[] = PROBE_IDS): Probe[] {
  const unknown = ids.find((id) => !isProbeId(id));
  if (unknown !== undefined) {
    const help = `did you mean ${closest(unknown, [...PROBE_IDS])}? There are ${PROBE_IDS.join(", ")}`;
    throw new ReflowError("usage", `there is no experiment "${unknown}"`, help);
  }
  return PROBES.filter(({ id }) => ids.includes(id));
}

const isProbeId = (id: string): boolean => (PROBE_IDS as readonly string[]).includes(id);

/** Words are ids of this model's tokenizer: what stands beside it must have the same. */
function checkArms({ model, twin, topk, seeds = [] }: SuiteOptions): void {
  const wrong = (what: string, help: string): never => {
    throw new ReflowError("usage", what, help);
  };
  if (twin && twin.model.config.variant !== "gpt2-new") {
    wrong(
      `the twin is a ${twin.model.config.variant}`,
      "give a gpt2-new of the same size, trained on the same tokens",
    );
  }
  if (topk && topk.model.config.variant !== "reflow-topk") {
    wrong(`the model for top-k is a ${topk.model.config.variant}`, "give a trained reflow-topk");
  }
  for (const { config } of seeds.map(({ model }) => model)) {
    if (config.variant !== model.config.variant || config.n_signals === undefined) {
      const help = "signals are matched between models of one factored variant";
      wrong(`a ${config.variant} is no other seed of a ${model.config.variant}`, help);
    }
  }
  const arms = [
    ["the twin", twin],
    ["the model for top-k", topk],
    ...seeds.map((seed) => ["another seed's model", seed]),
  ];
  for (const [name, arm] of arms as [string, SuiteModel | undefined][]) {
    if (arm && !sameTokens(model, arm.model)) {
      wrong(`${name} has another tokenizer`, "compare models that were trained with one tokenizer");
    }
  }
}

const sameTokens = ({ tokenizer: a }: Model, { tokenizer: b }: Model): boolean =>
  a === b || JSON.stringify(a) === JSON.stringify(b);

/** A model with its tables on the host: of the tokenizer's tokens, since the rest of the vocabulary is padding. */
async function probed({ model, initial }: SuiteModel): Promise<ProbedModel> {
  const tables = await model.tables();
  const rows = Math.min(model.tokenizer.vocabSize, model.config.vocab_size);
  const recipe = topRows(tables.recipe.data, rows, tables.recipe.shape[1]);
  const basis = tables.basis && matrix(tables.basis.shape[0], tables.basis.shape[1], tables.basis.data);
  if (![recipe, basis].every((table) => table?.data.every(Number.isFinite) ?? true)) {
    const message = "the weights hold values that are not finite";
    throw new ReflowError("numerics", message, "probe a checkpoint from before the run failed");
  }
  const embedding = basis ? await multiply(model, recipe, basis) : recipe;
  return { model, recipe, basis, embedding, initial: initial && tablesAt(model, initial, rows) };
}

const topRows = (data: Float32Array, rows: number, columns: number): Matrix =>
  matrix(rows, columns, data.subarray(0, rows * columns));

/** As the run began. */
function tablesAt({ config }: Model, initial: InitializeOptions, rows: number): ProbedModel["initial"] {
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

/** Numbers to six digits: what is beyond them differs from machine to machine. */
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
