/** `--watch king,queen`: logs how the recipes and neighbours of some tokens evolve, in a run's `watch.jsonl`. */
import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { neighbours } from "../../runtime/math/neighbours.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import type { Parameters } from "../../runtime/transformer/parameters.ts";
import type { Data } from "../data/load.ts";
import type { Settings } from "../settings/settings.ts";
import { StepLog } from "./metrics.ts";

/** The part of a training run that is read for the log. */
export interface WatchedRun {
  readonly backend: Backend;
  readonly parameters: Parameters;
  readonly settings: Settings;
  readonly data: Data;
  /** Completed steps. */
  readonly step: number;
}

/** A word, and the id of its token with a leading space. */
export interface WatchedToken {
  word: string;
  id: number;
}

/** A line of `watch.jsonl`, written at the start of the run and at each evaluation. */
export interface WatchLine {
  step: number;
  valLoss?: number;
  tokens: {
    word: string;
    /** The token's row of R as the model uses it, (S); in a model that is not factored, its row of E, (d). */
    recipe: number[];
    /** Nearest whole words in recipe space and in embedding space, by descending cosine. */
    recipes?: [word: string, cosine: number][];
    embeddings: [word: string, cosine: number][];
  }[];
}

export const WATCH_FILE = "watch.jsonl";

/**
 * Finds the tokens of the words given to `--watch`, which are separated by commas.
 *
 * @throws ReflowError `usage` if a word is not a single token, or if the data has no tokenizer
 */
export function resolveWatched(words: string, tokenizer: Tokenizer | undefined): WatchedToken[] {
  const wrong = (what: string, help: string) => new ReflowError("usage", `--watch ${words}: ${what}`, help);
  if (!tokenizer) throw wrong("the data has no tokenizer", "pass --tokenizer as well");
  const names = [...new Set(words.split(",").map((word) => word.trim()))].filter((word) => word !== "");
  if (names.length === 0) throw wrong("expected at least one word", "separate words by commas: king,queen");
  return names.map((word) => {
    const id = tokenizer.tokenId(` ${word}`);
    if (id !== undefined) return { word, id };
    const pieces = Array.from(tokenizer.encode(` ${word}`), (id) => JSON.stringify(tokenizer.tokenText(id)));
    throw wrong(
      `${word} is ${pieces.length} tokens, ${pieces.join(" ")}`,
      "choose words that are a single token",
    );
  });
}

/** Neighbours logged per token. */
const NEAREST = 8;
/** Neighbours examined; more than {@link NEAREST}, since pieces of words are filtered out. */
const CANDIDATES = 80;
/** Rows of E computed at a time. */
const ROWS_PER_PASS = 4096;

/** Writes a line at each evaluation. Only one process of a run uses it. */
export class WatchLog {
  readonly #log: StepLog<WatchLine>;

  constructor(
    run: string,
    readonly training: WatchedRun,
    readonly watched: readonly WatchedToken[],
  ) {
    this.#log = new StepLog(run, WATCH_FILE);
  }

  /** Removes the lines after a step, since those steps will be repeated. */
  truncateAfter(step: number): void {
    this.#log.truncateAfter(step);
  }

  /** @throws ReflowError `checkpoint` if writing fails, for example on a full disk */
  async write(valLoss?: number): Promise<void> {
    const { model } = this.training.settings;
    const { recipes, embeddings } = await this.#recipesAndEmbeddings();
    const S = model.n_signals ?? model.d_model;
    const tokens = this.watched.map(({ word, id }) => ({
      word,
      recipe: Array.from((recipes ?? embeddings).subarray(id * S, (id + 1) * S), round),
      ...(recipes && { recipes: this.#nearest(recipes, S, id) }),
      embeddings: this.#nearest(embeddings, model.d_model, id),
    }));
    const line = { step: this.training.step, ...(valLoss !== undefined && { valLoss }), tokens };
    this.#log.append(line, () => true);
  }

  #nearest(table: Float32Array, columns: number, id: number): [string, number][] {
    const tokenizer = this.training.data.tokenizer!;
    return neighbours(table, columns, { id, rows: table.length / columns, count: CANDIDATES })
      .map(({ id, cosine }): [string, number] => [tokenizer.tokenText(id), round(cosine)])
      .filter(([text]) => /^ \p{L}+$/u.test(text))
      .slice(0, NEAREST)
      .map(([text, cosine]) => [text.slice(1), cosine]);
  }

  /** For the n tokens of the tokenizer: R (n,S) as the model uses it, if it is factored, and E (n,d). */
  async #recipesAndEmbeddings(): Promise<{ recipes?: Float32Array; embeddings: Float32Array }> {
    const { backend, parameters, settings, data } = this.training;
    const { n_signals: S, d_model: d, top_k, vocab_size } = settings.model;
    const n = Math.min(vocab_size, data.tokenizer!.vocabSize);
    const read = async (tensor: Tensor, length: number) =>
      (await backend.read(tensor, 0, length)) as Float32Array;
    if (S === undefined) return { embeddings: await read(parameters.embedding, n * d) };

    const recipes = new Float32Array(n * S);
    const embeddings = new Float32Array(n * d);
    const rows = Math.min(ROWS_PER_PASS, n);
    const kept = top_k === undefined ? undefined : backend.alloc([rows, S]);
    const made = backend.alloc([rows, d]);
    try {
      for (let row = 0; row < n; row += rows) {
        const count = Math.min(rows, n - row);
        let recipe = backend.view(parameters.recipe, [count, S], row * S);
        if (kept) {
          const strongest = backend.view(kept, [count, S]);
          backend.topk(strongest, recipe, top_k!);
          recipe = strongest;
        }
        backend.matmul(backend.view(made, [count, d]), recipe, parameters.basis);
        recipes.set(await read(recipe, count * S), row * S);
        embeddings.set(await read(made, count * d), row * d);
      }
    } finally {
      if (kept) backend.free(kept);
      backend.free(made);
    }
    return { recipes, embeddings };
  }
}

/** Rounds to four significant digits. */
const round = (x: number): number => Number(x.toPrecision(4));
