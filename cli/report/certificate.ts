/** The certificate: all claims at a glance, and what the controls are for. */
import type { Certificate } from "../../runtime/experiments/certificate.ts";
import { CLAIMS, type ClaimId } from "../../runtime/experiments/framework/claims.ts";
import type { Claim } from "../../runtime/experiments/framework/experiment.ts";
import { chanceText, verdict, ZScoreStrip } from "./claims.ts";
import { CONTROLS } from "./descriptions.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { pText, short } from "./markup/numbers.ts";

/** Why there is a chance to be compared with, for each kind of claim. */
export function controlsText(family: number): Markup {
  const kinds = (Object.keys(CONTROLS) as (keyof typeof CONTROLS)[]).map(
    (kind) => markup`<dt>${kind}</dt><dd>${CONTROLS[kind]}</dd>`,
  );
  return markup`<div class="prose"><h3>What the controls are for</h3>
<p>A token’s embedding is a product, <span class="formula"><i>E</i> = <i>R</i>·<i>B</i></span>: its <em>recipe</em>, a row of <i>R</i>, says how much of each <em>signal</em>, a row of <i>B</i>, is in it. The same model can be factored in many ways. For every invertible <i>A</i>, <span class="formula">(<i>R</i>·<i>A</i>)(<i>A</i>⁻¹·<i>B</i>)</span> makes the same predictions with the same loss, and has other signals. Training never chose between them, and any of them can be read like tea leaves. So each claim stands beside what chance alone would give, and what that is depends on the claim’s kind. A claim that is</p>
<dl class="kinds">${kinds}</dl>
<p><i>p</i> is the share of chance’s draws that come as far as what was seen, on the side that was fixed beforehand. Among ${family} claims a small one turns up by luck, so each <i>p</i> is corrected for all of them (Holm’s method), also where only some were looked at. A claim <strong>holds</strong> where its corrected <i>p</i> is under .05; of everything else this report says “not shown”, which doesn’t mean that it is false.</p></div>`;
}

export function summary({ claims, family }: Certificate): Markup {
  const holding = claims.filter(({ holds }) => holds).length;
  const looked =
    claims.length < family && ` ${claims.length} of the suite’s ${family} claims were looked at.`;
  return markup`<p class="summary"><strong>${holding} of ${claims.length} claims hold</strong> against what chance gives.${looked}</p>`;
}

/** A row for each claim, with how far from chance it is. */
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

/** What is claimed, and where in the page more is said of it. */
export const claimCell = ({ id, kind, statement }: Claim): Markup =>
  markup`<th role="rowheader" scope="row"><a href="#${probeOf(id)}">${typeset(statement)}</a> <small><b>${kind}</b> ${id}</small></th>`;

export function omittedClaims(notRun: readonly ClaimId[]): Markup | undefined {
  if (notRun.length === 0) return undefined;
  return markup`<details><summary>${notRun.length} claims were not looked at</summary><ul class="plain">${notRun.map(
    (id) => markup`<li>${CLAIMS[id].statement} <code>${id}</code></li>`,
  )}</ul></details>`;
}

/** "galaxy" of "galaxy.plane": where in the page it is. */
const probeOf = (id: string): string => id.split(".")[0];
