import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModel } from "../../runtime/mod.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, cliWith, json, refusal, refused } from "./support.ts";

interface Evaluated {
  loss: number;
  perplexity: number;
  bitsPerByte: number;
  tokens: number;
  bytes: number;
  documents: number;
}

const root = temporaryFolder();
const folder = join(root, "model");
await writeTinyCheckpoint(folder);
const DOCUMENTS = ["the king and the queen. ".repeat(20).trim(), "the café 😀"];
const file = (name: string, data: string | Uint8Array): string => {
  const path = join(root, name);
  writeFileSync(path, data);
  return path;
};
const text = `${DOCUMENTS[0]}\n\n<|endoftext|>\n\n${DOCUMENTS[1]}\n`;
const txt = file("text.txt", text);

test("each document follows <|endoftext|>, which counts as a token but not as bytes", async () => {
  const { endOfText } = tinyTokenizer;
  const ids = DOCUMENTS.flatMap((document) => [endOfText, ...tinyTokenizer.encode(document)]);
  using model = await loadModel(folder);
  for (const flags of [{}, { stride: 7 }]) {
    const { loss } = await model.evaluate(ids, flags);
    const bytes = Buffer.byteLength(DOCUMENTS.join(""));
    const nats = loss * (ids.length - 1);
    const args = flags.stride ? ["--stride", String(flags.stride)] : [];
    const found = await json<Evaluated>("eval", folder, "--text", txt, ...args);
    expect(found).toMatchObject({ tokens: ids.length - 1, bytes, documents: 2 });
    expect(found.loss).toBeCloseTo(loss, 5);
    expect(found.perplexity).toBeCloseTo(Math.exp(loss), 2);
    expect(found.bitsPerByte).toBeCloseTo(nats / Math.LN2 / bytes, 5);
  }
});

test("default text: the checkpoint's held-out text", async () => {
  const other = join(root, "with-text");
  await writeTinyCheckpoint(other);
  writeFileSync(join(other, "held-out.txt"), text);
  expect(await json<Evaluated>("eval", other)).toEqual(await json("eval", folder, "--text", txt));
});

test("stdin, JSONL and folders give the same result; no temporary files remain", async () => {
  const expected = await json<Evaluated>("eval", folder, "--text", txt);
  const spooled = () => readdirSync(tmpdir()).filter((name) => name.startsWith("reflow-eval-"));
  const before = spooled();
  const { stdout } = await cliWith({ stdin: text }, "eval", folder, "--text", "-", "--json");
  expect(JSON.parse(stdout)).toEqual(expected);
  expect(spooled()).toEqual(before);
  const jsonl = file("text.jsonl", DOCUMENTS.map((text) => JSON.stringify({ text })).join("\n"));
  expect(await json<Evaluated>("eval", folder, "--text", jsonl)).toEqual(expected);
  expect(await json<Evaluated>("eval", folder, "--text", root)).toEqual(expected);
});

test("text output: results on stdout, progress on stderr", async () => {
  const { code, stdout, stderr } = await cli("eval", folder, "--text", txt, "--weights", "int8");
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^loss +\d\.\d{4} nats per token\nperplexity +[\d.]+\nbits per byte +[\d.]+\ntokens +\d+\nbytes +493\ndocuments +2\n$/,
  );
  expect(stderr).toBe("evaluate …\n");
});

test("rejects invalid input", async () => {
  expect(await refused("eval", folder, "--text", file("empty", ""))).toContain("contains no text");
  expect(await refused("eval", folder, "--text", file("blank", " \n\n<|endoftext|>\n"))).toContain("no text");
  expect(await refused("eval", folder, "--text", file("zero", "a\0b"))).toContain("a zero byte");
  expect(await refused("eval", folder, "--text", file("latin1", Uint8Array.of(0x61, 0xe9, 0x62)))).toContain(
    "UTF-8",
  );
  expect(await refused("eval", folder, "--text", join(root, "none"))).toContain("no such file");
  expect(await refused("eval", folder, "--text", txt, "--stride", "0")).toContain(
    "Expected an integer of at least 1",
  );
  expect(await refused("eval", folder, "--text", txt, "--stride", "49", "--json")).toContain("stride is 49");
  expect(await refused("eval", join(root, "none"), "--text", txt)).toContain("does not exist");
  expect(refusal(await cliWith({ stdin: "" }, "eval", folder, "--text", "-"))).toContain("contains no text");
});

test("without a network, the default text fails with advice", async () => {
  const env = { REFLOW_CACHE: join(root, "cache") };
  expect(refusal(await cliWith({ env }, "eval", folder))).toContain("pass your own text");
});
