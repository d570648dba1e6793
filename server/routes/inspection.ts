/** Inspection of a forward pass: activations, logit lens and attribution; and tokenization. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import { hookNames, resolveHookNames } from "../../runtime/transformer/hooks.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
import {
  activations,
  activationsRequest,
  detokenized,
  detokenizeRequest,
  explainRequest,
  explanation,
  lens,
  lensRequest,
  tokenized,
  tokenizeRequest,
} from "../schemas/inspection.ts";
import { changesOf, checkModel, nonEmptyIdsOf } from "./request-options.ts";
import { watchDisconnect } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Inspection";

/** Maximum number of values in a response: encoding more as JSON would delay other requests. */
const MAX_VALUES = 2 ** 18;
/** Maximum number of lens cells, each of which takes one readout. */
const MAX_CELLS = 4096;

export function inspectionRoutes(services: RouteServices) {
  const { model, analysisQueue } = services;
  const { config, tokenizer } = model;
  return new Hono<AppEnv>()
    .post(
      "/v1/activations",
      describe("Get activations at hook points, after interventions", {
        tag,
        description: `Returns at most ${MAX_VALUES} numbers.`,
        answer: activations,
      }),
      body(activationsRequest),
      async (c) => {
        const { model: asked, input, names, ...changes } = c.req.valid("json");
        checkModel(services, asked);
        const ids = nonEmptyIdsOf(model, input, "input");
        const namesFilter = namesOf(config, typeof names === "string" ? [names] : names);
        const values = namesFilter.reduce((sum, name) => sum + sizeOf(config, name, ids.length), 0);
        if (values > MAX_VALUES) {
          const message = `the activations have ${values} values, more than the limit of ${MAX_VALUES}`;
          throw new ReflowError("usage", message, "use fewer hook points or a shorter text");
        }
        const { signal } = watchDisconnect(c);
        const options = { ...(await changesOf(services, changes, signal)), namesFilter };
        const found = await analysisQueue.run(() => model.runWithCache(ids, options), { signal });
        return c.json({ tokens: Array.from(ids, tokenText), activations: Object.fromEntries(found) });
      },
    )
    .post(
      "/v1/lens",
      describe("Apply the logit lens: the prediction if the remaining blocks were skipped", {
        tag,
        answer: lens,
      }),
      body(lensRequest),
      async (c) => {
        const { model: asked, input, top, positions, ...changes } = c.req.valid("json");
        checkModel(services, asked);
        const ids = nonEmptyIdsOf(model, input, "input");
        const cells = (config.n_layers + 1) * (positions?.length ?? ids.length);
        if (cells > MAX_CELLS) {
          const message = `the lens has ${cells} cells, more than the limit of ${MAX_CELLS}`;
          throw new ReflowError("usage", message, "use fewer positions");
        }
        const { signal } = watchDisconnect(c);
        const options = { ...(await changesOf(services, changes, signal)), top, positions, signal };
        return c.json(await analysisQueue.run(() => model.lens(ids, options), { signal }));
      },
    )
    .post(
      "/v1/explain",
      describe("Explain a prediction: contributions of signals and writers to a logit", {
        tag,
        description: "Interventions are reported as an additional writer.",
        answer: explanation,
      }),
      body(explainRequest),
      async (c) => {
        const { model: asked, input, position, target, top, ...changes } = c.req.valid("json");
        checkModel(services, asked);
        const ids = nonEmptyIdsOf(model, input, "input");
        const { signal } = watchDisconnect(c);
        const options = { ...(await changesOf(services, changes, signal)), position, target, top };
        const explain = () => model.explain(ids, options);
        return c.json(await analysisQueue.run(explain, { signal }));
      },
    )
    .post(
      "/tokenize",
      describe("Convert text to token ids, as llama.cpp's server does", { tag, answer: tokenized }),
      body(tokenizeRequest),
      (c) => {
        const { content, with_pieces } = c.req.valid("json");
        const ids = Array.from(model.tokenize(content));
        return c.json({ tokens: with_pieces ? ids.map((id) => ({ id, piece: pieceOf(id) })) : ids });
      },
    )
    .post(
      "/detokenize",
      describe("Convert token ids to text", { tag, answer: detokenized }),
      body(detokenizeRequest),
      (c) => c.json({ content: tokenizer.decode(c.req.valid("json").tokens) }),
    );

  function tokenText(id: number) {
    return { id, text: id < tokenizer.vocabSize ? tokenizer.tokenText(id) : "" };
  }

  /** A token's text, or its bytes if it holds part of a character. */
  function pieceOf(id: number): string | number[] {
    const text = tokenizer.tokenText(id);
    return text.includes("\ufffd") ? Array.from(tokenizer.tokenBytes(id)) : text;
  }
}

/** The hook points that match the requested names, in the order of the forward pass. */
function namesOf(config: ModelConfig, asked: readonly string[]): string[] {
  const matched = new Set(
    asked.flatMap((name) => {
      if (!name.includes("*")) return resolveHookNames(config, name);
      return resolveHookNames(config, (each) => matches(each, name.split(/\*+/)));
    }),
  );
  return hookNames(config).filter((name) => matched.has(name));
}

/** Whether a name consists of these parts with any text between them. (A regular expression with many wildcards would backtrack for too long.) */
function matches(name: string, parts: readonly string[]): boolean {
  const [first, last] = [parts[0], parts[parts.length - 1]];
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last))
    return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - last.length;
}

/** Number of values at a hook point for T tokens. */
function sizeOf(config: ModelConfig, name: string, T: number): number {
  const { d_model: d, n_heads: H, n_kv_heads: K, n_signals: S = 0, d_ff, vocab_size: V } = config;
  const [point] = name.split(".").slice(-1);
  if (name.includes(".mlp.")) return T * d_ff;
  if (point === "hook_pattern") return H * T * T;
  if (point === "hook_k" || point === "hook_v" || point === "hook_rot_k") return (T * K * d) / H;
  if (point === "hook_recipe" || point === "hook_signals") return T * S;
  return T * (point === "hook_logits" ? V : d);
}
