import { expect, test } from "bun:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { ALPHABET } from "../../../runtime/text/byte-level.ts";
import { gpt2Tokenizer } from "../../../runtime/text/gpt2.ts";

/** GPT-2's first merges, which create its tokens 256, 257, … */
const merges = ["Ġ t", "Ġ a", "h e", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t"];
const vocabBpe = ["#version: 0.2", ...merges, ""].join("\n");
const encoder = Object.fromEntries(
  [...ALPHABET, ...merges.map((merge) => merge.replace(" ", "")), "<|endoftext|>"].map((token, id) => [
    token,
    id,
  ]),
);
const encoderJson = JSON.stringify(encoder);

test("returns GPT-2's ids for these merges", () => {
  const tokenizer = gpt2Tokenizer(encoderJson, vocabBpe);
  expect(tokenizer.vocabSize).toBe(267);
  expect(tokenizer.endOfText).toBe(266);
  expect([...tokenizer.encode(" the")]).toEqual([262]);
  expect([...tokenizer.encode("the")]).toEqual([83, 258]);
  // " at": "Ġ a" ranks before "a t", so the result is " a" + "t".
  expect([...tokenizer.encode(" at")]).toEqual([257, 83]);
  expect([...tokenizer.encode("sat in\n\n")]).toEqual([82, 265, 220, 259, 198, 198]);
  // "é" is the bytes C3 A9: 127 and 102.
  expect([...tokenizer.encode("é")]).toEqual([127, 102]);
  expect(tokenizer.tokenId(" the")).toBe(262);
});

test("accepts Windows line endings", () => {
  const tokenizer = gpt2Tokenizer(encoderJson, vocabBpe.replaceAll("\n", "\r\n"));
  expect(tokenizer.toJSON()).toEqual(gpt2Tokenizer(encoderJson, vocabBpe).toJSON());
});

test.each([
  ["invalid JSON", "{", vocabBpe, "encoder.json is not JSON"],
  ["null", "null", vocabBpe, "encoder.json is not an object"],
  ["no tokens", "{}", vocabBpe, "added_tokens.0.id"],
  ["no merges", encoderJson, "", "vocab.bpe: the first line"],
  ["a web page", encoderJson, "<html>", "<html>"],
  ["an unknown token", encoderJson, `${vocabBpe}q x`, 'model.merges[10]: "q x"'],
])("%s is an error", (_, encoderJson, vocabBpe, message) => {
  const load = () => gpt2Tokenizer(encoderJson, vocabBpe);
  expect(load).toThrow(ReflowError);
  expect(load).toThrow(message);
});
