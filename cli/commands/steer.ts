import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { FinishEvent, GenerateOptions } from "../../runtime/generation/generate.ts";
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
    .description("Continue a prompt as the model does, and steered: side by side, token by token.")
    .argument("<checkpoint>", CHECKPOINT)
    .requiredOption("--prompt <text>", "what to continue")
    .option("--max-tokens <n>", "at most (24)", number);
  withPatch(withInterventions(withSampling(command)))
    .option("--json", "one JSON object")
    .addHelpText(
      "after",
      `
The steered run has the interventions, the patch, or both. A token's logprob is
that of its own run, unsteered is what the model as it is gives it; the loss is
the mean of the latter. Of --text the first ${REFERENCE_TOKENS} tokens are read.

Example: bun run cli steer runs/tiny --prompt "The people" --seed 1 --spec '{
  "op":"add", "target":{"expression":"peace - war"}, "strength":0.5,
  "unit":"residNorm", "hook":"hook_resid_post", "layers":[0,1]}'`,
    )
    .action(steer);
  return withDevice(command);
}

/** A continuation, and what the model makes of it. */
interface Run {
  text: string;
  ids: number[];
  finishReason?: FinishEvent["reason"];
  /** By token, in nats: of the run itself, and of the model as it is. */
  logprobs: number[];
  unsteeredLogprobs: number[];
  /** Mean of the latter, with the other sign; none where there is no token. */
  loss?: number;
}

async function steer(path: string, flags: SteerFlags): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { prompt, spec, text, json, device, precision, threads, maxTokens = 24, ...sampling } = flags;
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0] } = sampling;
  if (spec === undefined && !sampling.patch) {
    throw new ReflowError("usage", "how should it be steered?", "give --spec, --patch, or both");
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
  note(`seed ${seed}; ended by ${runs.default.finishReason} and ${runs.steered.finishReason}`);
}

/** What the model without interventions makes of a continuation. */
async function score(model: Model, prompt: string, run: Run): Promise<void> {
  const { ids } = run;
  if (ids.length === 0) return;
  run.unsteeredLogprobs = [...(await model.logprobs([...model.tokenize(prompt), ...ids]))].slice(-ids.length);
  run.loss = -run.unsteeredLogprobs.reduce((sum, logprob) => sum + logprob, 0) / ids.length;
}

/** From here on there is room for two columns; a column of text doesn't get wider than the second. */
const TWO_COLUMNS = 80;
const WIDEST = 60;
const GAP = 4;
const LABEL = 24;

/** Both runs beside each other, or one below the other where the terminal is narrow. */
function layOut(
  model: Model,
  prompt: string,
  runs: Record<"default" | "steered", Run>,
  columns: number,
): string {
  const beside = columns >= TWO_COLUMNS;
  const width = Math.min(WIDEST, beside ? Math.floor((columns - GAP) / 2) : columns);
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
  /** Whether its tokens have two log-probabilities. */
  steered?: boolean;
}

/** A run's parts: its text, its tokens, and its loss. */
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
