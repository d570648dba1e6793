/** Claims: the observation, its null distribution, and the verdict. */

import type { Claim } from "../../runtime/experiments/certificate.ts";
import { CLAIMS } from "../../runtime/experiments/registry.ts";
import { round } from "./charts/frame.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { grouped, pText, short } from "./markup/numbers.ts";

/**
 * Distance of the effect from the null's mean in standard deviations of the draws; positive on the claimed side. Infinite if all
 * draws are equal and differ from the effect.
 */
export function zScore({ id, effect, null: { mean, sd } }: Claim): number {
  const distance = effect - mean;
  if (distance === 0) return 0;
  return (CLAIMS[id].side === "greater" ? 1 : -1) * (distance / sd);
}

export const verdict = ({ holds }: Claim): Markup =>
  holds ? markup`<span class="verdict holds">holds</span>` : markup`<span class="verdict">not shown</span>`;

export const chanceText = ({ null: { mean, sd } }: Claim): string => `${short(mean)} ± ${short(sd, 2)}`;

/** A claim in words, as a list item. */
export function claimItem(claim: Claim, family: number): Markup {
  const { null: chance, interval, effect, p, pHolm, statement } = claim;
  const range = interval && ` (95% interval ${short(interval[0])} to ${short(interval[1])})`;
  return markup`<li>${verdict(claim)} <div><p class="statement">${typeset(statement)}</p><p>Observed ${short(effect)}${range}; null (${chance.name}, ${grouped(
    chance.draws,
    0,
  )} draws): ${chanceText(claim)}. ${distanceText(claim)} <i>p</i> = ${pText(p)}, corrected for ${family} claims: ${pText(
    pHolm,
  )}.${remark(claim)}</p></div></li>`;
}

function distanceText(claim: Claim): string {
  const z = zScore(claim);
  if (!Number.isFinite(z)) return "All draws are equal.";
  const size = Math.abs(z);
  return `The distance is ${size < 9.95 ? size.toFixed(1) : grouped(size, 0)} standard deviations${z < 0 ? ", on the opposite side" : ""}.`;
}

/** A warning about results that could be mistaken for findings. */
function remark(claim: Claim): string | undefined {
  if (claim.holds) return undefined;
  if (zScore(claim) < -2) return " The effect lies on the side opposite to the claim.";
  if (claim.p < 0.05)
    return " Uncorrected it would pass, but among this many claims some reach this by chance.";
  return undefined;
}

// ---- distances in a row -----------------------------------------------------------------------------------

const [STRIP, HEIGHT, EDGE] = [180, 22, 8];

/** Symmetric logarithmic scale: nearly linear for small distances, compressed for large ones. */
const compressed = (z: number): number => Math.sign(z) * Math.log10(1 + Math.abs(z));

/** Draws the distances of several claims from their nulls on a common axis. */
export class ZScoreStrip {
  readonly #low: number;
  readonly #high: number;

  constructor(claims: readonly Claim[]) {
    const finite = claims.map((claim) => compressed(zScore(claim))).filter(Number.isFinite);
    this.#low = Math.min(compressed(-4), ...finite);
    this.#high = Math.max(compressed(12), ...finite);
  }

  #at(z: number): number {
    const fraction = (compressed(z) - this.#low) / (this.#high - this.#low);
    return EDGE + Math.min(1, Math.max(0, fraction)) * (STRIP - 2 * EDGE);
  }

  /**
   * A strip with a point per claim. The grey band covers 95% of a normally distributed null.
   *
   * @param names letters to draw instead of points, to compare two models
   */
  row(claims: readonly Claim[], names?: readonly string[]): Markup {
    const points = claims.map((claim, i) => {
      const x = round(this.#at(zScore(claim)));
      const style = claim.holds ? "holds" : "open";
      if (!names) return markup`<circle class="${style}" cx="${x}" cy="${HEIGHT / 2}" r="4"/>`;
      return markup`<text class="${style}" x="${x}" y="${i === 0 ? 10 : 20}" text-anchor="middle">${names[i]}</text>`;
    });
    const distances = claims.map((claim) => zScore(claim).toFixed(1)).join(" and ");
    const [from, to] = [this.#at(-1.96), this.#at(1.96)];
    return markup`<svg class="strip" viewBox="0 0 ${STRIP} ${HEIGHT}" role="img" aria-label="${distances} standard deviations from chance"><path class="band" d="M${round(from)} 1H${round(to)}V${HEIGHT - 1}H${round(from)}z"/><path class="rule" d="M0 ${HEIGHT / 2}H${STRIP}"/><path class="chance" d="M${round(this.#at(0))} 1V${HEIGHT - 1}"/>${points}</svg>`;
  }

  /** Tick labels of the axis. */
  scale(): Markup {
    const ticks = [0, 3, 10, 30, 100, 300, 1000].filter((z) => compressed(z) <= this.#high);
    return markup`<svg class="strip" viewBox="0 0 ${STRIP} 14" aria-hidden="true">${ticks.map(
      (z) => markup`<text x="${round(this.#at(z))}" y="10" text-anchor="middle">${z}</text>`,
    )}</svg>`;
  }
}
