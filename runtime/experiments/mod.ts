/**
 * Experiments on trained models: each tests claims about recipes and signals against null distributions.
 *
 * @example
 * import { loadModel } from "reflow";
 * import { runSuite } from "reflow/experiments";
 *
 * using model = await loadModel("runs/tiny");
 * const text = model.tokenizer.encode(await readFile("held-out.txt", "utf8"), { allowSpecial: true });
 * const { certificate } = await runSuite({ model, text, ids: ["galaxy"], quick: true });
 */
export {
  type Analogy,
  type AnalogySection,
  type Category,
  type EvaluationSets,
  type LabelledText,
  parseAnalogies,
  parseSentences,
  parseSimilarity,
  readWords,
  type Word,
  type WordPair,
  type Words,
} from "../text/word-sets.ts";
export type { Certificate, Claim } from "./certificate.ts";
export type { ClaimResult, ClaimSpec, Null } from "./framework/claims.ts";
export type { Experiment, ExperimentContext, ExperimentModel, Findings } from "./framework/experiment.ts";
export type { Figure } from "./framework/figure.ts";
export {
  CLAIM_IDS,
  CLAIMS,
  type ClaimId,
  EXPERIMENT_IDS,
  EXPERIMENTS,
  type ExperimentId,
  experimentOf,
  isExperimentId,
  type RegisteredExperiment,
} from "./registry.ts";
export {
  type ExperimentResult,
  runSuite,
  type SuiteModel,
  type SuiteOptions,
  type SuiteResults,
} from "./suite.ts";
