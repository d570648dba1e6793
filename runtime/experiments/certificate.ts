/** The certificate of a checkpoint: all claims, corrected together for multiple testing. */
import { holm } from "../math/statistics.ts";
import type { ClaimResult } from "./framework/claims.ts";
import type { Findings } from "./framework/experiment.ts";
import { type ClaimId, FAMILY, isClaimId } from "./registry.ts";

/** A claim as it is reported. */
export interface Claim extends ClaimResult {
  readonly id: ClaimId;
  /** The p-value corrected for the whole family (Holm's method). */
  readonly pHolm: number;
  /** pHolm < .05: no other claim is worded as a finding. */
  readonly holds: boolean;
}

/** All claims of a checkpoint. */
export interface Certificate {
  readonly checkpoint: string;
  readonly seed: number;
  readonly quick: boolean;
  /** Number of claims that p-values are corrected for, including those that were not tested. */
  readonly family: number;
  /** In the family's order. */
  readonly claims: readonly Claim[];
  /** Claims that were not tested: they count as p = 1. */
  readonly notRun: readonly ClaimId[];
  /** How signals match those of other seeds' checkpoints, if any were given. */
  readonly matching?: Omit<Findings, "claims"> & { readonly checkpoints: readonly string[] };
}

/** Corrects claims for the whole family, whichever of it were tested. */
export function corrected(results: readonly ClaimResult[]): Claim[] {
  const pHolms = holm(
    results.map(({ p }) => p),
    FAMILY,
  );
  return results.map((result, i) => {
    const { id } = result;
    if (!isClaimId(id)) throw new RangeError(`claim ${id} is not declared by any experiment`);
    return { ...result, id, pHolm: pHolms[i], holds: pHolms[i] < 0.05 };
  });
}
