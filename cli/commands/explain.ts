import { Command } from "commander";
import type { ExplainOptions, Explanation, SignalShare } from "../../runtime/analysis/explain.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { note } from "../../runtime/host/command.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { columnsOf, fold, printable, tokenLabel } from "../shared/format.ts";
import { type InterventionFlags, readInterventions, withInterventions } from "../shared/interventions.ts";
import { CHECKPOINT, count, withDevice, withPatch } from "../shared/options.ts";

interface ExplainFlags
  extends Pick<ExplainOptions, "target" | "position" | "top" | "patch">,
    InterventionFlags,
    LoadModelOptions {
  prompt: string;
  json?: boolean;
}

export function explainCommand(): Command {
  const command = new Command("explain")
    .summary("Attribute a prediction to signals.")
    .description("Attribute a predicted token's logit to signals and to the components that write to them.")
    .argument("<checkpoint>", CHECKPOINT)
    .requiredOption("--prompt <text>", "text before the prediction")
    .option("--target <token>", 'token to explain, by its text: " Paris" (default: the most likely token)')
    .option(
      "--position <n>",
      "explain the prediction after this prompt token, counted from 0 (default: the last)",
      count(0),
    )
    .option("--top <n>", "number of signals to show, by absolute contribution (default: 10)", count(0));
  withPatch(withInterventions(command))
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
A logit is the sum over signals s of R[v,s]·z_s. Each z_s is the sum of what the
embedding, attention layers and MLPs write, with the final norm's scale held
fixed. Interventions count as one more component.

Example: bun run cli explain runs/tiny --prompt "The capital of France is" --target " Paris"`,
    )
    .action(explain);
  return withDevice(command);
}

async function explain(
  path: string,
  { prompt, target, position, top, patch, spec, text, json, ...on }: ExplainFlags,
): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  if (prompt === "")
    throw new ReflowError("usage", "--prompt is empty", "give the text before the prediction");
  const changesOf = await readInterventions(path, { spec, text });
  using model = await loadModel(path, on);
  const ids = model.tokenize(prompt);
  const explanation = await model.explain(ids, { target, position, top, patch, ...changesOf(model) });
  if (json) {
    console.log(JSON.stringify({ prompt, ids: [...ids], ...explanation }));
    return;
  }
  console.log(layOut(model.tokenizer, ids, explanation, columnsOf(process.stdout)).join("\n"));
  const { logit, sum, magnitude, unit } = explanation;
  if (unit === "dimension") {
    note(`a ${model.config.variant} has no signals: dimensions of the residual stream are shown instead`);
  }
  if (Math.abs(logit - sum) > 1e-5 * magnitude) {
    note(`the model's own logit is ${logit.toFixed(3)}: its arithmetic is less precise than float32`);
  }
}

/** Characters of the text before the prediction that are shown. */
const SHOWN = 200;

function layOut(tokenizer: Tokenizer, ids: Int32Array, explanation: Explanation, columns: number): string[] {
  const { position, target, sum, logprob } = explanation;
  const before = printable(tokenizer.decode(ids.subarray(0, position + 1)));
  const shown = before.length > SHOWN ? `…${before.slice(-SHOWN)}` : before;
  const probability = `${Number((100 * Math.exp(logprob)).toPrecision(3))}%`;
  const prediction = `${tokenLabel(tokenizer, target.id)}  logit ${sum.toFixed(3)}, probability ${probability}`;
  return [
    ...fold(shown, columns),
    `→ ${prediction}`,
    "",
    ...signalTable(tokenizer, explanation, columns),
    "",
    ...writerTable(explanation),
  ];
}

const signed = (x: number, digits = 3): string => (x < 0 ? "" : "+") + x.toFixed(digits);

/** Column widths. */
const [NAME, NUMBER, WRITER] = [9, 9, 21];
/** Terminals at least this wide show codebooks beside the numbers. */
const WIDE = 90;

function signalTable(tokenizer: Tokenizer, explanation: Explanation, columns: number): string[] {
  const { signals, rest, sum, unit } = explanation;
  const figures = (name: string, ...cells: string[]) =>
    name.padStart(NAME) + cells.map((cell) => cell.padStart(NUMBER)).join("");
  const head = figures(
    unit,
    "logit",
    unit === "signal" ? "R[v,s]" : "E[v,i]",
    unit === "signal" ? "z[s]" : "n[i]",
  );
  const wide = columns >= WIDE;
  const margin = NAME + 3 * NUMBER + 2 + WRITER;
  const room = wide ? columns - margin : columns - NAME - 2;
  const rows = signals.flatMap((share) => {
    const row = [
      figures(
        String(share.signal),
        signed(share.contribution),
        share.recipe.toFixed(3),
        share.value.toFixed(2),
      ),
      mainWriter(explanation, share),
    ].join("  ");
    const [most, least] = codebookLines(tokenizer, share, room);
    if (wide) return [row.padEnd(margin) + most, " ".repeat(margin) + least];
    return [row, " ".repeat(NAME + 2) + most, " ".repeat(NAME + 2) + least];
  });
  const title = wide ? `${`${head}  written by`.padEnd(margin)}most +, least −` : `${head}  written by`;
  return [
    title,
    ...rows,
    ...(rest.count > 0 ? [figures(`${rest.count} more`, signed(rest.contribution))] : []),
    figures("sum", signed(sum)),
  ];
}

/** The component with the largest share of a signal's contribution. */
function mainWriter({ writers }: Explanation, share: SignalShare): string {
  const most = share.writers.reduce(
    (best, x, i) => (Math.abs(x) > Math.abs(share.writers[best]) ? i : best),
    0,
  );
  return `${writerName(writers[most].name).padEnd(12)}${signed(share.writers[most], 2)}`;
}

const writerName = (name: string): string =>
  name.replace("blocks.", "").replace("final_norm.bias", "norm bias").replace("interventions", "steering");

/** The tokens with the most positive and the most negative loadings on a signal, as many as fit. */
function codebookLines(tokenizer: Tokenizer, { codebook }: SignalShare, room: number): string[] {
  const line = (sign: string, entries: readonly { id: number }[]) => {
    let text = sign;
    for (const { id } of entries) {
      const next = `${text} ${tokenLabel(tokenizer, id)}`;
      if (next.length > room) break;
      text = next;
    }
    return text;
  };
  return [line("+", codebook.most), line("−", codebook.least)];
}

/** Contributions by component: each block's attention and MLP, the embedding, and the rest. */
function writerTable({ writers, sum }: Explanation): string[] {
  const row = (name: string, ...cells: (number | string)[]) =>
    name.padStart(NAME + 2) +
    cells.map((x) => (typeof x === "string" ? x : signed(x)).padStart(NUMBER + 2)).join("");
  const contribution = new Map(writers.map(({ name, contribution }) => [name, contribution]));
  const blocks = writers.filter(({ name }) => name.endsWith(".attn")).length;
  const single = (name: string, shown: string) =>
    contribution.has(name) ? [row(shown, "", "", contribution.get(name)!)] : [];
  return [
    row("written by", "attention", "MLP", "total"),
    ...single("embed", "embedding"),
    ...single("position", "position"),
    ...Array.from({ length: blocks }, (_, l) => {
      const [attention, mlp] = ["attn", "mlp"].map((branch) => contribution.get(`blocks.${l}.${branch}`)!);
      return row(`block ${l}`, attention, mlp, attention + mlp);
    }),
    ...single("final_norm.bias", "norm bias"),
    ...single("interventions", "steering"),
    row("sum", "", "", sum),
  ];
}
