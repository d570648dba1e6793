/** A run of the suite as a page to be read. */
import type { Certificate } from "../../runtime/experiments/certificate.ts";
import type { ProbeFindings, ProbeResult } from "../../runtime/experiments/framework/experiment.ts";
import { certificateTable, controlsText, summary } from "./certificate.ts";
import { claimItem } from "./claims.ts";
import { DESCRIPTIONS } from "./descriptions.ts";
import { renderFigures } from "./figure.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { grouped, short } from "./markup/numbers.ts";
import { renderPage } from "./markup/page.ts";
import type { Results } from "./results.ts";

/**
 * The report, a whole HTML document. The same results give the same text.
 *
 * @example
 * writeFileSync("report.html", renderReport(readResults("runs/tiny/probes")));
 */
export function renderReport(results: Results): string {
  const { certificate } = results;
  return renderPage({
    title: `What can be read in a ${results.model.variant} model`,
    contents: [
      { id: "certificate", name: "certificate" },
      ...results.results.map(({ id, claims }) => ({ id, name: id, remark: countText(claims) })),
    ],
    head: markup`<h1>What can be read in this model, and what chance alone would show</h1>${modelDetails(results)}`,
    sections: [
      certificateSection(certificate),
      ...results.results.map((result) => probeSection(result, certificate.family)),
    ],
    foot: markup`<p>Made by <code>bun run cli probe</code>. The figures’ numbers, with six digits, are in <code>results.json</code> beside this file; the same seed, engine, kernels and thread count give the same file, byte for byte.</p>`,
  });
}

/** "2 of 3": claims that hold. */
export const countText = (claims: readonly { holds: boolean }[]): string =>
  claims.length === 0 ? "–" : `${claims.filter(({ holds }) => holds).length} of ${claims.length}`;

/** Which model, on what. */
export function modelDetails({ model, trained, beside, text, certificate }: Results): Markup {
  const signals = model.n_signals === undefined ? "" : `, ${grouped(model.n_signals, 0)} signals`;
  const topK = model.top_k === undefined ? "" : ` of which ${model.top_k} are kept`;
  const arms = [
    ...(beside.twin ? [["its twin", beside.twin]] : []),
    ...(beside.topk ? [["a trained top-k", beside.topk]] : []),
    ...beside.seeds.map((seed) => ["another seed", seed]),
  ];
  return markup`<dl class="about">
<dt>model</dt><dd>${model.variant}, ${grouped(model.parameters, 0)} parameters: ${model.n_layers} layers of width ${model.d_model}${signals}${topK}, a vocabulary of ${grouped(model.vocab_size, 0)}</dd>
${trained && markup`<dt>trained for</dt><dd>${grouped(trained.steps, 0)} steps, ${grouped(trained.tokens, 0)} tokens</dd>`}
<dt>weights</dt><dd><code>${certificate.checkpoint}</code></dd>
${arms.map(([name, checkpoint]) => markup`<dt>${name}</dt><dd><code>${checkpoint}</code></dd>`)}
<dt>read on</dt><dd>${grouped(text.tokens, 0)} tokens of held-out text, seed ${certificate.seed}${certificate.quick && ", with fewer prompts, positions and words (--quick)"}</dd>
</dl>`;
}

function certificateSection(certificate: Certificate): Markup {
  const { matching, family } = certificate;
  return markup`<section id="certificate">${summary(certificate)}${controlsText(family)}${certificateTable(certificate)}${
    matching &&
    markup`<h2>Are these the signals of other seeds?</h2><p class="prose">The same training from another seed gives another model. Its signals are matched with this one’s, one to one, so that their loadings over tokens are as alike as can be (the Hungarian method). Chance is the same with the other’s signals rotated.</p>${details(matching)}`
  }</section>`;
}

function probeSection(result: ProbeResult, family: number): Markup {
  const { id, claims, inapplicable } = result;
  return markup`<section id="${id}">${probeHead(result)}${
    inapplicable === undefined
      ? markup`<ul class="claims">${claims.map((claim) => claimItem(claim, family))}</ul>${details(result)}`
      : markup`<p class="none">It does not apply here: ${inapplicable}.</p>`
  }</section>\n`;
}

/** What is asked, and how. */
export function probeHead({ id, question }: ProbeResult): Markup {
  const { how, source } = DESCRIPTIONS[id];
  return markup`<p class="kicker">${id}</p><div class="question"><h2>${typeset(question)}</h2><p>${typeset(how)}</p>${
    source && markup`<p class="source">The source reported ${source}.</p>`
  }</div>`;
}

function details({ figures, notes, parameters }: Omit<ProbeFindings, "claims">): Markup {
  return markup`${renderFigures(figures)}${notesOf(notes)}${parametersOf(parameters)}`;
}

export const notesOf = (notes: readonly string[]): Markup | false =>
  notes.length > 0 &&
  markup`<ul class="notes">${notes.map((note) => markup`<li>${typeset(note)}</li>`)}</ul>`;

function parametersOf(parameters: ProbeFindings["parameters"]): Markup | false {
  const entries = Object.entries(parameters);
  if (entries.length === 0) return false;
  return markup`<details><summary>Run with</summary><dl class="parameters">${entries.map(
    ([name, value]) =>
      markup`<div><dt>${name}</dt><dd>${typeof value === "number" ? short(value) : String(value)}</dd></div>`,
  )}</dl></details>`;
}
