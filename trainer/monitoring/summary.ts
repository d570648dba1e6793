import { isFactored } from "../../runtime/config/config.ts";
import { parameterCount } from "../../runtime/config/parameter-specs.ts";
import { openCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { neighbours } from "../../runtime/math/neighbours.ts";
import { loadModel } from "../../runtime/model/load.ts";
import type { Data } from "../data/load.ts";
import type { Settings } from "../settings/settings.ts";
import type { Baselines } from "./baselines.ts";

const millions = (n: number) => `${(n / 1e6).toFixed(2)}M`;

/** Describes the model and the training that is about to start. */
export function describeSettings({ preset, model, trajectory }: Settings): string {
  const {
    batch,
    accumulate,
    world,
    localSteps,
    steps,
    lr,
    minLr,
    schedule,
    warmup,
    weightDecay,
    gradClip,
    order,
    seed,
  } = trajectory;
  const signals = model.n_signals ? `, ${model.n_signals} signals` : "";
  const k = model.top_k ? `, top ${model.top_k}` : "";
  const tokens = batch * accumulate * world * model.context;
  const ranks = world > 1 ? ` × ${world} ranks` : "";
  const outer = localSteps ? `, synchronized every ${localSteps} steps (DiLoCo)` : "";
  return [
    `${preset}: ${model.variant}, ${millions(parameterCount(model))} parameters: ${model.n_layers} layers, width ${model.d_model}${signals}${k}, ` +
      `${model.n_heads} heads, d_ff ${model.d_ff}, context ${model.context}, vocabulary ${model.vocab_size}`,
    `${steps} steps of ${tokens.toLocaleString("en")} tokens (batch ${batch} × accumulate ${accumulate}${ranks} × context ${model.context})${outer}, ${order}, seed ${seed}`,
    `AdamW, ${schedule} ${lr} → ${minLr} after ${warmup} steps of warm-up, decay ${weightDecay}, clip ${gradClip}`,
  ].join("\n");
}

/** Summarizes a finished run: its loss beside the counting baselines, a sample, nearest neighbours, and next commands. */
export async function summarize(
  checkpoint: string,
  { valLoss, data, baselines }: { valLoss: number | undefined; data: Data; baselines: Baselines },
): Promise<string> {
  const lines: string[] = [];
  if (valLoss !== undefined) {
    const perByte =
      data.bytesPerToken && `, ${(valLoss / Math.LN2 / data.bytesPerToken).toFixed(3)} bits per byte`;
    lines.push(
      `Validation loss ${valLoss.toFixed(4)} nats per token${perByte ?? ""}`,
      compare("unigrams", baselines.unigram, valLoss),
      compare("bigrams", baselines.bigram, valLoss),
    );
  }
  if (data.tokenizer) {
    lines.push("", ...(await sample(checkpoint)));
    lines.push(...nearest(checkpoint, data));
  }
  lines.push("", `Checkpoint: ${checkpoint}`, "Next:");
  lines.push(
    `  bun run cli sample ${checkpoint} --prompt "The people"`,
    `  bun run cli inspect ${checkpoint}`,
  );
  return lines.join("\n");
}

function compare(name: string, baseline: number, loss: number): string {
  const by = Math.abs(baseline - loss).toFixed(3);
  return `  ${by} ${loss < baseline ? "below" : "above"} the baseline of ${name}, ${baseline.toFixed(4)}`;
}

async function sample(checkpoint: string): Promise<string[]> {
  using model = await loadModel(checkpoint);
  const longest = "The people of the United States";
  const prompt = model.tokenize(longest).length < model.config.context ? longest : "";
  let text = prompt;
  for await (const event of model.generate(prompt, { maxTokens: 60, temperature: 0.8, topK: 50, seed: 1 })) {
    text += event.text;
  }
  return ["Sample:", text.replace(/^/gm, "  ")];
}

/** Common English words of different kinds. The summary shows those that are single tokens. */
const WORDS = [
  " three",
  " war",
  " people",
  " France",
  " king",
  " school",
  " water",
  " great",
  " public",
  " year",
];

function nearest(path: string, { tokenizer }: Data): string[] {
  const checkpoint = openCheckpoint(path, { verify: false });
  try {
    const { config, tensors } = checkpoint;
    const name = isFactored(config) ? "recipe" : "embedding";
    const columns = config.n_signals ?? config.d_model;
    const table = new Float32Array(config.vocab_size * columns);
    tensors.readF32(name, (chunk, offset) => table.set(chunk, offset));
    const lines = WORDS.flatMap((word) => {
      const id = tokenizer!.tokenId(word);
      if (id === undefined) return [];
      const near = neighbours(table, columns, { id, rows: tokenizer!.vocabSize, count: 60 });
      const shown = near
        .map(({ id, cosine }) => ({ text: tokenizer!.tokenText(id), cosine }))
        .filter(({ text }) => /^ \p{L}+$/u.test(text)) // whole words only: pieces of words are hard to interpret
        .slice(0, 6)
        .map(({ text, cosine }) => `${text.trim()} ${cosine.toFixed(2)}`);
      return [`  ${word.trim().padEnd(8)} ${shown.join("  ")}`];
    });
    if (lines.length === 0) return [];
    return ["", `Nearest neighbours in ${name} space, by cosine:`, ...lines.slice(0, 4)];
  } finally {
    checkpoint.close();
  }
}
