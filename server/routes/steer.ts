/** A model beside itself: as it is, and steered. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { GenerateEvent, GenerateOptions } from "../../runtime/generation/generate.ts";
import type { Account } from "../middleware/account.ts";
import {
  band,
  bandRequest,
  type SteerEvent,
  type Steered,
  type SteerRequest,
  steered,
  steerRequest,
} from "../schemas/steer.ts";
import type { AppEnv, Tools } from "../services.ts";
import { changesOf, checkModel, samplingOf, someIdsOf, someSeed, tokenIdOf } from "./requests.ts";
import { begun, departureOf, merge, stream } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Steering";

export function steerRoutes(tools: Tools) {
  const { model, gate } = tools;
  return new Hono<AppEnv>()
    .post(
      "/v1/steer",
      describe("Continue a text twice: as the model does, and steered", {
        tag,
        description:
          "With `target` the band says how far the steered change of that token's log-probability is beyond chance: the 5th to the " +
          "95th percentile over 16 random directions of the same length in the place of each intervention's.",
        answer: steered,
        streams:
          'With `stream`: {type: "token", run, id, text, logprob, top_logprobs}, {type: "finish", run, text, finish_reason}, ' +
          '{type: "band", …}, then `[DONE]`',
      }),
      body(steerRequest),
      async (c) => {
        const request = c.req.valid("json");
        checkModel(tools, request.model);
        const { interventions, patch, seed = someSeed() } = request;
        if (!interventions?.length && patch === undefined) {
          throw new ReflowError(
            "usage",
            "there is nothing to steer by",
            "give interventions, a patch, or both",
          );
        }
        const departure = departureOf(c);
        const events = await steer(tools, { ...request, seed }, departure.signal, c.var.account);
        if (request.stream) return stream(c, events, departure, tools);
        return c.json(await whole(events, { model: tools.name, seed }));
      },
    )
    .post(
      "/v1/steer/band",
      describe("A token's chances, steered and by chance", {
        tag,
        description:
          "The band of /v1/steer alone. The same `seed` draws the same directions, whatever the strength.",
        answer: band,
      }),
      body(bandRequest),
      async (c) => {
        const { model: asked, prompt, target, seed, ...changes } = c.req.valid("json");
        checkModel(tools, asked);
        const { signal } = departureOf(c);
        const ids = someIdsOf(model, prompt, "prompt");
        const { interventions = [], ...rest } = await changesOf(tools, changes, signal);
        const options = { interventions, ...rest, target, seed, signal };
        return c.json(await gate.run(() => model.chanceBand(ids, options), signal));
      },
    );
}

async function steer(
  tools: Tools,
  request: SteerRequest,
  signal: AbortSignal,
  account: Account,
): Promise<AsyncGenerator<SteerEvent, void, undefined>> {
  const { model, pool, gate } = tools;
  const { target, logprobs, max_tokens: maxTokens, seed } = request;
  const ids = someIdsOf(model, request.prompt, "prompt");
  account.tokens += 2 * ids.length;
  const changes = await changesOf(tools, request, signal);
  const plain: GenerateOptions = { ...samplingOf(request), maxTokens, seed, logprobs, signal };
  const { interventions } = changes;
  const token = target === undefined ? undefined : tokenIdOf(model, target);
  const runs = [
    // Begun before the other: what is wrong with interventions shows before anything is said.
    await begun(eventsOf("steered", pool.generate(ids, { ...plain, ...changes }), account)),
    eventsOf("default", pool.generate(ids, plain), account),
  ];
  if (token === undefined || !interventions?.length) return merge(runs);
  const options = { ...changes, interventions, target: token, signal };
  return merge([...runs, bandOf(() => gate.run(() => model.chanceBand(ids, options), signal))]);
}

async function* eventsOf(
  run: "default" | "steered",
  events: AsyncGenerator<GenerateEvent, void, undefined>,
  account: Account,
): AsyncGenerator<SteerEvent, void, undefined> {
  for await (const event of events) {
    if (event.type === "finish") {
      const finish_reason = event.reason === "length" ? "length" : "stop";
      yield { type: "finish", run, text: event.text, finish_reason };
    } else {
      account.tokens++;
      const { id, text, logprob = 0, topLogprobs: top_logprobs = [] } = event;
      yield { type: "token", run, id, text, logprob, top_logprobs };
    }
  }
}

async function* bandOf(
  compute: () => ReturnType<Tools["model"]["chanceBand"]>,
): AsyncGenerator<SteerEvent, void, undefined> {
  yield { type: "band", ...(await compute()) };
}

async function whole(
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
      // What was held back may be another token's: here each has its own text.
      run.tokens.push({ id, text: event.text, logprob, top_logprobs });
    }
  }
  return found;
}
