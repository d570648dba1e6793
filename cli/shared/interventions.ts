import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { wrapFileErrors } from "../../runtime/host/files.ts";
import type { SteeringOptions } from "../../runtime/interventions/compile.ts";
import { parseInterventions } from "../../runtime/interventions/spec.ts";
import type { Model } from "../../runtime/model/model.ts";
import { readJson } from "./options.ts";

export interface InterventionFlags {
  spec?: string;
  text?: string;
}

/** Tokens of the reference text that are read, enough to estimate a standard deviation to half a percent. */
export const REFERENCE_TOKENS = 16384;

/** Adds the flags of commands that apply interventions. */
export const withInterventions = (command: Command): Command =>
  command
    .option("--spec <json>", "intervention or list of interventions, as JSON or a JSON file")
    .option(
      "--text <file>",
      "reference text for sigma, mean and resample (default: the checkpoint's held-out.txt)",
    );

/**
 * Reads the flags before the model is loaded, so that mistakes are reported at once, and returns a function that completes the
 * steering options with the loaded model.
 *
 * @throws ReflowError `usage` if `--spec` is not valid, `data` if a file cannot be read
 */
export async function readInterventions(
  checkpoint: string,
  { spec, text: given }: InterventionFlags,
): Promise<(model: Model) => Required<Pick<SteeringOptions, "interventions">> & SteeringOptions> {
  const { heldOutOf } = await import("../../runtime/formats/checkpoint.ts");
  const help = 'give an intervention, {"op":"add",…}, or a list of interventions';
  const interventions = spec === undefined ? [] : parseInterventions(readJson("--spec", spec, help));
  const file = given ?? heldOutOf(checkpoint);
  const text = file && wrapFileErrors(file, () => readFileSync(file, "utf8"));
  return (model) => ({
    interventions,
    reference: text ? model.tokenize(text).subarray(0, REFERENCE_TOKENS) : undefined,
  });
}
