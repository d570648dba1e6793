import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { FinishEvent, GenerateOptions } from "../../runtime/generation/options.ts";
import { note, number } from "../../runtime/host/command.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import { columnsOf, fold, printable, sideBySide, tokenLabel } from "../shared/format.ts";
import {
  type InterventionFlags,
  REFERENCE_TOKENS,
  readInterventions,
  withInterventions,
} from "../shared/interventions.ts";
import { CHECKPOINT, withDevice, withPatch, withSampling } from "../shared/options.ts";

interface SteerFlags extends GenerateOptions, InterventionFlags, LoadModelOptions {
  prompt: string;
  json?: boolean;
}

export function steerCommand(): Command {
  const command = new Command("steer")
    .summary("Generate with and without steering.")
    .description("Continue a prompt with and without steering, side by side, token by token.")
    .argument("<checkpoint>", CHECKPOINT)
    .requiredOption("--prompt <text>", "text to continue")
    .option("--max-tokens <n>", "maximum number of tokens to generate (default: 24)", number);
  withPatch(withInterventions(withSampling(command)))
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The steered run applies the interventions, the patch, or both. Column logprob is
a token's log-probability in its own run; unsteered is its log-probability under
the unmodified model. The loss is the negative mean of the latter. The first
${REFERENCE_TOKENS} tokens of --text are read.

Example: bun run cli steer runs/tiny --prompt "The people" --seed 1 --spec '{
  "op":"add", "target":{"expression":"peace - war"}, "strength":0.5,
  "unit":"residNorm", "hook":"hook_resid_post", "layers":[0,1]}'`,
    )
    .action(steer);
  return withDevice(command);
}

/** A continuation with its log-probabilities. */
interface Run {
  text: string;
  ids: number[];
  finishReason?: FinishEvent["reason"];
  /** Log-probability of each token in nats: in the run itself, and under the unmodified model. */
  logprobs: number[];
  unsteeredLogprobs: number[];
  /** Mean loss under the unmodified model, in nats. Absent if there are no tokens. */
  loss?: number;
}

async function steer(path: string, flags: SteerFlags): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { prompt, spec, text, json, device, precision, threads, maxTokens = 24, ...sampling } = flags;
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0] } = sampling;
  if (spec === undefined && !sampling.patch) {
    throw new ReflowError("usage", "no steering given", "give --spec, --patch, or both");
  }
  const changesOf = await readInterventions(path, { spec, text });
  using model = await loadModel(path, { device, precision, threads });
  const changes = changesOf(model);

  const empty = (): Run => ({ text: "", ids: [], logprobs: [], unsteeredLogprobs: [] });
  const runs = { default: empty(), steered: empty() };
  const options = { ...sampling, ...changes, seed, maxTokens, logprobs: 0 };
  for await (const event of model.steer(prompt, options)) {
    const run = runs[event.run];
    run.text += event.text;
    if (event.type === "finish") {
      run.finishReason = event.reason;
    } else {
      run.ids.push(event.id);
      run.logprobs.push(event.logprob!);
    }
  }
  for (const run of Object.values(runs)) await score(model, prompt, run);

  if (json) {
    console.log(JSON.stringify({ prompt, seed, interventions: changes.interventions, ...runs }));
    return;
  }
  console.log(layOut(model, prompt, runs, columnsOf(process.stdout)));
  const reasons = Object.entries(runs).map(([name, { finishReason }]) => `${finishReason} (${name})`);
  note(`seed ${seed}; finish reasons: ${reasons.join(", ")}`);
}

/** Scores a continuation under the unmodified model. */
async function score(model: Model, prompt: string, run: Run): Promise<void> {
  const { ids } = run;
  if (ids.length === 0) return;
  run.unsteeredLogprobs = [...(await model.logprobs([...model.tokenize(prompt), ...ids]))].slice(-ids.length);
  run.loss = -run.unsteeredLogprobs.reduce((sum, logprob) => sum + logprob, 0) / ids.length;
}

/** Terminals at least this wide show two columns, each at most `MAX_COLUMN` wide. */
const TWO_COLUMNS = 80;
const MAX_COLUMN = 60;
const GAP = 4;
const LABEL = 24;

/** Lays out both runs side by side, or one below the other on a narrow terminal. */
function layOut(
  model: Model,
  prompt: string,
  runs: Record<"default" | "steered", Run>,
  columns: number,
): string {
  const beside = columns >= TWO_COLUMNS;
  const width = Math.min(MAX_COLUMN, beside ? Math.floor((columns - GAP) / 2) : columns);
  const [left, right] = [
    describe(model, prompt, runs.default, { title: "default", width }),
    describe(model, prompt, runs.steered, { title: "steered", width, steered: true }),
  ];
  if (!beside) return [...left.flat(), "", ...right.flat()].join("\n");
  return left.flatMap((part, i) => sideBySide(part, right[i], { width, gap: GAP })).join("\n");
}

interface Column {
  title: string;
  width: number;
  /** Whether tokens have two log-probabilities. */
  steered?: boolean;
}

/** Lines of a run's text, tokens and loss. */
function describe(model: Model, prompt: string, run: Run, { title, width, steered }: Column): string[][] {
  const row = (name: string, own: string, plain: string) => {
    const figures = steered ? own.padStart(9) + plain.padStart(11) : plain.padStart(9);
    const room = Math.min(LABEL, width - figures.length);
    return (name.length > room ? `${name.slice(0, room - 1)}…` : name.padEnd(room)) + figures;
  };
  const tokens = run.ids.map((id, i) =>
    row(tokenLabel(model.tokenizer, id), run.logprobs[i].toFixed(2), run.unsteeredLogprobs[i].toFixed(2)),
  );
  return [
    [title, "─".repeat(width), ...fold(printable(prompt + run.text), width), ""],
    [steered ? row("token", "logprob", "unsteered") : row("token", "", "logprob"), ...tokens],
    [row("mean loss (nats)", "", run.loss === undefined ? "–" : run.loss.toFixed(2))],
  ];
}
