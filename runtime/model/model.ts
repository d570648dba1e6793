import { type ChanceBand, type ChanceBandOptions, chanceBand } from "../analysis/chance-band.ts";
import {
  divergence,
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  logprobsOf,
} from "../analysis/evaluate.ts";
import { type ExplainOptions, type Explanation, explain } from "../analysis/explain.ts";
import { type Lens, type LensOptions, lens } from "../analysis/logit-lens.ts";
import { type ScoreOptions, scoreTokens, type TokenScore } from "../analysis/score-tokens.ts";
import type { MatmulOptions } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { type GenerateEvent, type GenerateOptions, generate, type Prompt } from "../generation/generate.ts";
import { GenerationPool, type PoolOptions } from "../generation/pool.ts";
import { type SteerEvent, type SteerOptions, steer } from "../generation/steer.ts";
import type { Subject } from "../interventions/directions.ts";
import type { RunOptions } from "../interventions/prepare-run.ts";
import { forwardAll, type HostTensor, type Ids, runHooked } from "../interventions/run-batch.ts";
import { applyPatch, type PatchOptions } from "../patches/apply.ts";
import { createPatch } from "../patches/expression.ts";
import type { GenePatch } from "../patches/patch.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { multiply, readTables, type TokenTables, withTable } from "../transformer/embedding-tables.ts";
import { type Hook, type HookName, type HookSet, hostHooks, resolveHookNames } from "../transformer/hooks.ts";
import type { InferenceModel } from "../transformer/inference.ts";

export type { HostTensor, Ids };

export interface RunWithHooksOptions extends RunOptions {
  hooks?: readonly Hook[];
}

export interface RunWithCacheOptions extends RunOptions {
  /** Which hook points to keep: a name, names, or a predicate. All where it isn't said. */
  namesFilter?: HookName | readonly string[];
}

/**
 * A model that runs, generates and is looked into. `loadModel` makes one; it holds memory on its device until it is
 * disposed of.
 *
 * @example
 * using model = await loadModel("runs/tiny");
 * for await (const event of model.generate("Once upon a time", { maxTokens: 50, seed: 1 })) {
 *   process.stdout.write(event.text);
 * }
 * const cache = await model.runWithCache(model.tokenize("three kings"), { namesFilter: "hook_signals" });
 */
export class Model implements Disposable {
  readonly #model: InferenceModel;
  readonly #tokenizer: Tokenizer | undefined;

  /** Takes over the model's backend and weights, which must be on it. */
  constructor(model: InferenceModel, tokenizer?: Tokenizer) {
    this.#model = model;
    this.#tokenizer = tokenizer;
  }

  get config() {
    return this.#model.config;
  }

  /** SHA-256 of the F32 `model.safetensors` it was made from, where that is known: what a gene patch names. */
  get checkpoint(): string | undefined {
    return this.#model.checkpoint;
  }

  /** One line about the device, for people. */
  get device(): string {
    return this.#model.backend.description;
  }

  /** Bytes on its device: now, and the most so far. */
  get memory(): { allocated: number; peak: number } {
    return this.#model.backend.memory();
  }

  /** @throws ReflowError `checkpoint` where the checkpoint came without one */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer) return this.#tokenizer;
    throw new ReflowError(
      "checkpoint",
      "the checkpoint has no tokenizer.json",
      "put the one it was trained with into its folder, or work with token ids",
    );
  }

  /** Text to ids; `<|endoftext|>` in it is only text. @throws ReflowError as {@link Model.tokenizer} */
  tokenize(text: string): Int32Array {
    return this.tokenizer.encode(text);
  }

  /**
   * Logits (B,T,V).
   *
   * @throws ReflowError `data` for ids outside the vocabulary, sequences of different lengths or longer than the context;
   *   `usage` for interventions that can't be applied
   * @example
   * const kinder = { op: "add", target: { expression: "great - terrible" }, hook: "hook_embed", strength: 2 } as const;
   * const logits = await model.forward(model.tokenize("The film was"), { interventions: [kinder] });
   */
  forward(ids: Ids, options?: RunOptions): Promise<HostTensor> {
    return forwardAll(this.#subject, ids, options);
  }

  /**
   * The cross-entropy of a text, each token but the first predicted once. The text is read in windows of the context
   * that begin `stride` tokens apart; a window scores what the one before it hasn't, so that a token is predicted from
   * at least context − stride tokens before it (where there are as many).
   *
   * @throws ReflowError `data` for fewer than two ids, or ids outside the vocabulary; `usage` for an impossible stride
   */
  evaluate(text: Int32Array | readonly number[], options?: EvaluateOptions): Promise<Evaluation> {
    return evaluate(this.#subject, text, options);
  }

  /**
   * The log-probability in nats of each id but the first, given those before it: (T−1).
   *
   * @throws ReflowError `data` for ids outside the vocabulary, or more than the context and one more
   */
  logprobs(sequence: Int32Array | readonly number[]): Promise<Float32Array> {
    return logprobsOf(this.#model, sequence);
  }

  /**
   * How far a patch and interventions carry the predictions of a text away: the Kullback–Leibler divergence in nats of the
   * distribution after each position (T) from the model's own. The text is read in windows of the context.
   *
   * @throws ReflowError `data` for no ids, or ids outside the vocabulary; `usage` for what can't be applied
   * @example
   * const kl = await model.divergence(model.tokenize(text), { patch });
   */
  divergence(
    text: Int32Array | readonly number[],
    options: RunOptions & { signal?: AbortSignal },
  ): Promise<Float64Array> {
    return divergence(this.#subject, text, options);
  }

  /**
   * Continues a prompt, or several at once; see {@link generate}.
   *
   * @param prompt text, ids, or a list of these
   */
  generate(
    prompt: Prompt | readonly Prompt[],
    options?: GenerateOptions,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    return generate(this.#subject, asList(prompt), options);
  }

  /**
   * For many callers at a time: requests that come and go are generated together. It holds memory on the device until it has
   * drained.
   *
   * @throws ReflowError `usage` for options out of range, `memory` where its cache doesn't fit
   * @example
   * const pool = model.pool({ slots: 16 });
   * for await (const event of pool.generate("Once upon a time", { maxTokens: 50 })) process.stdout.write(event.text);
   */
  pool(options?: PoolOptions): GenerationPool {
    return new GenerationPool(this.#subject, options);
  }

  /**
   * Continues a prompt, or several, twice at once and with the same seed: as the model does, and steered by interventions or a
   * patch.
   *
   * @throws ReflowError as {@link generate}; `usage` for an empty prompt
   * @example
   * const interventions: Intervention[] = [
   *   { op: "add", target: { expression: "great - terrible" }, hook: "hook_resid_post", layers: [0, 3], strength: 0.15,
   *     unit: "residNorm" },
   * ];
   * const texts = { default: "", steered: "" };
   * for await (const event of model.steer("The food was", { interventions, maxTokens: 20 })) {
   *   texts[event.run] += event.text;
   * }
   */
  steer(
    prompt: Prompt | readonly Prompt[],
    options: SteerOptions,
  ): AsyncGenerator<SteerEvent, void, undefined> {
    return steer(this.#subject, asList(prompt), options);
  }

  /**
   * Runs the model and keeps activations by their hook's name, in the order of the forward pass: as interventions leave
   * them, where there are any. What only the readout needs is not computed where no hook of it is asked for.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for an unknown name, with the nearest one
   */
  async runWithCache(
    ids: Ids,
    { namesFilter = () => true, ...options }: RunWithCacheOptions = {},
  ): Promise<Map<string, HostTensor>> {
    const { backend, config } = this.#model;
    const filters = typeof namesFilter === "object" ? namesFilter : [namesFilter];
    const names = new Set(filters.flatMap((filter) => resolveHookNames(config, filter)));
    const cache = new Map<string, HostTensor>();
    const hooks: HookSet = {
      has: (name) => names.has(name),
      async at(name, tensor, shape) {
        cache.set(name, { shape, data: (await backend.read(tensor)) as Float32Array });
      },
    };
    await runHooked(this.#subject, ids, hooks, options);
    return cache;
  }

  /**
   * Runs the model with functions called at hook points; what one returns takes the activation's place. Interventions
   * come first.
   *
   * @returns logits (B,T,V)
   * @throws ReflowError as {@link Model.runWithCache}; `usage` for a replacement of another size
   * @example
   * // What is left without the first block's MLP?
   * await model.runWithHooks(ids, { hooks: [["blocks.0.hook_mlp_out", ({ data }) => data.fill(0)]] });
   */
  async runWithHooks(ids: Ids, { hooks = [], ...options }: RunWithHooksOptions): Promise<HostTensor> {
    const set = hostHooks(this.#model.backend, this.#model.config, hooks);
    return (await runHooked(this.#subject, ids, set, { ...options, logits: true }))!;
  }

  /**
   * What tokens are made of, on the host: R, as a patch leaves it, and B; or E where it is not factored.
   *
   * @throws ReflowError `usage` for a patch that can't be applied
   */
  async tables({ patch }: PatchOptions = {}): Promise<TokenTables> {
    return readTables(await applyPatch(this.#subject, patch));
  }

  /**
   * Takes a prediction apart: the exact contribution of each signal, and of each writer of the residual stream, to a token's
   * logit.
   *
   * @throws ReflowError `data` for ids outside the vocabulary, none, or more than the context; `usage` for a position, a target or
   *   a patch that isn't there, and for interventions that can't be applied or are on logits
   * @example
   * const { target, signals, writers } = await model.explain(model.tokenize("The capital of France is"), {
   *   target: " Paris",
   * });
   */
  explain(ids: Int32Array | readonly number[], options?: ExplainOptions): Promise<Explanation> {
    return explain(this.#subject, ids, options);
  }

  /**
   * Each token of a text, with what the model gives it after those before it.
   *
   * @throws ReflowError as {@link Model.forward}
   */
  scoreTokens(ids: Int32Array | readonly number[], options?: ScoreOptions): Promise<TokenScore[]> {
    return scoreTokens(this.#subject, ids, options);
  }

  /**
   * The logit lens: what the model would say if no further block came, before the first block and after each, by position. The
   * last is what it does say.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for positions that aren't there, and interventions after the last block
   * @example
   * const { hooks, cells } = await model.lens(model.tokenize("Once upon a"), { positions: [2], top: 1 });
   * hooks.map((hook, l) => `${hook}: ${cells[l][0].top[0].text}`);
   */
  lens(ids: Int32Array | readonly number[], options?: LensOptions): Promise<Lens> {
    return lens(this.#subject, ids, options);
  }

  /**
   * How interventions change the log-probability of a token as the next one after a text, and how others do that are as strong: with
   * a random direction, of the same length, in the place of each one's own.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for a target that isn't there, and no interventions
   * @example
   * const { change, low, high } = await model.chanceBand(model.tokenize("The food was"), { interventions, target: " great" });
   * change > high; // more than 19 of 20 random directions would
   */
  chanceBand(ids: Int32Array | readonly number[], options: ChanceBandOptions): Promise<ChanceBand> {
    return chanceBand(this.#subject, Int32Array.from(ids), options);
  }

  /**
   * Makes a gene patch of this model: an edit of recipes, to be passed as `patch` to whatever runs the model. It is kept as a JSON
   * file; see `composePatches` and `invertPatch` for what else can be done with it.
   *
   * @param expression statements `TOKEN += SUM` or `TOKEN -= SUM`, with semicolons between; a statement sees what those before it
   *   have done
   * @throws ReflowError `usage` for what can't be read, words of several tokens, models whose recipes can't be edited
   * @example
   * const patch = await model.createPatch('"terrible" += 0.6 * ("great" - "terrible")');
   * for await (const event of model.generate("The food was terrible", { patch })) process.stdout.write(event.text);
   */
  createPatch(expression: string): Promise<GenePatch> {
    return createPatch(this.#subject, expression);
  }

  /**
   * Runs something with other recipes (other rows of E where it is not factored) in both of their uses. Whatever happens,
   * the model's own are in their place afterwards, to the bit. Nothing else may run on the model meanwhile.
   *
   * @param rows the table's first rows, (≤V, S) or (≤V, d); the others stay
   * @example
   * const { loss } = await model.withTable(cut, () => model.evaluate(text));
   */
  withTable<T>(rows: Float32Array, run: () => Promise<T>): Promise<T> {
    return withTable(this.#model, rows, run);
  }

  /** a·b of matrices on the model's device, which multiplies faster than JavaScript does. */
  multiply(
    a: HostTensor,
    b: HostTensor,
    options?: Pick<MatmulOptions, "transA" | "transB">,
  ): Promise<HostTensor> {
    return multiply(this.#model.backend, a, b, options);
  }

  /** Gives back the device and its memory. Nothing may follow. */
  dispose(): void {
    this.#model.backend.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  get #subject(): Subject {
    return { model: this.#model, tokenizer: this.#tokenizer };
  }
}

const asList = (prompt: Prompt | readonly Prompt[]): readonly Prompt[] =>
  isList(prompt) ? prompt : [prompt];

const isList = (prompt: Prompt | readonly Prompt[]): prompt is readonly Prompt[] =>
  Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] !== "number";
