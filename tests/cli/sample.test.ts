import { expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, json, refused } from "./support.ts";

interface Sampled {
  prompt: string;
  samples: {
    text: string;
    ids: number[];
    finishReason: string;
    logprobs?: { logprob: number; topLogprobs: { id: number; logprob: number; text: string }[] }[];
  }[];
  seed: number;
  tokens: number;
  tokensPerSecond: number;
  firstTokenMs: number;
}

const folder = join(temporaryFolder(), "model");
await writeTinyCheckpoint(folder);
const PROMPT = ["--prompt", "the king"];

test("text on stdout, statistics on stderr; the same seed reproduces the text", async () => {
  const { code, stdout, stderr } = await cli(
    "sample",
    folder,
    ...PROMPT,
    "--seed",
    "7",
    "--max-tokens",
    "20",
  );
  const sampled = await json<Sampled>("sample", folder, ...PROMPT, "--seed", "7", "--max-tokens", "20");
  const [{ text, ids, finishReason, logprobs }] = sampled.samples;
  expect(code).toBe(0);
  expect(stdout).toBe(`the king${text}\n`);
  expect(text).toBe(tinyTokenizer.decode(ids));
  expect(stderr.replace(/\s+/g, " ")).toMatch(
    /^20 tokens, [\d.]+ tokens\/s, first token in \d+ ms, seed 7, finish reason: length $/,
  );
  expect(sampled).toMatchObject({ prompt: "the king", seed: 7, tokens: 20 });
  expect(sampled.tokensPerSecond).toBeGreaterThan(0);
  expect(sampled.firstTokenMs).toBeGreaterThan(0);
  expect(finishReason).toBe("length");
  expect(logprobs).toBeUndefined();
});

test("without a prompt, generates from the start of a document up to the context length, and prints the seed", async () => {
  const first = await json<Sampled>("sample", folder);
  const [{ ids, finishReason }] = first.samples;
  // An untrained model may generate <|endoftext|> at any time.
  if (finishReason === "endOfText") expect(ids.length).toBeLessThan(48);
  else expect([finishReason, ids.length]).toEqual(["length", 48 - 1]);
  const again = await json<Sampled>("sample", folder, "--seed", String(first.seed));
  expect(again.samples).toEqual(first.samples);
});

test("prints several samples in order, separated like documents of a corpus", async () => {
  const flags = [...PROMPT, "-n", "3", "--seed", "1", "--max-tokens", "5"];
  const { samples } = await json<Sampled>("sample", folder, ...flags);
  expect(new Set(samples.map(({ text }) => text)).size).toBe(3);
  const { stdout } = await cli("sample", folder, ...flags);
  const lineEnd = (text: string) => (text.endsWith("\n") ? "" : "\n");
  const documents = samples.map(({ text }) => `the king${text}${lineEnd(text)}`);
  expect(stdout).toBe(documents.join("\n<|endoftext|>\n\n"));
});

test("logprobs; at temperature 0, those of the most likely tokens", async () => {
  const flags = [...PROMPT, "--temperature", "0", "--max-tokens", "3", "--logprobs", "2"];
  const [{ ids, logprobs }] = (await json<Sampled>("sample", folder, ...flags)).samples;
  for (const [i, { logprob, topLogprobs }] of logprobs!.entries()) {
    expect(topLogprobs.length).toBe(2);
    expect(topLogprobs[0]).toEqual({ id: ids[i], logprob, text: tinyTokenizer.tokenText(ids[i]) });
    expect(topLogprobs[1].logprob).toBeLessThanOrEqual(logprob);
  }
  const { stdout } = await cli("sample", folder, ...flags);
  const lines = stdout.trimEnd().split("\n");
  expect(lines.length).toBe(3);
  expect(lines[0]).toContain(` ${logprobs![0].topLogprobs[1].logprob.toFixed(2)}`);
});

test("stop texts end a sample and are excluded from it", async () => {
  const flags = [...PROMPT, "--seed", "3"];
  const [{ text }] = (await json<Sampled>("sample", folder, ...flags)).samples;
  const stop = text.slice(10, 12);
  const [stopped] = (await json<Sampled>("sample", folder, ...flags, "--stop", "zzzz", stop)).samples;
  expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finishReason: "stop" });
});

test("int8 weights, one thread, and the sampling flags reach the model", async () => {
  const greedy = [...PROMPT, "--max-tokens", "4"];
  const [likeliest] = (await json<Sampled>("sample", folder, ...greedy, "--temperature", "0")).samples;
  for (const flag of [
    ["--top-p", "0"],
    ["--min-p", "1"],
    ["--top-k", "1", "--threads", "1"],
  ]) {
    const [{ ids }] = (await json<Sampled>("sample", folder, ...greedy, ...flag)).samples;
    expect(ids).toEqual(likeliest.ids);
  }
  const [rounded] = (await json<Sampled>("sample", folder, ...greedy, "--weights", "int8", "--seed", "1"))
    .samples;
  expect(rounded.ids.length).toBe(4);
  const once = await json<Sampled>(
    ...(["sample", folder, ...PROMPT, "--temperature", "0", "--repetition-penalty", "1e9"] as const),
  );
  expect(new Set(once.samples[0].ids).size).toBe(once.samples[0].ids.length);
});

test("rejects invalid input", async () => {
  expect(await refused("sample", folder, "--temperature", "NaN")).toContain("Expected a number");
  expect(await refused("sample", folder, "--temperature", "-1")).toContain("temperature is -1");
  expect(await refused("sample", folder, "--max-tokens", "1.5")).toContain("maxTokens is 1.5");
  expect(await refused("sample", folder, "--weights", "int4")).toContain("Did you mean int8?");
  expect(await refused("sample", folder, "-n", "0")).toContain("Expected an integer of at least 1");
  expect(await refused("sample", folder, "--threads", "0")).toContain("threads is 0");
  expect(await refused("sample", folder, "--prompt", "king ".repeat(60), "--json")).toMatch(
    /prompt 0 has \d+ tokens/,
  );
  expect(await refused("sample", `${folder}-none`)).toContain("does not exist");
  writeFileSync(join(folder, "tokenizer.json"), "{}");
  expect(await refused("sample", folder)).toContain("tokenizer.json");
  rmSync(join(folder, "manifest.json"));
  expect(await refused("sample", folder)).toContain("tokenizer.json: ");
  rmSync(join(folder, "tokenizer.json"));
  expect(await refused("sample", folder)).toContain("has no tokenizer.json");
  const weights = join(folder, "model.safetensors");
  const bytes = readFileSync(weights);
  bytes.fill(0xff, bytes.length - 128); // the final norm's weights are NaN
  writeFileSync(weights, bytes);
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tinyTokenizer));
  expect(await refused("sample", folder, "--json")).toContain("no logit is finite");
});
