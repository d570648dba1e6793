/** The comparison page: two runs of the suite side by side. */

import type { Claim } from "../../runtime/experiments/certificate.ts";
import type { Figure } from "../../runtime/experiments/framework/figure.ts";
import { CLAIMS, type ClaimId, EXPERIMENT_IDS } from "../../runtime/experiments/registry.ts";
import type { ExperimentResult } from "../../runtime/experiments/suite.ts";
import { claimCell, controlsText } from "./certificate.ts";
import { chanceText, verdict, ZScoreStrip } from "./claims.ts";
import { renderFigure } from "./figure.ts";
import { type Markup, markup } from "./markup/html.ts";
import { pText, short } from "./markup/numbers.ts";
import { renderPage } from "./markup/page.ts";
import { countText, experimentHead, modelDetails, notesOf } from "./report.ts";
import type { Results } from "./results.ts";

/** The results of one run and the name they are shown under. */
export interface ComparedRun {
  name: string;
  results: Results;
}

const TAGS = ["A", "B"] as const;

/** Claims that were tested in either run, in the order of the family. */
export function pairedClaims(
  both: readonly [ComparedRun, ComparedRun],
): [id: ClaimId, (Claim | undefined)[]][] {
  const pairs = (Object.keys(CLAIMS) as ClaimId[]).map((id): [ClaimId, (Claim | undefined)[]] => [
    id,
    both.map(({ results }) => results.certificate.claims.find((claim) => claim.id === id)),
  ]);
  return pairs.filter(([, claims]) => claims.some((claim) => claim !== undefined));
}

/** The comparison, a whole HTML document. */
export function renderComparison(both: readonly [ComparedRun, ComparedRun]): string {
  const pairs = EXPERIMENT_IDS.map((id) =>
    both.map(({ results }) => results.results.find((result) => result.id === id)),
  ).filter((pair) => pair.some((result) => result !== undefined));
  return renderPage({
    title: "Two models side by side",
    contents: [
      { id: "certificate", name: "certificate" },
      ...pairs.map((pair) => ({
        id: (pair[0] ?? pair[1])!.id,
        name: (pair[0] ?? pair[1])!.id,
        remark: pair.map((result) => (result ? countText(result.claims) : "–")).join(" / "),
      })),
    ],
    head: markup`<h1>Two models side by side</h1>${both.map(
      ({ name, results }, i) =>
        markup`<h3><span class="tag">${TAGS[i]}</span> ${name}</h3>${modelDetails(results)}`,
    )}`,
    sections: [certificates(both), ...pairs.map(pairSection)],
    foot: markup`<p>Made by <code>bun run cli probe --compare</code>. Figures side by side share their axes, except maps of words, whose axes are specific to each model.</p>`,
  });
}

function certificates(both: readonly [ComparedRun, ComparedRun]): Markup {
  const pairs = pairedClaims(both);
  const strip = new ZScoreStrip(pairs.flatMap(([, claims]) => claims.filter((claim) => claim !== undefined)));
  const counts = both.map(({ results: { certificate } }) => countText(certificate.claims));
  const head = (content: Markup | string, isNumber = false) =>
    markup`<th role="columnheader" scope="col"${isNumber && markup` class="n"`}>${content}</th>`;
  const row = ([, claims]: readonly [ClaimId, readonly (Claim | undefined)[]]) => {
    const known = claims.filter((claim) => claim !== undefined);
    /** One line per model. */
    const lines = (text: (claim: Claim) => string | Markup) =>
      claims.map((claim, i) => markup`<div><b>${TAGS[i]}</b> ${claim ? text(claim) : "–"}</div>`);
    const number = (name: string, text: (claim: Claim) => string) =>
      markup`<td role="cell" class="n" data-column="${name}">${lines(text)}</td>`;
    const names = TAGS.filter((_, i) => claims[i]);
    return markup`<tr role="row"><td role="cell">${lines(verdict)}</td>${claimCell(known[0])}<td role="cell" class="spread">${strip.row(
      known,
      names,
    )}</td>${number("observed", ({ effect }) => short(effect))}${number("chance", chanceText)}${number("corrected p", ({ pHolm }) => pText(pHolm))}</tr>\n`;
  };
  return markup`<section id="certificate"><p class="summary"><strong>A: ${counts[0]} claims hold. B: ${counts[1]}.</strong></p>${controlsText(
    both[0].results.certificate.family,
  )}<table role="table" class="certificate"><thead><tr role="row">${head("")}${head("claim")}${head(
    markup`distance from chance, in standard deviations${strip.scale()}`,
  )}${head("observed", true)}${head("chance, ± 1 s.d.", true)}${head(markup`corrected <i>p</i>`, true)}</tr></thead><tbody>${pairs.map(
    row,
  )}</tbody></table></section>\n`;
}

function pairSection(pair: readonly (ExperimentResult | undefined)[]): Markup {
  const known = pair.filter((result) => result !== undefined);
  const titles = new Set(known.flatMap(({ figures }) => figures.map(keyOf)));
  const sides = pair.map((result, i) => {
    if (!result) return markup`<div><p class="none">${TAGS[i]}: not run.</p></div>`;
    const { inapplicable, notes } = result;
    if (inapplicable !== undefined)
      return markup`<div><p class="none">${TAGS[i]}: not applicable (${inapplicable}).</p></div>`;
    return markup`<div>${notesOf(notes.map((note) => `${TAGS[i]}: ${note}`))}</div>`;
  });
  const figures = [...titles].map((title) => {
    const [a, b] = pair.map((result) => result?.figures.find((figure) => keyOf(figure) === title));
    return [cell(a, b, TAGS[0]), cell(b, a, TAGS[1])];
  });
  return markup`<section id="${known[0].id}">${experimentHead(known[0])}<div class="figures">${figures}${sides}</div></section>\n`;
}

const keyOf = ({ type, title }: Figure): string => `${type} ${title}`;

const cell = (figure: Figure | undefined, beside: Figure | undefined, tag: string): Markup =>
  figure ? renderFigure(figure, { beside: beside && [beside], inColumn: true, tag }) : markup`<div></div>`;
