/** Generates the unmodified and the steered continuation side by side. */
import { ReflowError } from "../common/errors.ts";
import type { Intervention } from "../interventions/spec.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { generate } from "./generate.ts";
import type { GenerateEvent, GenerateOptions, Prompt } from "./options.ts";

/** Interventions and the patch apply to the steered run only; all other options to both. */
export interface SteerOptions extends GenerateOptions {
  interventions: readonly Intervention[];
}

/** An event of the default or of the steered run. */
export type SteerEvent = GenerateEvent & { run: "default" | "steered" };

/** See `Model.steer`. */
export async function* steer(
  model: InferenceModel,
  prompts: readonly Prompt[],
  options: SteerOptions,
): AsyncGenerator<SteerEvent, void, undefined> {
  const empty = prompts.findIndex((prompt) => prompt.length === 0);
  if (empty >= 0)
    throw new ReflowError("usage", `prompt ${empty} is empty`, "steering needs at least one token of prompt");
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0] } = options;
  const steered = { ...options, seed };
  const plain = { ...steered, interventions: undefined, reference: undefined, patch: undefined };
  // The steered run starts first, so that errors in interventions appear before any output.
  const runs = [
    { run: "steered" as const, events: generate(model, prompts, steered) },
    { run: "default" as const, events: generate(model, prompts, plain) },
  ];
  try {
    for (let running = runs; running.length > 0; ) {
      const next: typeof runs = [];
      for (const each of running) {
        const { value, done } = await each.events.next();
        if (done) continue;
        yield { ...value, run: each.run };
        next.push(each);
      }
      running = next;
    }
  } finally {
    for (const { events } of runs) await events.return();
  }
}
