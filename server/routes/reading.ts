/** What goes on inside: activations, the lens, the ledger; and text to ids and back. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import { hookNames, resolveHookNames } from "../../runtime/transformer/hooks.ts";
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
} from "../schemas/reading.ts";
import type { AppEnv, Tools } from "../services.ts";
import { changesOf, checkModel, someIdsOf } from "./requests.ts";
import { departureOf } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Reading";

/** Values of an answer: JSON of more would hold everybody else up. */
const MOST_VALUES = 2 ** 18;
/** Cells of a lens, each a readout of its own. */
const MOST_CELLS = 4096;

export function readingRoutes(tools: Tools) {
  const { model, gate } = tools;
  const { config, tokenizer } = model;
  return new Hono<AppEnv>()
    .post(
      "/v1/activations",
      describe("Values at hook points, as interventions leave them", {
        tag,
        description: `Of ${MOST_VALUES} numbers at most.`,
        answer: activations,
      }),
      body(activationsRequest),
      async (c) => {
        const { model: asked, input, names, ...changes } = c.req.valid("json");
        checkModel(tools, asked);
        const ids = someIdsOf(model, input, "input");
        const namesFilter = namesOf(config, typeof names === "string" ? [names] : names);
        const values = namesFilter.reduce((sum, name) => sum + sizeOf(config, name, ids.length), 0);
        if (values > MOST_VALUES) {
          const help = `ask for ${MOST_VALUES} at most: of fewer hook points, or a shorter text`;
          throw new ReflowError("usage", `these are ${values} values`, help);
        }
        const { signal } = departureOf(c);
        const options = { ...(await changesOf(tools, changes, signal)), namesFilter };
        const found = await gate.run(() => model.runWithCache(ids, options), signal);
        return c.json({ tokens: Array.from(ids, tokenText), activations: Object.fromEntries(found) });
      },
    )
    .post(
      "/v1/lens",
      describe("The logit lens: what the model would say if no further block came", { tag, answer: lens }),
      body(lensRequest),
      async (c) => {
        const { model: asked, input, top, positions, ...changes } = c.req.valid("json");
        checkModel(tools, asked);
        const ids = someIdsOf(model, input, "input");
        const cells = (config.n_layers + 1) * (positions?.length ?? ids.length);
        if (cells > MOST_CELLS) {
          throw new ReflowError(
            "usage",
            `these are ${cells} cells`,
            `ask for ${MOST_CELLS} at most: of fewer positions`,
          );
        }
        const { signal } = departureOf(c);
        const options = { ...(await changesOf(tools, changes, signal)), top, positions, signal };
        return c.json(await gate.run(() => model.lens(ids, options), signal));
      },
    )
    .post(
      "/v1/explain",
      describe("A prediction, taken apart into signals and writers", {
        tag,
        description: "Interventions are one writer more.",
        answer: explanation,
      }),
      body(explainRequest),
      async (c) => {
        const { model: asked, input, position, target, top, ...changes } = c.req.valid("json");
        checkModel(tools, asked);
        const ids = someIdsOf(model, input, "input");
        const { signal } = departureOf(c);
        const options = { ...(await changesOf(tools, changes, signal)), position, target, top };
        const explain = () => model.explain(ids, options);
        return c.json(await gate.run(explain, signal));
      },
    )
    .post(
      "/tokenize",
      describe("Text to token ids, as llama.cpp's", { tag, answer: tokenized }),
      body(tokenizeRequest),
      (c) => {
        const { content, with_pieces } = c.req.valid("json");
        const ids = Array.from(model.tokenize(content));
        return c.json({ tokens: with_pieces ? ids.map((id) => ({ id, piece: pieceOf(id) })) : ids });
      },
    )
    .post(
      "/detokenize",
      describe("Token ids to text", { tag, answer: detokenized }),
      body(detokenizeRequest),
      (c) => c.json({ content: tokenizer.decode(c.req.valid("json").tokens) }),
    );

  function tokenText(id: number) {
    return { id, text: id < tokenizer.vocabSize ? tokenizer.tokenText(id) : "" };
  }

  /** Its text, or bytes where it is a part of a character. */
  function pieceOf(id: number): string | number[] {
    const text = tokenizer.tokenText(id);
    return text.includes("\ufffd") ? Array.from(tokenizer.tokenBytes(id)) : text;
  }
}

/** In the order of the forward pass. */
function namesOf(config: ModelConfig, asked: readonly string[]): string[] {
  const wanted = new Set(
    asked.flatMap((name) => {
      if (!name.includes("*")) return resolveHookNames(config, name);
      return resolveHookNames(config, (each) => matches(each, name.split(/\*+/)));
    }),
  );
  return hookNames(config).filter((name) => wanted.has(name));
}

/** Whether a name is these parts, with anything in between. (A regular expression would take its time over a hundred stars.) */
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

/** Values at a hook point, of T tokens. */
function sizeOf(config: ModelConfig, name: string, T: number): number {
  const { d_model: d, n_heads: H, n_kv_heads: K, n_signals: S = 0, d_ff, vocab_size: V } = config;
  const [point] = name.split(".").slice(-1);
  if (name.includes(".mlp.")) return T * d_ff;
  if (point === "hook_pattern") return H * T * T;
  if (point === "hook_k" || point === "hook_v" || point === "hook_rot_k") return (T * K * d) / H;
  if (point === "hook_recipe" || point === "hook_signals") return T * S;
  return T * (point === "hook_logits" ? V : d);
}
