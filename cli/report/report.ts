/** The report page of a run of the suite. */

import type { Certificate } from "../../runtime/experiments/certificate.ts";
import type { Findings } from "../../runtime/experiments/framework/experiment.ts";
import { experimentOf } from "../../runtime/experiments/registry.ts";
import type { ExperimentResult } from "../../runtime/experiments/suite.ts";
import { certificateTable, controlsText, summary } from "./certificate.ts";
import { claimItem } from "./claims.ts";
import { renderFigures } from "./figure.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { grouped, short } from "./markup/numbers.ts";
import { renderPage } from "./markup/page.ts";
import type { Results } from "./results.ts";

/**
 * Renders the report as a complete HTML document. The output is a deterministic function of the results.
 *
 * @example
 * writeFileSync("report.html", renderReport(readResults("runs/tiny/probes")));
 */
export function renderReport(results: Results): string {
  const { certificate } = results;
  return renderPage({
    title: `Probe report of a ${results.model.variant} model`,
    contents: [
      { id: "certificate", name: "certificate" },
      ...results.results.map(({ id, claims }) => ({ id, name: id, remark: countText(claims) })),
    ],
    head: markup`<h1>Probe report: what this model shows beyond chance</h1>${modelDetails(results)}`,
    sections: [
      certificateSection(certificate),
      ...results.results.map((result) => experimentSection(result, certificate.family)),
    ],
    foot: markup`<p>Made by <code>bun run cli probe</code>. The numbers of all figures, with six digits, are in <code>results.json</code> beside this file. The same seed, engine, kernels and thread count reproduce this file byte for byte.</p>`,
  });
}

/** Number of claims that hold: "2 of 3". */
export const countText = (claims: readonly { holds: boolean }[]): string =>
  claims.length === 0 ? "–" : `${claims.filter(({ holds }) => holds).length} of ${claims.length}`;

/** The model, the models it was compared with, and the text. */
export function modelDetails({ model, trained, beside, text, certificate }: Results): Markup {
  const signals = model.n_signals === undefined ? "" : `, ${grouped(model.n_signals, 0)} signals`;
  const topK = model.top_k === undefined ? "" : ` (the top ${model.top_k} are kept)`;
  const comparisons = [
    ...(beside.twin ? [["twin", beside.twin]] : []),
    ...(beside.topk ? [["trained top-k model", beside.topk]] : []),
    ...beside.seeds.map((seed) => ["other seed", seed]),
  ];
  return markup`<dl class="about">
<dt>model</dt><dd>${model.variant}, ${grouped(model.parameters, 0)} parameters: ${model.n_layers} layers of width ${model.d_model}${signals}${topK}, vocabulary of ${grouped(model.vocab_size, 0)}</dd>
${trained && markup`<dt>trained for</dt><dd>${grouped(trained.steps, 0)} steps, ${grouped(trained.tokens, 0)} tokens</dd>`}
<dt>weights</dt><dd><code>${certificate.checkpoint}</code></dd>
${comparisons.map(([name, checkpoint]) => markup`<dt>${name}</dt><dd><code>${checkpoint}</code></dd>`)}
<dt>evaluated on</dt><dd>${grouped(text.tokens, 0)} tokens of held-out text, seed ${certificate.seed}${certificate.quick && ", with fewer prompts, positions and words (--quick)"}</dd>
</dl>`;
}

function certificateSection(certificate: Certificate): Markup {
  const { matching, family } = certificate;
  return markup`<section id="certificate">${summary(certificate)}${controlsText(family)}${certificateTable(certificate)}${
    matching &&
    markup`<h2>Do the signals recur across seeds?</h2><p class="prose">The same training from another seed gives another model. Its signals are matched one to one with this model’s signals, so that the total similarity of their loadings over tokens is maximal (Hungarian algorithm). Null: the same matching after a random rotation of the other model’s signals.</p>${details(matching)}`
  }</section>`;
}

function experimentSection(result: ExperimentResult, family: number): Markup {
  const { id, claims, inapplicable } = result;
  return markup`<section id="${id}">${experimentHead(result)}${
    inapplicable === undefined
      ? markup`<ul class="claims">${claims.map((claim) => claimItem(claim, family))}</ul>${details(result)}`
      : markup`<p class="none">Not applicable: ${inapplicable}.</p>`
  }</section>\n`;
}

/** The experiment's question, its method, and the result of the original work. */
export function experimentHead({ id, question }: ExperimentResult): Markup {
  const { method, reported } = experimentOf(id);
  return markup`<p class="kicker">${id}</p><div class="question"><h2>${typeset(question)}</h2><p>${typeset(method)}</p>${
    reported && markup`<p class="source">The original work reported ${typeset(reported)}.</p>`
  }</div>`;
}

function details({ figures, notes, parameters }: Omit<Findings, "claims">): Markup {
  return markup`${renderFigures(figures)}${notesOf(notes)}${parametersOf(parameters)}`;
}

export const notesOf = (notes: readonly string[]): Markup | false =>
  notes.length > 0 &&
  markup`<ul class="notes">${notes.map((note) => markup`<li>${typeset(note)}</li>`)}</ul>`;

function parametersOf(parameters: Findings["parameters"]): Markup | false {
  const entries = Object.entries(parameters);
  if (entries.length === 0) return false;
  return markup`<details><summary>Parameters</summary><dl class="parameters">${entries.map(
    ([name, value]) =>
      markup`<div><dt>${name}</dt><dd>${typeof value === "number" ? short(value) : String(value)}</dd></div>`,
  )}</dl></details>`;
}
