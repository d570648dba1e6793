import { type BlastRadius, type BlastRadiusOptions, blastRadius } from "../analysis/blast-radius.ts";
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
import { generate } from "../generation/generate.ts";
import type { GenerateEvent, GenerateOptions, Prompt } from "../generation/options.ts";
import { GenerationPool, type PoolOptions } from "../generation/pool.ts";
import { type SteerEvent, type SteerOptions, steer } from "../generation/steer.ts";
import type { RunOptions } from "../interventions/prepare-run.ts";
import { forwardAll, type Ids, runHooked } from "../interventions/run-batch.ts";
import { HostTensor, type TensorData } from "../math/host-tensor.ts";
import { applyPatch, type PatchOptions } from "../patches/apply.ts";
import { createPatch } from "../patches/expression.ts";
import type { GenePatch } from "../patches/patch.ts";
import {
  Lexicon,
  type LexiconEntry,
  type LexiconSignal,
  type LexiconSpace,
  type Neighbour,
} from "../signals/lexicon.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { multiply, readTables, type TokenTables, withTable } from "../transformer/embedding-tables.ts";
import { type Hook, type HookName, type HookSet, hostHooks, resolveHookNames } from "../transformer/hooks.ts";
import type { InferenceModel } from "../transformer/inference.ts";

export type { HostTensor, Ids };

/** Text, the ids of one sequence, or several sequences of equal length. */
export type Input = string | Ids;

/** Text, or the ids of one sequence. */
export type SequenceInput = string | Int32Array | readonly number[];

export interface RunWithHooksOptions extends RunOptions {
  hooks?: readonly Hook[];
}

export interface RunWithCacheOptions extends RunOptions {
  /** The hook points to keep: a name, a list of names, or a predicate. Default: all. */
  namesFilter?: HookName | readonly string[];
}

/**
 * A loaded model: runs, generates, and can be read and steered. {@link loadModel} creates one. It holds memory on its
 * device until {@link Model.dispose} is called.
 *
 * Wherever text is accepted it is encoded by the model's tokenizer; token ids are accepted in its place.
 *
 * @example
 * using model = await loadModel("runs/tiny");
 * for await (const event of model.generate("Once upon a time", { maxTokens: 50, seed: 1 })) {
 *   process.stdout.write(event.text);
 * }
 * const cache = await model.runWithCache("three kings", { namesFilter: "hook_signals" });
 * cache.get("hook_signals")!.at(0, -1, 17); // signal 17 at the last position
 */
export class Model implements Disposable {
  readonly #model: InferenceModel;
  #lexicon: Promise<Lexicon> | undefined;

  /** Takes ownership of the model's backend; the weights must be on it. */
  constructor(model: InferenceModel, tokenizer = model.tokenizer) {
    this.#model = { ...model, tokenizer };
  }

  get config() {
    return this.#model.config;
  }

  /** SHA-256 of the F32 `model.safetensors` that the model was made from, if known. Gene patches name it. */
  get checkpoint(): string | undefined {
    return this.#model.checkpoint;
  }

  /** A one-line description of the device. */
  get device(): string {
    return this.#model.backend.description;
  }

  /** Bytes allocated on the device: at present, and at most so far. */
  get memory(): { allocated: number; peak: number } {
    return this.#model.backend.memory();
  }

  /** @throws ReflowError `checkpoint` if the checkpoint has no tokenizer */
  get tokenizer(): Tokenizer {
    if (this.#model.tokenizer) return this.#model.tokenizer;
    throw new ReflowError(
      "checkpoint",
      "the checkpoint has no tokenizer.json",
      "add the tokenizer.json it was trained with, or use token ids",
    );
  }

  /** Encodes text. `<|endoftext|>` in it is plain text, not the special token. @throws ReflowError as {@link Model.tokenizer} */
  tokenize(text: string): Int32Array {
    return this.tokenizer.encode(text);
  }

  // ---- running ----------------------------------------------------------------------------------------------

  /**
   * Logits (B,T,V).
   *
   * @throws ReflowError `data` for ids outside the vocabulary, sequences of different lengths or longer than the context;
   *   `usage` for interventions that cannot be applied
   * @example
   * const kinder = { op: "add", target: { expression: "great - terrible" }, hook: "hook_embed", strength: 2 } as const;
   * const logits = await model.forward("The film was", { interventions: [kinder] });
   */
  async forward(input: Input, options?: RunOptions): Promise<HostTensor> {
    return forwardAll(this.#model, this.#ids(input), options);
  }

  /**
   * Runs the model and returns activations by hook name, in the order of the forward pass and after any interventions. The
   * readout (final norm, signals, logits) is computed only if one of its hooks is kept.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for an unknown name, suggesting the nearest one
   * @example
   * const cache = await model.runWithCache("three kings", { namesFilter: ["hook_recipe", "hook_signals"] });
   * cache.get("hook_signals")!.slice(0, -1); // (S) at the last position
   */
  async runWithCache(
    input: Input,
    { namesFilter = () => true, ...options }: RunWithCacheOptions = {},
  ): Promise<Map<string, HostTensor>> {
    const { backend, config } = this.#model;
    const filters = typeof namesFilter === "object" ? namesFilter : [namesFilter];
    const names = new Set(filters.flatMap((filter) => resolveHookNames(config, filter)));
    const cache = new Map<string, HostTensor>();
    const hooks: HookSet = {
      has: (name) => names.has(name),
      async at(name, tensor, shape) {
        cache.set(name, new HostTensor(shape, (await backend.read(tensor)) as Float32Array));
      },
    };
    await runHooked(this.#model, this.#ids(input), hooks, options);
    return cache;
  }

  /**
   * Runs the model with functions called at hook points. A function may edit the activation's `data` in place, return a
   * replacement, or both (the replacement then wins). Interventions are applied first.
   *
   * @returns logits (B,T,V)
   * @throws ReflowError as {@link Model.runWithCache}; `usage` for a replacement of another size
   * @example
   * // Ablate the output of the first block's MLP.
   * await model.runWithHooks("three kings", {
   *   hooks: [["blocks.0.hook_mlp_out", ({ data }) => { data.fill(0); }]],
   * });
   */
  async runWithHooks(input: Input, { hooks = [], ...options }: RunWithHooksOptions): Promise<HostTensor> {
    const set = hostHooks(this.#model.backend, this.#model.config, hooks);
    return (await runHooked(this.#model, this.#ids(input), set, { ...options, logits: true }))!;
  }

  // ---- generating -------------------------------------------------------------------------------------------

  /**
   * Continues one prompt or several at once; see {@link GenerateOptions}.
   *
   * @param prompt text, ids, or a list of these
   */
  generate(
    prompt: Prompt | readonly Prompt[],
    options?: GenerateOptions,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    return generate(this.#model, asList(prompt), options);
  }

  /**
   * Continues prompts twice with the same seed: unmodified, and steered by interventions or a patch.
   *
   * @throws ReflowError as {@link Model.generate}; `usage` for an empty prompt
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
    return steer(this.#model, asList(prompt), options);
  }

  /**
   * A pool that generates for many concurrent requests in one batch. It holds device memory until it is drained.
   *
   * @throws ReflowError `usage` for options out of range, `memory` if its cache does not fit
   * @example
   * const pool = model.pool({ slots: 16 });
   * for await (const event of pool.generate("Once upon a time", { maxTokens: 50 })) process.stdout.write(event.text);
   */
  pool(options?: PoolOptions): GenerationPool {
    return new GenerationPool(this.#model, options);
  }

  // ---- reading ----------------------------------------------------------------------------------------------

  /**
   * Attributes a logit exactly: the contribution of each signal, and of each component that writes to the residual stream.
   *
   * @throws ReflowError `data` for ids outside the vocabulary, no ids, or more than the context; `usage` for an invalid
   *   position, target or patch, for interventions that cannot be applied, and for interventions on logits
   * @example
   * const { target, signals, writers } = await model.explain("The capital of France is", { target: " Paris" });
   */
  async explain(input: SequenceInput, options?: ExplainOptions): Promise<Explanation> {
    return explain(this.#model, this.#sequence(input), options);
  }

  /**
   * The logit lens (nostalgebraist 2020): the prediction read from the residual stream before the first block and after
   * each, by position. The last row is the model's own prediction.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for positions out of range and for interventions after the last
   *   block
   * @example
   * const { hooks, cells } = await model.lens("Once upon a", { positions: [2], top: 1 });
   * hooks.map((hook, l) => `${hook}: ${cells[l][0].top[0].text}`);
   */
  async lens(input: SequenceInput, options?: LensOptions): Promise<Lens> {
    return lens(this.#model, this.#sequence(input), options);
  }

  /**
   * A token's recipe: its row of R, with the signals of largest weight. A bare word is its token with a leading space, as in
   * expressions; quotes make it literal.
   *
   * @param token a word, a quoted token or an id
   * @throws ReflowError `usage` for text of several tokens, or an id out of range
   * @example
   * const { recipe } = await model.recipe("king");
   * recipe[0]; // { signal: 17, weight: 0.21 }
   */
  async recipe(token: string | number, options?: { count?: number }): Promise<LexiconEntry> {
    const lexicon = await this.lexicon();
    return lexicon.token(lexicon.resolve(token), options);
  }

  /**
   * A signal: the tokens that use it most, in both directions.
   *
   * @throws ReflowError `usage` for an id out of range
   * @example
   * (await model.signal(9)).most.map(({ text }) => text);
   */
  async signal(id: number, options?: { count?: number }): Promise<LexiconSignal> {
    return (await this.lexicon()).signal(id, options);
  }

  /**
   * The nearest tokens by cosine, in recipe space by default.
   *
   * @param token as in {@link Model.recipe}
   * @throws ReflowError as {@link Model.recipe}
   * @example
   * await model.neighbours("king", { count: 5 }); // [{ id, text, cosine }, …]
   */
  async neighbours(
    token: string | number,
    options?: { space?: LexiconSpace; count?: number },
  ): Promise<Neighbour[]> {
    const lexicon = await this.lexicon();
    return lexicon.neighbours(lexicon.resolve(token), options);
  }

  /**
   * The model's recipes and signals on the host, for many lookups. Without a patch they are read once and kept.
   *
   * @throws ReflowError as {@link Model.tables}
   */
  lexicon({ patch }: PatchOptions = {}): Promise<Lexicon> {
    if (patch) return Lexicon.of(this, { patch });
    if (!this.#lexicon) {
      const lexicon = Lexicon.of(this);
      this.#lexicon = lexicon;
      // A failed read is not kept.
      lexicon.catch(() => {
        this.#lexicon = undefined;
      });
    }
    return this.#lexicon;
  }

  /**
   * R, as a patch leaves it, and B on the host; E for an unfactored model.
   *
   * @throws ReflowError `usage` for a patch that cannot be applied
   */
  async tables({ patch }: PatchOptions = {}): Promise<TokenTables> {
    return readTables(await applyPatch(this.#model, patch));
  }

  // ---- scoring ----------------------------------------------------------------------------------------------

  /**
   * The cross-entropy of a text, in which every token but the first is predicted once. The text is read in windows of the
   * context that begin `stride` tokens apart, and a window scores only what the previous one has not, so that a token is
   * predicted from at least context − stride preceding tokens, where the text has that many.
   *
   * @throws ReflowError `data` for fewer than two ids, or ids outside the vocabulary; `usage` for an invalid stride
   */
  async evaluate(text: SequenceInput, options?: EvaluateOptions): Promise<Evaluation> {
    return evaluate(this.#model, this.#sequence(text), options);
  }

  /**
   * The log-probability in nats of each id but the first, given those before it: (T−1).
   *
   * @throws ReflowError `data` for ids outside the vocabulary, or more than context + 1 of them
   */
  async logprobs(sequence: SequenceInput): Promise<Float32Array> {
    return logprobsOf(this.#model, this.#sequence(sequence));
  }

  /**
   * Each token of a text with its log-probability given the tokens before it.
   *
   * @throws ReflowError as {@link Model.forward}
   */
  async scoreTokens(input: SequenceInput, options?: ScoreOptions): Promise<TokenScore[]> {
    return scoreTokens(this.#model, this.#sequence(input), options);
  }

  /**
   * How far a patch and interventions move the model's predictions on a text: at each position (T), the Kullback–Leibler
   * divergence in nats of the modified prediction from the unmodified one. The text is read in windows of the context.
   *
   * @throws ReflowError `data` for no ids, or ids outside the vocabulary; `usage` for a patch or interventions that cannot
   *   be applied
   * @example
   * const kl = await model.divergence(text, { patch });
   */
  async divergence(
    text: SequenceInput,
    options: RunOptions & { signal?: AbortSignal },
  ): Promise<Float64Array> {
    return divergence(this.#model, this.#sequence(text), options);
  }

  /**
   * How interventions change the log-probability of the next token, compared with random directions of the same strength in
   * place of each intervention's own.
   *
   * @throws ReflowError as {@link Model.forward}; `usage` for an invalid target, or no interventions
   * @example
   * const { change, low, high } = await model.chanceBand("The food was", { interventions, target: " great" });
   * change > high; // a larger increase than 95% of random directions give
   */
  async chanceBand(input: SequenceInput, options: ChanceBandOptions): Promise<ChanceBand> {
    return chanceBand(this.#model, Int32Array.from(this.#sequence(input)), options);
  }

  // ---- editing ----------------------------------------------------------------------------------------------

  /**
   * Makes a gene patch of this model: an edit of recipes that any call takes as `patch`. It serialises to JSON; see
   * {@link composePatches} and {@link invertPatch}.
   *
   * @param expression statements `TOKEN += SUM` or `TOKEN -= SUM`, separated by semicolons; each sees the effect of those
   *   before it
   * @throws ReflowError `usage` for an expression that cannot be parsed, words of several tokens, and models whose recipes
   *   cannot be edited
   * @example
   * const patch = await model.createPatch('"terrible" += 0.6 * ("great" - "terrible")');
   * for await (const event of model.generate("The food was terrible", { patch })) process.stdout.write(event.text);
   */
  createPatch(expression: string): Promise<GenePatch> {
    return createPatch(this.#model, expression);
  }

  /**
   * The side effects of a patch: on other tokens' neighbours, on predictions of a text, and on analogies.
   *
   * @throws ReflowError `usage` for a patch that cannot be applied
   */
  blastRadius(patch: GenePatch, options?: BlastRadiusOptions): Promise<BlastRadius> {
    return blastRadius(this, patch, options);
  }

  /**
   * Runs a function while other rows replace the model's recipes (rows of E in an unfactored model), in both of their uses.
   * The model's own rows are restored afterwards to the bit, even after an error. Nothing else may use the model meanwhile.
   *
   * @param rows the table's first rows, (≤V, S) or (≤V, d); the remaining rows stay
   * @example
   * const { loss } = await model.withTable(truncated, () => model.evaluate(text));
   */
  withTable<T>(rows: Float32Array, run: () => Promise<T>): Promise<T> {
    return withTable(this.#model, rows, run);
  }

  /** a·b for matrices on the host, computed on the model's device. */
  multiply(
    a: TensorData,
    b: TensorData,
    options?: Pick<MatmulOptions, "transA" | "transB">,
  ): Promise<HostTensor> {
    return multiply(this.#model.backend, a, b, options);
  }

  /** Releases the device and its memory. The model must not be used afterwards. */
  dispose(): void {
    this.#model.backend.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #ids(input: Input): Ids {
    return typeof input === "string" ? this.tokenize(input) : input;
  }

  #sequence(input: SequenceInput): Int32Array | readonly number[] {
    return typeof input === "string" ? this.tokenize(input) : input;
  }
}

const asList = (prompt: Prompt | readonly Prompt[]): readonly Prompt[] =>
  isList(prompt) ? prompt : [prompt];

const isList = (prompt: Prompt | readonly Prompt[]): prompt is readonly Prompt[] =>
  Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] !== "number";
