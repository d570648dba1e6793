import { Command } from "commander";
import { WEIGHT_FORMATS } from "../../runtime/formats/checkpoint-tensors.ts";
import type {
  FinishEvent,
  GenerateEvent,
  GenerateOptions,
  TokenEvent,
} from "../../runtime/generation/options.ts";
import { note, number } from "../../runtime/host/command.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { columnsOf, printable, tokenLabel, wrap } from "../shared/format.ts";
import { CHECKPOINT, count, oneOf, withDevice, withPatch, withSampling } from "../shared/options.ts";

interface SampleOptions extends GenerateOptions, LoadModelOptions {
  prompt?: string;
  samples?: number;
  json?: boolean;
}

export function sampleCommand(): Command {
  const command = new Command("sample")
    .summary("Generate text.")
    .description("Generate text from a prompt. Text streams to stdout; statistics go to stderr.")
    .argument("<checkpoint>", CHECKPOINT)
    .option("--prompt <text>", "text to continue (default: start a new document)")
    .option(
      "--max-tokens <n>",
      "maximum number of tokens to generate (default: up to the context length)",
      number,
    );
  withPatch(withSampling(command))
    .option("-n, --samples <n>", "number of continuations, generated as a batch (default: 1)", count(1))
    .option(
      "--logprobs <n>",
      "print one token per line, with its log-probability and the n most likely tokens",
      count(0),
    )
    .option("--weights <type>", "f32 or int8 (default: the checkpoint's)", oneOf(WEIGHT_FORMATS))
    .option("--json", "print one JSON object")
    .addHelpText("after", '\nExample: bun run cli sample runs/tiny --prompt "The people" --top-k 50 --seed 1')
    .action(sample);
  return withDevice(command);
}

/** A continuation, so far. */
interface Sample {
  text: string;
  ids: number[];
  logprobs?: Pick<TokenEvent, "logprob" | "topLogprobs">[];
  finishReason?: FinishEvent["reason"];
}

async function sample(path: string, options: SampleOptions): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { prompt = "", samples: n = 1, json, weights, device, precision, threads, ...sampling } = options;
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0], logprobs } = sampling;
  using model = await loadModel(path, { weights, device, precision, threads });
  const { tokenizer } = model;
  const withLogprobs = logprobs !== undefined;
  const samples = Array.from(
    { length: n },
    (): Sample => ({ text: "", ids: [], logprobs: withLogprobs ? [] : undefined }),
  );
  const display = json ? undefined : new Display(n, withLogprobs ? "" : prompt);
  const timer = new TokenTimer();
  const prompts = samples.map(() => prompt);
  for await (const event of model.generate(prompts, { ...sampling, seed })) {
    const current = samples[event.index];
    current.text += event.text;
    if (event.type === "token") {
      timer.tick();
      current.ids.push(event.id);
      current.logprobs?.push({ logprob: event.logprob, topLogprobs: event.topLogprobs });
    } else {
      current.finishReason = event.reason;
    }
    display?.show(event, withLogprobs ? logprobLine(tokenizer, event) : event.text);
  }
  const statistics = { seed, ...timer.statistics(n) };
  if (json) {
    console.log(JSON.stringify({ prompt, samples, ...statistics }));
  } else {
    const reasons = new Set(samples.map(({ finishReason }) => finishReason));
    note(wrap(describe(statistics, [...reasons]), columnsOf(process.stderr)));
  }
}

/** Prints continuations one after another. The first unfinished one is streamed; text of later ones is buffered. */
class Display {
  /** Text not printed yet, by sample. */
  readonly #pending: string[];
  readonly #finished: boolean[] = [];
  #current = 0;
  #lineEnded = false;

  constructor(samples: number, prompt: string) {
    this.#pending = Array.from({ length: samples }, () => prompt);
  }

  show({ index, type }: GenerateEvent, text: string): void {
    this.#pending[index] += text;
    this.#finished[index] = type === "finish";
    this.#write();
  }

  #write(): void {
    while (this.#current < this.#pending.length) {
      const text = this.#pending[this.#current];
      process.stdout.write(process.stdout.isTTY ? printable(text) : text);
      if (text) this.#lineEnded = text.endsWith("\n");
      this.#pending[this.#current] = "";
      if (!this.#finished[this.#current]) return;
      this.#current++;
      if (!this.#lineEnded) process.stdout.write("\n");
      // Samples are separated like the documents of a corpus.
      if (this.#current < this.#pending.length) process.stdout.write("\n<|endoftext|>\n\n");
    }
  }
}

/** A token, then the most likely ones, as many as fit on a line of the terminal: `" king"  -1.20  " king" -1.20  " man" -2.31` */
function logprobLine(tokenizer: Tokenizer, event: GenerateEvent): string {
  if (event.type === "finish") return "";
  const width = process.stdout.isTTY ? columnsOf(process.stdout) : Number.POSITIVE_INFINITY;
  let line = `${tokenLabel(tokenizer, event.id).padEnd(10)} ${event.logprob!.toFixed(2).padStart(6)}`;
  for (const { id, logprob } of event.topLogprobs!) {
    const next = `  ${tokenLabel(tokenizer, id)} ${logprob.toFixed(2)}`;
    if (line.length + next.length > width) break;
    line += next;
  }
  return `${line}\n`;
}

interface Statistics {
  tokens: number;
  /** Decoding rate: excludes each sample's first token. */
  tokensPerSecond?: number;
  /** Time of the first token since the process started. */
  firstTokenMs?: number;
}

/** Counts tokens and records the times of the first and the last. */
class TokenTimer {
  #tokens = 0;
  #first = 0;
  #last = 0;

  tick(): void {
    this.#last = performance.now();
    if (this.#tokens++ === 0) this.#first = this.#last;
  }

  statistics(samples: number): Statistics {
    const tokens = this.#tokens;
    const rate = (1000 * (tokens - samples)) / (this.#last - this.#first);
    return {
      tokens,
      tokensPerSecond: rate > 0 ? Number(rate.toPrecision(4)) : undefined,
      firstTokenMs: tokens > 0 ? Math.round(this.#first) : undefined,
    };
  }
}

function describe(
  statistics: Statistics & { seed: number },
  reasons: readonly Sample["finishReason"][],
): string {
  const { tokens, tokensPerSecond, firstTokenMs, seed } = statistics;
  return [
    `${tokens} tokens`,
    ...(tokensPerSecond === undefined ? [] : [`${tokensPerSecond} tokens/s`]),
    ...(firstTokenMs === undefined ? [] : [`first token in ${firstTokenMs} ms`]),
    `seed ${seed}`,
    `finish reason: ${reasons.join(", ")}`,
  ].join(", ");
}
