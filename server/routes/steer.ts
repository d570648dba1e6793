/** Generates the default and the steered continuation side by side. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { GenerateEvent, GenerateOptions } from "../../runtime/generation/options.ts";
import type { RequestRecord } from "../context/request-record.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
import {
  band,
  bandRequest,
  type SteerEvent,
  type Steered,
  type SteerRequest,
  steered,
  steerRequest,
} from "../schemas/steer.ts";
import {
  changesOf,
  checkModel,
  nonEmptyIdsOf,
  randomSeed,
  samplingOf,
  tokenIdOf,
} from "./request-options.ts";
import { awaitFirst, merge, stream, watchDisconnect } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Steering";

export function steerRoutes(services: RouteServices) {
  const { model, analysisQueue } = services;
  return new Hono<AppEnv>()
    .post(
      "/v1/steer",
      describe("Continue a text twice: by default, and steered", {
        tag,
        description:
          "With `target`, `band` compares the steered change of that token's log-probability with chance: it is the range from the " +
          "5th to the 95th percentile over 16 random directions, each as long as the intervention's direction it replaces.",
        answer: steered,
        streams:
          'With `stream`: {type: "token", run, id, text, logprob, top_logprobs}, {type: "finish", run, text, finish_reason}, ' +
          '{type: "band", …}, then `[DONE]`',
      }),
      body(steerRequest),
      async (c) => {
        const request = c.req.valid("json");
        checkModel(services, request.model);
        const { interventions, patch, seed = randomSeed() } = request;
        if (!interventions?.length && patch === undefined) {
          throw new ReflowError(
            "usage",
            "the request has no interventions and no patch",
            "give interventions, a patch, or both",
          );
        }
        const disconnect = watchDisconnect(c);
        const events = await steer(services, { ...request, seed }, disconnect.signal, c.var.record);
        if (request.stream) return stream(c, events, disconnect, services);
        return c.json(await collect(events, { model: services.name, seed }));
      },
    )
    .post(
      "/v1/steer/band",
      describe("Compare a token's steered log-probability with random directions", {
        tag,
        description:
          "Only the band of /v1/steer. The same `seed` draws the same directions at every strength.",
        answer: band,
      }),
      body(bandRequest),
      async (c) => {
        const { model: asked, prompt, target, seed, ...changes } = c.req.valid("json");
        checkModel(services, asked);
        const { signal } = watchDisconnect(c);
        const ids = nonEmptyIdsOf(model, prompt, "prompt");
        const { interventions = [], ...rest } = await changesOf(services, changes, signal);
        const options = { interventions, ...rest, target, seed, signal };
        return c.json(await analysisQueue.run(() => model.chanceBand(ids, options), { signal }));
      },
    );
}

async function steer(
  services: RouteServices,
  request: SteerRequest,
  signal: AbortSignal,
  record: RequestRecord,
): Promise<AsyncGenerator<SteerEvent, void, undefined>> {
  const { model, pool, analysisQueue } = services;
  const { target, logprobs, max_tokens: maxTokens, seed } = request;
  const ids = nonEmptyIdsOf(model, request.prompt, "prompt");
  record.tokens += 2 * ids.length;
  const changes = await changesOf(services, request, signal);
  const plain: GenerateOptions = { ...samplingOf(request), maxTokens, seed, logprobs, signal };
  const { interventions } = changes;
  const token = target === undefined ? undefined : tokenIdOf(model, target);
  const runs = [
    // Started first, so that invalid interventions are reported before the response begins.
    await awaitFirst(eventsOf("steered", pool.generate(ids, { ...plain, ...changes }), record)),
    eventsOf("default", pool.generate(ids, plain), record),
  ];
  if (token === undefined || !interventions?.length) return merge(runs);
  const options = { ...changes, interventions, target: token, signal };
  return merge([...runs, bandOf(() => analysisQueue.run(() => model.chanceBand(ids, options), { signal }))]);
}

async function* eventsOf(
  run: "default" | "steered",
  events: AsyncGenerator<GenerateEvent, void, undefined>,
  record: RequestRecord,
): AsyncGenerator<SteerEvent, void, undefined> {
  for await (const event of events) {
    if (event.type === "finish") {
      const finish_reason = event.reason === "length" ? "length" : "stop";
      yield { type: "finish", run, text: event.text, finish_reason };
    } else {
      record.tokens++;
      const { id, text, logprob = 0, topLogprobs: top_logprobs = [] } = event;
      yield { type: "token", run, id, text, logprob, top_logprobs };
    }
  }
}

async function* bandOf(
  compute: () => ReturnType<RouteServices["model"]["chanceBand"]>,
): AsyncGenerator<SteerEvent, void, undefined> {
  yield { type: "band", ...(await compute()) };
}

async function collect(
  events: AsyncIterable<SteerEvent>,
  about: Pick<Steered, "model" | "seed">,
): Promise<Steered> {
  const empty = (): Steered["default"] => ({ text: "", tokens: [], finish_reason: null });
  const found: Steered = { ...about, default: empty(), steered: empty(), band: null };
  for await (const event of events) {
    if (event.type === "band") {
      const { type: _, ...band } = event;
      found.band = band;
      continue;
    }
    const run = found[event.run];
    run.text += event.text;
    if (event.type === "finish") {
      run.finish_reason = event.finish_reason;
    } else {
      const { id, logprob, top_logprobs } = event;
      // Text held back for a stop string belongs to an earlier token; each token is listed with its own text.
      run.tokens.push({ id, text: event.text, logprob, top_logprobs });
    }
  }
  return found;
}
