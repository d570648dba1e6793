import { Command } from "commander";
import type {
  FinishEvent,
  GenerateEvent,
  GenerateOptions,
  TokenEvent,
} from "../../runtime/generation/generate.ts";
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
    .description("Continue a prompt. The text goes to stdout as it is generated, figures to stderr.")
    .argument("<checkpoint>", CHECKPOINT)
    .option("--prompt <text>", "what to continue (a document's beginning)")
    .option("--max-tokens <n>", "at most (what the context holds)", number);
  withPatch(withSampling(command))
    .option("-n, --samples <n>", "continuations at once (1)", count(1))
    .option("--logprobs <n>", "a line for each token: its log-probability, and the n likeliest", count(0))
    .option("--weights <type>", "f32 or int8 (what the checkpoint has)", oneOf(["f32", "int8"]))
    .option("--json", "one JSON object")
    .addHelpText("after", '\nExample: bun run cli sample runs/tiny --prompt "The people" --top-k 50 --seed 1')
    .action(sample);
  return withDevice(command);
}

/** A continuation, as far as it has come. */
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
  const clock = new Clock();
  const prompts = samples.map(() => prompt);
  for await (const event of model.generate(prompts, { ...sampling, seed })) {
    const current = samples[event.index];
    current.text += event.text;
    if (event.type === "token") {
      clock.tick();
      current.ids.push(event.id);
      current.logprobs?.push({ logprob: event.logprob, topLogprobs: event.topLogprobs });
    } else {
      current.finishReason = event.reason;
    }
    display?.show(event, withLogprobs ? logprobLine(tokenizer, event) : event.text);
  }
  const figures = { seed, ...clock.figures(n) };
  if (json) {
    console.log(JSON.stringify({ prompt, samples, ...figures }));
  } else {
    const reasons = new Set(samples.map(({ finishReason }) => finishReason));
    note(wrap(describe(figures, [...reasons].join(", ")), columnsOf(process.stderr)));
  }
}

/** Writes continuations one after another, the first of those that go on as it is generated. */
class Display {
  /** By sample: what waits for its turn. */
  readonly #waiting: string[];
  readonly #finished: boolean[] = [];
  #turn = 0;
  #lineEnded = false;

  constructor(samples: number, prompt: string) {
    this.#waiting = Array.from({ length: samples }, () => prompt);
  }

  show({ index, type }: GenerateEvent, text: string): void {
    this.#waiting[index] += text;
    this.#finished[index] = type === "finish";
    this.#write();
  }

  #write(): void {
    while (this.#turn < this.#waiting.length) {
      const text = this.#waiting[this.#turn];
      process.stdout.write(process.stdout.isTTY ? printable(text) : text);
      if (text) this.#lineEnded = text.endsWith("\n");
      this.#waiting[this.#turn] = "";
      if (!this.#finished[this.#turn]) return;
      this.#turn++;
      if (!this.#lineEnded) process.stdout.write("\n");
      // Between samples, what stands between the documents of a corpus.
      if (this.#turn < this.#waiting.length) process.stdout.write("\n<|endoftext|>\n\n");
    }
  }
}

/** The token, then the likeliest ones, as many as a terminal's line holds: `" king"  -1.20  " king" -1.20  " man" -2.31` */
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

interface Figures {
  tokens: number;
  /** Of decoding: what comes after each sample's first token. */
  tokensPerSecond?: number;
  /** After the start of the process. */
  firstTokenMs?: number;
}

/** Notes when tokens come. */
class Clock {
  #tokens = 0;
  #first = 0;
  #last = 0;

  tick(): void {
    this.#last = performance.now();
    if (this.#tokens++ === 0) this.#first = this.#last;
  }

  figures(samples: number): Figures {
    const tokens = this.#tokens;
    const rate = (1000 * (tokens - samples)) / (this.#last - this.#first);
    return {
      tokens,
      tokensPerSecond: rate > 0 ? Number(rate.toPrecision(4)) : undefined,
      firstTokenMs: tokens > 0 ? Math.round(this.#first) : undefined,
    };
  }
}

function describe(figures: Figures & { seed: number }, reasons: string): string {
  const { tokens, tokensPerSecond, firstTokenMs, seed } = figures;
  return [
    `${tokens} tokens`,
    ...(tokensPerSecond === undefined ? [] : [`${tokensPerSecond} a second`]),
    ...(firstTokenMs === undefined ? [] : [`the first ${firstTokenMs} ms after the start`]),
    `seed ${seed}`,
    `ended by ${reasons}`,
  ].join(", ");
}
