/** Attribution of a prediction to signals and to components. */
import { ReflowError } from "../common/errors.ts";
import { invalidValue } from "../common/validation.ts";
import { isFactored } from "../config/config.ts";
import { prepareRun, type RunOptions } from "../interventions/prepare-run.ts";
import { logprobs, topK } from "../math/logits.ts";
import { type Codebook, codebooksOf } from "../signals/codebook.ts";
import { tokenOf } from "../text/expression.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { checkIds, tokenCount } from "../transformer/inference.ts";
import { ledgerOf, takeReading, writersOf } from "./attribution.ts";

export interface ExplainOptions extends RunOptions {
  /** The position after which the prediction is made, from 0. Default: the last. */
  position?: number;
  /** The token whose logit is attributed: an id, or its literal text. Default: the most likely token. */
  target?: number | string;
  /** The number of signals to list, by magnitude of contribution. Default: 10. */
  top?: number;
}

/**
 * A logit as a sum over signals, R[v,s]·z_s, and as a sum over writers with the scale of the final norm held fixed. Plain
 * JSON; sums are in float64.
 */
export interface Explanation {
  position: number;
  target: { id: number; text: string };
  /** The logit, and its log-probability in nats. */
  logit: number;
  logprob: number;
  /**
   * Σ R[v,s]·z_s and Σ |R[v,s]·z_s| over all signals. The first differs from the logit by rounding: of float32, or, with int8
   * weights, of the readout to int8.
   */
  sum: number;
  magnitude: number;
  /** For an unfactored model, dimensions of the residual stream take the place of signals: B is the identity. */
  unit: "signal" | "dimension";
  /** The largest contributions by magnitude. */
  signals: SignalShare[];
  /** The sum over the signals that are not listed. */
  rest: { count: number; contribution: number };
  /** In the order of the forward pass: `embed`, `blocks.0.attn`, `blocks.0.mlp` and so on; last `interventions`, if any. */
  writers: { name: string; contribution: number }[];
}

export interface SignalShare {
  signal: number;
  /** R[v,s] */
  recipe: number;
  /** z_s */
  value: number;
  /** R[v,s]·z_s */
  contribution: number;
  /** The contribution by writer, in the order of the explanation's writers. */
  writers: number[];
  codebook: Codebook;
}

/** The number of tokens at each end of a codebook. */
const CODEBOOK = 5;

/** See `Model.explain`. */
export async function explain(
  loaded: InferenceModel,
  sequence: Int32Array | readonly number[],
  options: ExplainOptions = {},
): Promise<Explanation> {
  const { tokenizer } = loaded;
  const { config } = loaded;
  const ids = checkIds(config, sequence);
  if (ids.length === 0 || ids.length > config.context) {
    throw new ReflowError(
      "data",
      `a sequence of ${ids.length} ids`,
      `use 1 to the context, ${config.context}`,
    );
  }
  const { position = ids.length - 1, top = 10 } = options;
  if (!(Number.isInteger(position) && position >= 0 && position < ids.length)) {
    throw invalidValue("position", position, "one of the sequence's", `they are 0 to ${ids.length - 1}`);
  }
  if (!(Number.isInteger(top) && top >= 0)) {
    throw invalidValue("top", top, "a whole number of at least 0", "it is how many signals are listed");
  }
  const rows = tokenCount(loaded);
  const asked = targetOf(loaded, options.target, rows);
  const passage = { prompt: ids.length, readout: position, end: ids.length };
  const { model, hooks } = await prepareRun(loaded, options, [passage]);
  if (hooks?.has("hook_logits")) {
    const what = "interventions on logits cannot be attributed to signals";
    throw new ReflowError("usage", what, "intervene on the residual stream or the signals");
  }

  const reading = await takeReading(model, ids.subarray(0, position + 1), hooks);
  const { logits, signals, writers } = reading;
  const target = asked ?? topK(logits.subarray(0, rows), 1)[0];
  const { recipe, bySignal, byWriter } = await ledgerOf(model, reading, target);
  const listed = Array.from(topK(Float32Array.from(bySignal, Math.abs), Math.min(top, bySignal.length)));
  const codebooks = await codebooksOf(model, listed, CODEBOOK);
  const rest = bySignal.filter((_, s) => !listed.includes(s));
  return {
    position,
    target: { id: target, text: tokenizer?.tokenText(target) ?? "" },
    logit: logits[target],
    logprob: logprobs(logits, target, 0, rows).logprob,
    sum: sumOf(bySignal),
    magnitude: sumOf(bySignal.map(Math.abs)),
    unit: isFactored(config) ? "signal" : "dimension",
    signals: listed.map((signal, i) => ({
      signal,
      recipe: recipe[signal],
      value: signals[signal],
      contribution: bySignal[signal],
      writers: writersOf(reading, recipe, signal),
      codebook: codebooks[i],
    })),
    rest: { count: rest.length, contribution: sumOf(rest) },
    writers: writers.map(({ name }, w) => ({ name, contribution: byWriter[w] })),
  };
}

function targetOf(
  { tokenizer }: InferenceModel,
  target: number | string | undefined,
  rows: number,
): number | undefined {
  if (typeof target === "string") return tokenOf(tokenizer, target, { where: "target", rows });
  if (target === undefined || (Number.isInteger(target) && target >= 0 && target < rows)) return target;
  throw invalidValue("target", target, `one of ${rows} tokens`, `they are 0 to ${rows - 1}`);
}

const sumOf = (values: Float64Array): number => values.reduce((sum, x) => sum + x, 0);
