/** A model beside itself: as it is, and steered. */
import { ReflowError } from "../common/errors.ts";
import type { Intervention } from "../interventions/spec.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { type GenerateEvent, type GenerateOptions, generate, type Prompt } from "./generate.ts";

/** Interventions and the patch are for the steered run, all else is for both alike. */
export interface SteerOptions extends GenerateOptions {
  interventions: readonly Intervention[];
}

/** An event of the run that goes on as the model does, or of the one that is steered. */
export type SteerEvent = GenerateEvent & { run: "default" | "steered" };

/** See `Model.steer`. */
export async function* steer(
  model: InferenceModel,
  prompts: readonly Prompt[],
  options: SteerOptions,
): AsyncGenerator<SteerEvent, void, undefined> {
  const empty = prompts.findIndex((prompt) => prompt.length === 0);
  if (empty >= 0)
    throw new ReflowError("usage", `prompt ${empty} is empty`, "give it a text that can be steered");
  const { seed = crypto.getRandomValues(new Uint32Array(1))[0] } = options;
  const steered = { ...options, seed };
  const plain = { ...steered, interventions: undefined, reference: undefined, patch: undefined };
  // The steered run first: what is wrong with interventions shows before anything is said.
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
