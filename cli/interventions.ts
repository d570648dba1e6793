import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { SteeringOptions } from "../runtime/interventions/compile.ts";
import { parseInterventions } from "../runtime/interventions/spec.ts";
import type { Model } from "../runtime/model/model.ts";
import { asData } from "../trainer/data/files.ts";
import { readJson } from "./options.ts";

export interface InterventionFlags {
  spec?: string;
  text?: string;
}

/** Of the reference text, that many tokens are read: a standard deviation is then known to half a percent. */
export const REFERENCE_TOKENS = 16384;

/** What a command that can intervene says of how. */
export const withInterventions = (command: Command): Command =>
  command
    .option("--spec <json>", "interventions as JSON, one or a list, or a file of it")
    .option(
      "--text <file>",
      "for sigma, mean and resample: what they are measured on (the checkpoint's held-out.txt)",
    );

/**
 * What flags say, before the model they are for is loaded.
 *
 * @throws ReflowError `usage` for what is no intervention, `data` where a file can't be read
 */
export async function readInterventions(
  checkpoint: string,
  { spec, text: given }: InterventionFlags,
): Promise<(model: Model) => Required<Pick<SteeringOptions, "interventions">> & SteeringOptions> {
  const { heldOutOf } = await import("../runtime/formats/checkpoint.ts");
  const help = 'give one intervention, {"op":"add",…}, or a list of them';
  const interventions = spec === undefined ? [] : parseInterventions(readJson("--spec", spec, help));
  const file = given ?? heldOutOf(checkpoint);
  const text = file && asData(file, () => readFileSync(file, "utf8"));
  return (model) => ({
    interventions,
    reference: text ? model.tokenize(text).subarray(0, REFERENCE_TOKENS) : undefined,
  });
}
