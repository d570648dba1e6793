/** The suite's experiments. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ProbeResult } from "../../runtime/experiments/framework/experiment.ts";
import { PROBES, runSuite } from "../../runtime/experiments/suite.ts";
import { Refusal } from "../middleware/errors.ts";
import { probeList, probeRequest, probeResult } from "../schemas/probes.ts";
import type { AppEnv, Tools } from "../services.ts";
import { departureOf, stream } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Probes";

/** Of the context, so many windows: less says nothing about frequencies. */
const LEAST_WINDOWS = 8;
/** Tokens that are read: more say it better, and take longer. */
const MOST_TOKENS = 2 ** 16;

type ProbeEvent = { type: "progress"; done: number } | { type: "result"; result: ProbeResult };

export function probeRoutes(tools: Tools) {
  return new Hono<AppEnv>()
    .get("/v1/probes", describe("The experiments", { tag, answer: probeList }), (c) =>
      c.json({ object: "list" as const, data: PROBES.map(({ id, question }) => ({ id, question })) }),
    )
    .post(
      "/v1/probes/:id",
      describe("Run an experiment", {
        tag,
        description:
          "It has the model to itself: completions wait for it, and it waits for them. Streams where it isn't told not to.",
        answer: probeResult,
        streams: '{type: "progress", done} from 0 to 1, {type: "result", result}, then `[DONE]`',
      }),
      body(probeRequest),
      async (c) => {
        const id = c.req.param("id");
        const { text, stream: streams, ...options } = c.req.valid("json");
        if (!PROBES.some((probe) => probe.id === id)) {
          const there = PROBES.map(({ id }) => id).join(", ");
          throw new Refusal(
            404,
            "probe_not_found",
            `there is no experiment ${JSON.stringify(id.slice(0, 40))}`,
            `there are ${there}`,
          );
        }
        const departure = departureOf(c);
        const events = probe(tools, { id, text: textOf(tools, text), ...options }, departure.signal);
        if (streams) return stream(c, events, departure, tools);
        for await (const event of events) if (event.type === "result") return c.json(event.result);
        throw new RangeError("a probe without a result");
      },
    );
}

/** @throws ReflowError `data` where there is none, or too little */
function textOf({ model, reference }: Tools, text: string | undefined): Int32Array {
  const ids = text === undefined ? reference : model.tokenizer.encode(text, { allowSpecial: true });
  const least = LEAST_WINDOWS * model.config.context;
  if (ids && ids.length >= least) return ids.subarray(0, MOST_TOKENS);
  const what = ids ? `the text has ${ids.length} tokens` : "the server has no text of its own";
  throw new ReflowError(
    "data",
    what,
    `give \`text\` of ${least} tokens at least, ${LEAST_WINDOWS} times the context`,
  );
}

async function* probe(
  { model, pool, gate }: Tools,
  { id, ...options }: { id: string; text: Int32Array; seed: number; quick: boolean },
  signal: AbortSignal,
): AsyncGenerator<ProbeEvent, void, undefined> {
  // Before the first word of a stream: later it would be an event of it.
  gate.refuseIfFull();
  let done = 0;
  let wake = () => {};
  const onProgress = (_: string, share: number) => {
    done = share;
    wake();
  };
  const suite = () => runSuite({ model, ids: [id], ...options, onProgress, signal });
  // Probes lay other tables in the place of the model's: nobody else may look at it then.
  const run = gate.alone(() => pool.exclusive(suite, signal), signal);
  const ended = run.then(
    () => true,
    () => true,
  );
  for (let said = -1; ; ) {
    const { promise: news, resolve } = Promise.withResolvers<boolean>();
    wake = () => resolve(false);
    if (done > said) resolve(false);
    if (await Promise.race([ended, news])) break;
    said = done;
    yield { type: "progress", done };
  }
  const { results } = await run;
  yield { type: "result", result: results[0] };
}
