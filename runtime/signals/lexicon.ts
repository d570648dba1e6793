/** Look-up of a model's tokens and signals: recipes, codebooks, neighbours and arithmetic. */
import { ReflowError } from "../common/errors.ts";
import { invalidValue } from "../common/validation.ts";
import type { ModelConfig } from "../config/config.ts";
import { isFactored } from "../config/config.ts";
import { lengthOf } from "../math/direction.ts";
import { topK } from "../math/logits.ts";
import type { Multiplier } from "../math/matrix.ts";
import { principalPlane } from "../math/principal-plane.ts";
import type { PatchOptions } from "../patches/apply.ts";
import { parseExpression, type Term, tokenOf } from "../text/expression.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { TokenTables } from "../transformer/embedding-tables.ts";

/** The space in which tokens are compared: rows of R, or of E = R·B. */
export type LexiconSpace = "recipe" | "embedding";
export const LEXICON_SPACES = ["recipe", "embedding"] as const;

export interface LexiconToken {
  id: number;
  text: string;
}

export interface LexiconEntry extends LexiconToken {
  /** ‖r‖ */
  length: number;
  /** The signals with the largest weights by magnitude, largest first. */
  recipe: { signal: number; weight: number }[];
}

export type Neighbour = LexiconToken & { cosine: number };

/** A token's coordinates on the map. */
export type MapPoint = LexiconToken & { x: number; y: number };

/** A signal: the tokens with the most and the least of it. */
export interface LexiconSignal {
  signal: number;
  /** A dimension of E in an unfactored model. */
  unit: "signal" | "dimension";
  /** ‖R[:,s]‖: how much tokens use it. */
  used: number;
  /** ‖B[s,:]‖: how strongly it writes to the residual stream; absent in an unfactored model. */
  written: number | undefined;
  most: (LexiconToken & { weight: number })[];
  least: (LexiconToken & { weight: number })[];
}

/** The part of a model that a lexicon reads; every `Model` has it. */
export interface LexiconModel extends Multiplier {
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  tables(options?: PatchOptions): Promise<TokenTables>;
}

/** Rows (n,C) with their lengths. */
interface Table {
  columns: number;
  data: Float32Array;
  lengths: Float32Array;
}

/**
 * The tables of a model on the host, optionally with a patch applied. They take 4·V·S bytes, plus 4·V·d once the embedding
 * space is used.
 *
 * @example
 * const lexicon = await Lexicon.of(model);
 * lexicon.token(lexicon.find(" king")).recipe[0]; // { signal: 17, weight: 0.21 }
 * await lexicon.algebra("king - man + woman", { count: 5 });
 */
export class Lexicon {
  readonly #model: LexiconModel;
  readonly #recipe: Table;
  readonly #basis: { shape: readonly number[]; data: Float32Array } | undefined;
  #embedding: Promise<Table> | undefined;

  private constructor(
    model: LexiconModel,
    recipe: Table,
    basis?: { shape: readonly number[]; data: Float32Array },
  ) {
    this.#model = model;
    this.#recipe = recipe;
    this.#basis = basis;
  }

  /** Reads a model's tables. @throws ReflowError as {@link Model.tables} */
  static async of(model: LexiconModel, options?: PatchOptions): Promise<Lexicon> {
    const { recipe, basis } = await model.tables(options);
    const rows = Math.min(model.tokenizer.vocabSize, model.config.vocab_size);
    return new Lexicon(model, tableOf(recipe.data, rows, recipe.shape[1]), basis);
  }

  /** The number of tokens; further rows of the vocabulary are padding. */
  get size(): number {
    return this.#recipe.lengths.length;
  }

  /** The number of signals, or the width of E if it is not factored. */
  get signals(): number {
    return this.#recipe.columns;
  }

  /** The id of a token by its literal text. @throws ReflowError `usage` for text of several tokens, listing them */
  find(text: string): number {
    return tokenOf(this.#model.tokenizer, text, { where: "token", rows: this.size });
  }

  /**
   * The id of a token given as an id, a bare word (its token with a leading space) or a quoted token.
   *
   * @throws ReflowError `usage` for text of several tokens
   */
  resolve(token: string | number): number {
    if (typeof token === "number") return token;
    const terms = parseExpression(token, "token");
    if (terms.length === 1 && terms[0].coefficient === 1) return this.find(terms[0].text);
    throw invalidValue("token", token, "one token", 'write a word, or a quoted token such as "king"');
  }

  /** @param count number of signals listed */
  token(id: number, { count = 10 } = {}): LexiconEntry {
    this.#checkToken(id);
    const row = rowOf(this.#recipe, id);
    const most = topK(row.map(Math.abs), Math.min(count, row.length));
    return {
      ...this.#text(id),
      length: this.#recipe.lengths[id],
      recipe: Array.from(most, (signal) => ({ signal, weight: row[signal] })),
    };
  }

  /**
   * A signal's codebook: the tokens with the most and the least of it.
   *
   * @param count number of tokens at each end
   */
  signal(signal: number, { count = 20 } = {}): LexiconSignal {
    const S = this.signals;
    if (!(Number.isInteger(signal) && signal >= 0 && signal < S)) {
      throw invalidValue("signal", signal, `one of ${S} signals`, `they are 0 to ${S - 1}`);
    }
    const column = new Float32Array(this.size);
    for (let id = 0; id < this.size; id++) column[id] = this.#recipe.data[id * S + signal];
    const entries = (values: Float32Array) =>
      Array.from(topK(values, Math.min(count, this.size)), (id) => ({
        ...this.#text(id),
        weight: column[id],
      }));
    return {
      signal,
      unit: isFactored(this.#model.config) ? "signal" : "dimension",
      used: lengthOf(column),
      written: this.#basis ? lengthOf(rowsOf(this.#basis, signal)) : undefined,
      most: entries(column),
      least: entries(column.map((x) => -x)),
    };
  }

  /** The nearest tokens by cosine, excluding the token itself. */
  async neighbours(id: number, { space = "recipe" as LexiconSpace, count = 10 } = {}): Promise<Neighbour[]> {
    this.#checkToken(id);
    const table = await this.#table(space);
    return this.#nearest(table, rowOf(table, id), new Set([id]), count);
  }

  /** The tokens nearest to a sum of tokens, excluding its terms. @throws ReflowError as {@link parseExpression} */
  async algebra(
    expression: string,
    { space = "recipe" as LexiconSpace, count = 10 } = {},
  ): Promise<{ terms: (Term & { id: number })[]; nearest: Neighbour[] }> {
    const terms = parseExpression(expression).map((term) => ({ ...term, id: this.find(term.text) }));
    const table = await this.#table(space);
    const sum = new Float32Array(table.columns);
    for (const { id, coefficient } of terms) {
      const row = rowOf(table, id);
      for (let i = 0; i < sum.length; i++) sum[i] += coefficient * row[i];
    }
    if (!(lengthOf(sum) > 0)) {
      throw new ReflowError(
        "usage",
        "the expression adds up to zero",
        "give an expression with a non-zero sum",
      );
    }
    return { terms, nearest: this.#nearest(table, sum, new Set(terms.map(({ id }) => id)), count) };
  }

  /**
   * Frequent words on the two principal components of their recipes, each scaled to length 1. BPE merges are ordered by
   * frequency, so that low ids are frequent tokens.
   *
   * @param count number of words
   */
  async map({ count = 500, signal }: { count?: number; signal?: AbortSignal } = {}): Promise<{
    points: MapPoint[];
    /** Fractions of the variance along x and y. */
    shares: [x: number, y: number];
  }> {
    const ids: number[] = [];
    for (let id = 0; id < this.size && ids.length < count; id++) {
      const isWord = /^ \p{L}{2,}$/u.test(this.#model.tokenizer.tokenText(id));
      if (isWord && this.#recipe.lengths[id] > 0) ids.push(id);
    }
    const { columns } = this.#recipe;
    const rows = new Float32Array(ids.length * columns);
    for (const [i, id] of ids.entries()) {
      const length = this.#recipe.lengths[id];
      rows.set(
        rowOf(this.#recipe, id).map((x) => x / length),
        i * columns,
      );
    }
    const { coordinates, shares } = await principalPlane(rows, columns, signal);
    return {
      points: ids.map((id, i) => ({ ...this.#text(id), x: coordinates[2 * i], y: coordinates[2 * i + 1] })),
      shares,
    };
  }

  #text(id: number): LexiconToken {
    return { id, text: this.#model.tokenizer.tokenText(id) };
  }

  #checkToken(id: number): void {
    if (Number.isInteger(id) && id >= 0 && id < this.size) return;
    throw invalidValue("token", id, `one of ${this.size} tokens`, `they are 0 to ${this.size - 1}`);
  }

  async #table(space: LexiconSpace): Promise<Table> {
    if (space === "recipe" || !this.#basis) return this.#recipe;
    this.#embedding ??= this.#embed(this.#basis);
    return this.#embedding;
  }

  async #embed(basis: { shape: readonly number[]; data: Float32Array }): Promise<Table> {
    const recipe = { shape: [this.size, this.signals], data: this.#recipe.data };
    const { shape, data } = await this.#model.multiply(recipe, basis);
    return tableOf(data, this.size, shape[1]);
  }

  #nearest(table: Table, query: Float32Array, own: ReadonlySet<number>, count: number): Neighbour[] {
    const cosines = new Float32Array(this.size);
    const length = lengthOf(query);
    for (let id = 0; id < cosines.length; id++) {
      const norms = length * table.lengths[id];
      cosines[id] = own.has(id) ? Number.NEGATIVE_INFINITY : norms > 0 ? dot(table, id, query) / norms : 0;
    }
    const nearest = topK(cosines, Math.min(count, this.size - own.size));
    return Array.from(nearest, (id) => ({ ...this.#text(id), cosine: cosines[id] }));
  }
}

function tableOf(data: Float32Array, rows: number, columns: number): Table {
  const table = { columns, data: data.subarray(0, rows * columns), lengths: new Float32Array(rows) };
  for (let i = 0; i < rows; i++) table.lengths[i] = lengthOf(rowOf(table, i));
  return table;
}

const rowOf = ({ columns, data }: { columns: number; data: Float32Array }, i: number): Float32Array =>
  data.subarray(i * columns, (i + 1) * columns);

const rowsOf = ({ shape: [, columns], data }: { shape: readonly number[]; data: Float32Array }, i: number) =>
  rowOf({ columns, data }, i);

function dot({ columns, data }: Table, row: number, query: Float32Array): number {
  let sum = 0;
  for (let i = 0, at = row * columns; i < columns; i++, at++) sum += data[at] * query[i];
  return sum;
}
