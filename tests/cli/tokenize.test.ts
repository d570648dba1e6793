import { expect, test } from "bun:test";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, cliWith, json, refusal, refused } from "./support.ts";

const root = temporaryFolder();
const folder = join(root, "run", "step-00000007");
await writeTinyCheckpoint(folder);
const WITH = ["--tokenizer", folder];
const TEXT = "the king é<|endoftext|>";
const ids = [...tinyTokenizer.encode(TEXT)];
const expected = { ids, count: ids.length, bytes: 24, tokens: ids.map((id) => tinyTokenizer.tokenText(id)) };

test("tokenizes text with the tokenizer of a checkpoint, a run, a folder or a file", async () => {
  expect(await json<object>("tokenize", TEXT, ...WITH)).toEqual(expected);
  cpSync(join(folder, "tokenizer.json"), join(root, "tokenizer.json"));
  for (const which of [join(root, "run"), root, join(root, "tokenizer.json")]) {
    expect(await json<object>("tokenize", TEXT, "--tokenizer", which)).toEqual(expected);
  }
  expect(await json<object>("tokenize", "", ...WITH)).toEqual({ ids: [], tokens: [], count: 0, bytes: 0 });
});

test("reads a file or stdin", async () => {
  const file = join(root, "text");
  writeFileSync(file, TEXT);
  expect(await json<object>("tokenize", "--file", file, ...WITH)).toEqual(expected);
  const { stdout } = await cliWith({ stdin: TEXT }, "tokenize", "--file", "-", ...WITH, "--json");
  expect(JSON.parse(stdout)).toEqual(expected);
});

test("text output: an id and its token per line, with incomplete characters as bytes", async () => {
  const { code, stdout, stderr } = await cli("tokenize", "the é", ...WITH);
  expect(code).toBe(0);
  const [the, space] = [tinyTokenizer.tokenId("the"), tinyTokenizer.tokenId(" ")];
  expect(stdout).toBe(`${the}  "the"\n${space}  " "\n127  <c3>\n102  <a9>\n`);
  expect(stderr).toBe("4 tokens, 6 bytes\n");
});

test("decodes ids", async () => {
  const args = ["tokenize", "--ids", JSON.stringify(ids.slice(0, 3)), ...ids.slice(3).map(String), ...WITH];
  expect((await cli(...args)).stdout).toBe(`${TEXT}\n`);
  expect(await json<object>(...args)).toEqual({ ...expected, text: TEXT });
});

test("rejects invalid input", async () => {
  expect(await refused("tokenize", ...WITH)).toContain("expected exactly one input");
  expect(await refused("tokenize", "a", "--ids", "1", ...WITH)).toContain("expected exactly one input");
  expect(await refused("tokenize", "a")).toContain("'--tokenizer <which>' not specified");
  expect(await refused("tokenize", "a", "--tokenizer", join(root, "none"))).toContain("no such file");
  expect(await refused("tokenize", "--ids", "1", "two", ...WITH)).toContain('"two" is not a token id');
  expect(await refused("tokenize", "--ids", "1", "290", ...WITH)).toContain(
    "token id 290 is not in the vocabulary",
  );
  expect(await refused("tokenize", "--file", join(root, "none"), ...WITH)).toContain("no such file");
  const binary = join(root, "binary");
  writeFileSync(binary, Uint8Array.of(0x61, 0xff, 0xfe));
  expect(await refused("tokenize", "--file", binary, ...WITH)).toContain("is not UTF-8");
  const broken = join(root, "broken.json");
  writeFileSync(broken, '{"model":');
  expect(await refused("tokenize", "a", "--tokenizer", broken)).toContain("broken.json: ");
  const env = { REFLOW_CACHE: join(root, "cache") };
  expect(refusal(await cliWith({ env }, "tokenize", "a", "--tokenizer", "gpt2"))).toContain(
    "pass --tokenizer FILE",
  );
});
