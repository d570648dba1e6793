/** `--watch king,queen`: how some tokens come by their recipes and neighbours, in a run's `watch.jsonl`. */
import type { Tensor } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { neighbours } from "../../runtime/math/neighbours.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { StepLog } from "./metrics.ts";
import type { Training } from "../loop/training.ts";

/** A word, and its token with a leading space. */
export interface Watched {
  word: string;
  id: number;
}

/** A line of `watch.jsonl`, an evaluation or the beginning. */
export interface WatchLine {
  step: number;
  valLoss?: number;
  watched: {
    word: string;
    /** Its row of R as the model uses it; of E where it isn't factored. */
    recipe: number[];
    /** Nearest whole words by cosine, nearest first: in recipe space, and by embedding. */
    recipes?: [word: string, cosine: number][];
    embeddings: [word: string, cosine: number][];
  }[];
}

export const WATCH_FILE = "watch.jsonl";

/** @throws ReflowError `usage` for words that are no single tokens, or where there is no tokenizer */
export function findWatched(words: string, tokenizer: Tokenizer | undefined): Watched[] {
  const wrong = (what: string, help: string) => new ReflowError("usage", `--watch ${words}: ${what}`, help);
  if (!tokenizer) throw wrong("the data has no tokenizer", "pass --tokenizer too");
  const names = [...new Set(words.split(",").map((word) => word.trim()))].filter((word) => word !== "");
  if (names.length === 0) throw wrong("there is no word in it", "give words with commas between: king,queen");
  return names.map((word) => {
    const id = tokenizer.tokenId(` ${word}`);
    if (id !== undefined) return { word, id };
    const pieces = Array.from(tokenizer.encode(` ${word}`), (id) => JSON.stringify(tokenizer.tokenText(id)));
    throw wrong(`${word} is ${pieces.length} tokens, ${pieces.join(" ")}`, "give words of one token");
  });
}

const NEAREST = 8;
/** More than {@link NEAREST}, since pieces of words are left out. */
const LOOKED_AT = 80;
/** Rows that are made at a time. */
const ROWS = 4096;

/** Writes a line for each evaluation; one process of a run does. */
export class Watch {
  readonly #log: StepLog<WatchLine>;

  constructor(
    run: string,
    readonly training: Training,
    readonly watched: readonly Watched[],
  ) {
    this.#log = new StepLog(run, WATCH_FILE);
  }

  /** Drops the lines beyond a step: what they tell of will be done again. */
  cut(step: number): void {
    this.#log.cut(step);
  }

  /** @throws ReflowError `checkpoint` where the disk is full, for example */
  async write(valLoss?: number): Promise<void> {
    const { model } = this.training.settings;
    const { recipes, embeddings } = await this.#tables();
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
    return neighbours(table, columns, { id, rows: table.length / columns, count: LOOKED_AT })
      .map(({ id, cosine }): [string, number] => [tokenizer.tokenText(id), round(cosine)])
      .filter(([text]) => /^ \p{L}+$/u.test(text))
      .slice(0, NEAREST)
      .map(([text, cosine]) => [text.slice(1), cosine]);
  }

  /** Of the tokenizer's tokens: R (n,S) as the model uses it, where it is factored, and E (n,d). */
  async #tables(): Promise<{ recipes?: Float32Array; embeddings: Float32Array }> {
    const { backend, parameters, settings, data } = this.training;
    const { n_signals: S, d_model: d, top_k, vocab_size } = settings.model;
    const n = Math.min(vocab_size, data.tokenizer!.vocabSize);
    const read = async (tensor: Tensor, length: number) =>
      (await backend.read(tensor, 0, length)) as Float32Array;
    if (S === undefined) return { embeddings: await read(parameters.embedding, n * d) };

    const recipes = new Float32Array(n * S);
    const embeddings = new Float32Array(n * d);
    const rows = Math.min(ROWS, n);
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

/** To four digits. */
const round = (x: number): number => Number(x.toPrecision(4));
