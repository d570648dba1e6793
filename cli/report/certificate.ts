/** The certificate: a table of all claims, and the explanation of their controls. */

import type { Certificate, Claim } from "../../runtime/experiments/certificate.ts";
import type { ClaimKind } from "../../runtime/experiments/framework/claims.ts";
import { CLAIMS, type ClaimId } from "../../runtime/experiments/registry.ts";
import { chanceText, verdict, ZScoreStrip } from "./claims.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { pText, short } from "./markup/numbers.ts";

/** The null distribution of each kind of claim, as explained in the report. */
const CONTROLS: Readonly<Record<ClaimKind, string>> = {
  free:
    "A statement about E = R·B, or about what the model computes. The null distribution is named with each claim: " +
    "permuted labels, random directions of the same length, or shuffled layers.",
  metric:
    "A statement about cosines between recipes. Rotations of the signals preserve these; a general A does not. The " +
    "null distribution permutes words or labels. The same measure in the embedding, and with randomly mixed recipes, " +
    "is shown for comparison.",
  bound:
    "A statement about coordinates: single signals, their sparsity, or their use. The null distribution is the same " +
    "model with its signals rotated at random, R·Q and Qᵀ·B, which computes exactly what the model does. (A " +
    "reflow-topk is not invariant under rotation: for it, the null is the model at initialisation.)",
};

/** Explains why each claim is compared with a null distribution, and what "holds" means. */
export function controlsText(family: number): Markup {
  const kinds = (Object.keys(CONTROLS) as (keyof typeof CONTROLS)[]).map(
    (kind) => markup`<dt>${kind}</dt><dd>${CONTROLS[kind]}</dd>`,
  );
  return markup`<div class="prose"><h3>Controls</h3>
<p>A token’s embedding is a product, <span class="formula"><i>E</i> = <i>R</i>·<i>B</i></span>: its <em>recipe</em>, a row of <i>R</i>, says how much of each <em>signal</em>, a row of <i>B</i>, it contains. The same model can be factored in many ways: for every invertible <i>A</i>, <span class="formula">(<i>R</i>·<i>A</i>)(<i>A</i>⁻¹·<i>B</i>)</span> makes the same predictions with the same loss, but has other signals. The loss does not choose between them, and any of them invites over-interpretation. Each claim is therefore compared with a null distribution, what chance alone would give. The null depends on the kind of claim:</p>
<dl class="kinds">${kinds}</dl>
<p>The <i>p</i>-value is the fraction of null draws at least as extreme as the observation, on the side that was fixed in advance. Among ${family} claims, a small <i>p</i> occurs by chance, so each <i>p</i> is corrected for all of them (Holm’s method), even if only some were tested. A claim <strong>holds</strong> if its corrected <i>p</i> is below .05. Every other claim is marked “not shown”, which does not mean that it is false.</p></div>`;
}

export function summary({ claims, family }: Certificate): Markup {
  const holding = claims.filter(({ holds }) => holds).length;
  const looked = claims.length < family && ` ${claims.length} of the suite’s ${family} claims were tested.`;
  return markup`<p class="summary"><strong>${holding} of ${claims.length} claims hold</strong> against their null distributions.${looked}</p>`;
}

/** A table with a row per claim, which shows its distance from the null in standard deviations. */
export function certificateTable({ claims, notRun }: Certificate): Markup {
  const strip = new ZScoreStrip(claims);
  const head = (content: Markup | string, isNumber = false) =>
    markup`<th role="columnheader" scope="col"${isNumber && markup` class="n"`}>${content}</th>`;
  const number = (name: string, text: string) =>
    markup`<td role="cell" class="n" data-column="${name}">${text}</td>`;
  const row = (claim: Claim) =>
    markup`<tr role="row"><td role="cell">${verdict(claim)}</td>${claimCell(claim)}<td role="cell" class="spread">${strip.row(
      [claim],
    )}</td>${number("observed", short(claim.effect))}${number("chance", chanceText(claim))}${number(
      "p",
      pText(claim.p),
    )}${number("corrected", pText(claim.pHolm))}</tr>\n`;
  return markup`<table role="table" class="certificate"><thead><tr role="row">${head("")}${head("claim")}${head(
    markup`distance from chance, in standard deviations${strip.scale()}`,
  )}${head("observed", true)}${head("chance, ± 1 s.d.", true)}${head(markup`<i>p</i>`, true)}${head(
    "corrected",
    true,
  )}</tr></thead><tbody>${claims.map(row)}</tbody></table>${omittedClaims(notRun)}`;
}

/** The claim's statement, linked to its experiment's section. */
export const claimCell = ({ id, kind, statement }: Claim): Markup =>
  markup`<th role="rowheader" scope="row"><a href="#${experimentOf(id)}">${typeset(statement)}</a> <small><b>${kind}</b> ${id}</small></th>`;

export function omittedClaims(notRun: readonly ClaimId[]): Markup | undefined {
  if (notRun.length === 0) return undefined;
  return markup`<details><summary>${notRun.length} claims were not tested</summary><ul class="plain">${notRun.map(
    (id) => markup`<li>${CLAIMS[id].statement} <code>${id}</code></li>`,
  )}</ul></details>`;
}

/** The experiment of a claim, which is the id of its section: "galaxy" for "galaxy.plane". */
const experimentOf = (id: string): string => id.split(".")[0];
