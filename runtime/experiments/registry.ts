/**
 * The experiments of the suite. To add one, write its file and add it to {@link REGISTERED}: ids, order, claims, the report
 * and the API follow from this list.
 */
import type { ClaimSpec } from "./framework/claims.ts";
import type { Experiment } from "./framework/experiment.ts";
import { layers } from "./lens/layers.ts";
import { typo } from "./lens/typo.ts";
import { genes } from "./patching/genes.ts";
import { algebra } from "./recipes/algebra.ts";
import { atlas } from "./recipes/atlas.ts";
import { galaxy } from "./recipes/galaxy-clusters.ts";
import { geometry } from "./recipes/geometry.ts";
import { hardtopk } from "./recipes/hardtopk.ts";
import { SEED_CLAIMS } from "./recipes/seed-matching.ts";
import { sparsity } from "./recipes/sparsity.ts";
import { ablation } from "./signals/ablation.ts";
import { flow } from "./signals/flow-attribution.ts";
import { crystallization } from "./steering/crystallization-boundary.ts";
import { inception } from "./steering/inception-dose.ts";
import { steer } from "./steering/steer.ts";

const REGISTERED = [
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
] as const satisfies readonly Experiment[];

type Registered = (typeof REGISTERED)[number];
export type ExperimentId = Registered["id"];

/** An experiment of the suite, whose id is known. */
export interface RegisteredExperiment extends Experiment {
  readonly id: ExperimentId;
}

/** In the order in which they run and the report shows them. */
export const EXPERIMENTS: readonly RegisteredExperiment[] = REGISTERED;
export const EXPERIMENT_IDS: readonly ExperimentId[] = EXPERIMENTS.map(({ id }) => id);

export const isExperimentId = (id: string): id is ExperimentId =>
  (EXPERIMENT_IDS as readonly string[]).includes(id);

export const experimentOf = (id: ExperimentId): RegisteredExperiment =>
  EXPERIMENTS.find((experiment) => experiment.id === id)!;

type IdsOf<Claims> = Claims extends unknown ? keyof Claims & string : never;
export type ClaimId = IdsOf<Registered["claims"] | typeof SEED_CLAIMS>;

/** Every claim that the suite may make: the family that p-values are corrected for, even if one experiment runs alone. */
export const CLAIMS = Object.assign({}, ...REGISTERED.map(({ claims }) => claims), SEED_CLAIMS) as Readonly<
  Record<ClaimId, ClaimSpec>
>;

export const CLAIM_IDS = Object.keys(CLAIMS) as readonly ClaimId[];

export const isClaimId = (id: string): id is ClaimId => Object.hasOwn(CLAIMS, id);

/** Number of claims that are corrected for together. */
export const FAMILY = CLAIM_IDS.length;

/**
 * Draws that a null requires for one claim to hold after Holm's correction: p is at least 1/(draws + 1), and p times the
 * family must stay below .05.
 */
export const LEAST_DRAWS = 20 * FAMILY;
