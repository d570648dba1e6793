/** Runs the experiments of the probe suite. */

import { Hono } from "hono";
import { withResolvers } from "../../runtime/common/compatibility.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { EXPERIMENTS } from "../../runtime/experiments/registry.ts";
import type { ExperimentResult } from "../../runtime/experiments/suite.ts";
import { runSuite } from "../../runtime/experiments/suite.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import { probeList, probeRequest, probeResult } from "../schemas/probes.ts";
import { stream, watchDisconnect } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Probes";

/** Minimum length of the text, in windows of one context each: frequencies of a shorter text are unreliable. */
const MIN_WINDOWS = 8;
/** Tokens used of a longer text, which bounds the running time. */
const MAX_TOKENS = 2 ** 16;

type ProbeEvent = { type: "progress"; done: number } | { type: "result"; result: ExperimentResult };

export function probeRoutes(services: RouteServices) {
  return new Hono<AppEnv>()
    .get("/v1/probes", describe("List experiments", { tag, answer: probeList }), (c) =>
      c.json({ object: "list" as const, data: EXPERIMENTS.map(({ id, question }) => ({ id, question })) }),
    )
    .post(
      "/v1/probes/:id",
      describe("Run an experiment", {
        tag,
        description:
          "Runs exclusively: it waits for running completions, and later ones wait for it. Streams its progress unless `stream` is false.",
        answer: probeResult,
        streams: '{type: "progress", done} from 0 to 1, {type: "result", result}, then `[DONE]`',
      }),
      body(probeRequest),
      async (c) => {
        const id = c.req.param("id");
        const { text, stream: streams, ...options } = c.req.valid("json");
        if (!EXPERIMENTS.some((probe) => probe.id === id)) {
          const ids = EXPERIMENTS.map(({ id }) => id).join(", ");
          throw new ApiError(
            404,
            "probe_not_found",
            `there is no experiment ${JSON.stringify(id.slice(0, 40))}`,
            `use one of ${ids}`,
          );
        }
        const disconnect = watchDisconnect(c);
        const events = probe(services, { id, text: textOf(services, text), ...options }, disconnect.signal);
        if (streams) return stream(c, events, disconnect, services);
        for await (const event of events) if (event.type === "result") return c.json(event.result);
        throw new Error("the experiment returned no result");
      },
    );
}

/** @throws ReflowError `data` if there is no text, or if it is too short */
function textOf({ model, reference }: RouteServices, text: string | undefined): Int32Array {
  const ids = text === undefined ? reference : model.tokenizer.encode(text, { allowSpecial: true });
  const least = MIN_WINDOWS * model.config.context;
  if (ids && ids.length >= least) return ids.subarray(0, MAX_TOKENS);
  const message = ids
    ? `the text has ${ids.length} tokens, fewer than ${least}`
    : "the server has no held-out text";
  throw new ReflowError(
    "data",
    message,
    `give a \`text\` of at least ${least} tokens (${MIN_WINDOWS} times the context)`,
  );
}

async function* probe(
  { model, pool, analysisQueue }: RouteServices,
  { id, ...options }: { id: string; text: Int32Array; seed: number; quick: boolean },
  signal: AbortSignal,
): AsyncGenerator<ProbeEvent, void, undefined> {
  // Checked before the stream begins, so that a refusal gets status 429.
  analysisQueue.throwIfFull();
  let done = 0;
  let wake = () => {};
  const onProgress = (_: string, fraction: number) => {
    done = fraction;
    wake();
  };
  const suite = () => runSuite({ model, ids: [id], ...options, onProgress, signal });
  // Probes replace the model's tables temporarily, so nothing else may use the model meanwhile.
  const run = analysisQueue.exclusive(() => pool.exclusive(suite, signal), { signal });
  const ended = run.then(
    () => true,
    () => true,
  );
  for (let reported = -1; ; ) {
    const { promise: progress, resolve } = withResolvers<boolean>();
    wake = () => resolve(false);
    if (done > reported) resolve(false);
    if (await Promise.race([ended, progress])) break;
    reported = done;
    yield { type: "progress", done };
  }
  const { results } = await run;
  yield { type: "result", result: results[0] };
}
