import { ReflowError } from "../common/errors.ts";
import { Tokenizer } from "./tokenizer.ts";
import { toTokenizerJson } from "./tokenizer-json.ts";

/**
 * Reads GPT-2's tokenizer from the two files in which it was published; `<|endoftext|>` is 50256.
 *
 * @param encoderJson contents of `encoder.json`: an object from tokens to ids
 * @param vocabBpe contents of `vocab.bpe`: a line `#version: …`, then one merge per line in order of rank
 * @throws ReflowError `format` naming the file, and the field of the equivalent `tokenizer.json`
 */
export function gpt2Tokenizer(encoderJson: string, vocabBpe: string): Tokenizer {
  const [version, ...merges] = vocabBpe.trimEnd().split(/\r?\n/);
  if (!version.startsWith("#version")) {
    const found = JSON.stringify(version.slice(0, 40));
    throw new ReflowError(
      "format",
      `vocab.bpe: the first line is ${found}`,
      "expected a line that begins with #version",
    );
  }
  return Tokenizer.fromJSON(
    toTokenizerJson(parseEncoder(encoderJson), merges),
    "encoder.json with vocab.bpe",
  );
}

function parseEncoder(encoderJson: string): Record<string, number> {
  const help = "pass GPT-2's encoder.json, an object from tokens to ids";
  try {
    const json: unknown = JSON.parse(encoderJson);
    if (typeof json === "object" && json !== null) return json as Record<string, number>;
  } catch (cause) {
    throw new ReflowError("format", `encoder.json is not JSON: ${(cause as Error).message}`, help, { cause });
  }
  throw new ReflowError("format", "encoder.json is not an object", help);
}
