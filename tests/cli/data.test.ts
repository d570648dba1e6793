import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openPrepared } from "../../trainer/data/prepare.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { cli, json, refused } from "./support.ts";

const root = temporaryFolder();
const file = (name: string, text: string): string => {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
};
const train = file("train.txt", "the king.\n\n<|endoftext|>\n\nthe queen of the sea.");
const val = file("val.txt", "the people");
const out = join(root, "prepared");

test("prepares tokens that the trainer reads", async () => {
  const flags = ["--val", val, "--out", out, "--tokenizer", "bpe:270"];
  const printed = await json<object>("data", train, ...flags);
  const { meta, tokenizer, ...splits } = openPrepared(out);
  expect(printed).toEqual({ out, ...meta });
  expect(meta.train).toMatchObject({ documents: 2, bytes: 30 });
  const ids = new Int32Array(splits.val.length);
  splits.val.read(0, ids);
  expect(tokenizer.decode(ids)).toBe("the people<|endoftext|>");

  // Prepare again over the existing data, with the tokenizer from the first run.
  const again = [train, "--val", val, "--out", out, "--tokenizer", join(out, "tokenizer.json")];
  const { code, stdout, stderr } = await cli("data", ...again);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^vocabulary +2\d\d tokens$/m);
  expect(stdout).toMatch(new RegExp(`^train +${meta.train.tokens} tokens$`, "m"));
  expect(stderr).toBe("tokenize …\n");
});

test("rejects invalid input, and writes nothing", async () => {
  const before = readdirSync(root);
  const to = ["--out", join(root, "new"), "--tokenizer"];
  expect(await refused("data", join(root, "none"), ...to, "bpe:270")).toContain("no such file");
  expect(await refused("data", train, ...to, "bpe:20")).toContain("a vocabulary of 20 tokens is impossible");
  expect(await refused("data", train, ...to, "gpt3")).toContain("pass a tokenizer.json, gpt2, or bpe:N");
  expect(await refused("data", train, "--tokenizer", "bpe:270")).toContain("'--out <folder>' not specified");
  expect(await refused("data", train, "--out", root, "--tokenizer", "bpe:270")).toContain(
    "does not contain prepared tokens",
  );
  expect(readdirSync(root)).toEqual(before);
  expect(await refused("data", file("empty.txt", ""), ...to, "bpe:270")).toContain("contains no text");
  expect(await refused("data", file("zero.txt", "a\0"), ...to, "bpe:270")).toContain("a zero byte");
  expect(readdirSync(root)).not.toContain("new");
});
