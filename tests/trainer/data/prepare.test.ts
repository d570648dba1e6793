import { describe, expect, test } from "bun:test";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "../../../runtime/text/tokenizer.ts";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { openPrepared, prepareData, preparedKey, ShardWriter } from "../../../trainer/data/prepare.ts";
import { openTokens, type TokenSource } from "../../../trainer/data/shards.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

const readAll = (source: TokenSource) => {
  const ids = new Int32Array(source.length);
  source.read(0, ids);
  return ids;
};

const stories = Array.from(
  { length: 40 },
  (_, i) => `Story ${i}: it wasn't a ${"very ".repeat(i)}long one.\n\nThe end.`,
);
const SEPARATOR = "\n\n<|endoftext|>\n\n";

describe("prepareData", () => {
  test("writes shards, the tokenizer and meta.json", async () => {
    const folder = temporaryFolder({ "stories.txt": stories.join(SEPARATOR) });
    const out = join(folder, "new/out");
    const progress: number[] = [];
    await prepareData({ train: [join(folder, "stories.txt")], tokenizer: "bpe:300" }, out, {
      onProgress: (stage, done, of) => stage === "tokenize" && progress.push(done / of),
    });
    expect(readdirSync(out).sort()).toEqual(["meta.json", "tokenizer.json", "train-000.bin", "val-000.bin"]);
    expect(readdirSync(join(folder, "new"))).toEqual(["out"]);
    expect(progress.at(-1)).toBe(1);

    const { meta, tokenizer, train, val } = openPrepared(out);
    expect(meta).toMatchObject({ type: "uint16", vocabSize: 300, endOfText: tokenizer.endOfText });
    // <|endoftext|> follows every document, and the last documents are held out.
    const documents = (source: TokenSource) => tokenizer.decode(readAll(source)).split("<|endoftext|>");
    expect(documents(train).pop()).toBe("");
    expect([...documents(train).slice(0, -1), ...documents(val)]).toEqual([...stories, ""]);
    const heldOut = documents(val).slice(0, -1);
    expect(meta.val).toEqual({
      tokens: val.length,
      documents: heldOut.length,
      bytes: Buffer.byteLength(heldOut.join("")),
    });
    // The tokenizer is trained without the held-out documents.
    const trainedOn = stories.slice(0, stories.length - heldOut.length);
    expect(JSON.stringify(tokenizer)).toBe(JSON.stringify(trainBpe(trainedOn, 300)));
    // The layout is that of nanoGPT.
    const bare = openTokens(join(out, "train-000.bin"), { vocabSize: 300 });
    expect(readAll(bare)).toEqual(readAll(train));
  });

  test("with separate validation text", async () => {
    const folder = temporaryFolder({
      "a.txt": stories[30],
      "b.txt": stories[2],
      "val.jsonl": '{"text":"Hello"}',
    });
    const file = (name: string) => join(folder, name);
    const input = { train: [file("a.txt"), file("b.txt")], val: [file("val.jsonl")], tokenizer: "bpe:257" };
    await prepareData(input, file("out"));
    const { tokenizer, train, val } = openPrepared(file("out"));
    expect(tokenizer.decode(readAll(train))).toBe(`${stories[30]}<|endoftext|>${stories[2]}<|endoftext|>`);
    expect(tokenizer.decode(readAll(val))).toBe("Hello<|endoftext|>");
  });

  test("<|endoftext|> within a text is not encoded as the special token", async () => {
    const folder = temporaryFolder({ "a.txt": "Say <|endoftext|> to end.", "b.txt": "x" });
    const file = (name: string) => join(folder, name);
    await prepareData({ train: [file("a.txt")], val: [file("b.txt")], tokenizer: "bpe:257" }, file("out"));
    const { tokenizer, train } = openPrepared(file("out"));
    expect([...readAll(train)].filter((id) => id === tokenizer.endOfText)).toHaveLength(1);
  });

  test("a failure keeps the existing folder, and leaves no partial one", async () => {
    const good = temporaryFolder({ "a.txt": stories.join(SEPARATOR) });
    const out = join(good, "out");
    await prepareData({ train: [join(good, "a.txt")], tokenizer: "bpe:257" }, out);
    const before = readFileSync(join(out, "train-000.bin"));
    // The error is found only while the last file is tokenized.
    const bad = join(temporaryFolder({ "bad.txt": Uint8Array.of(0xff) }), "bad.txt");
    const input = { train: [join(good, "a.txt")], val: [bad], tokenizer: "bpe:257" };
    expect(await errorText("data", () => prepareData(input, out))).toContain("invalid UTF-8");
    expect(readFileSync(join(out, "train-000.bin"))).toEqual(before);
    expect(readdirSync(good).sort()).toEqual(["a.txt", "out"]);
  });

  test("temporary folders of killed runs are removed after a day", async () => {
    const folder = temporaryFolder({ "a.txt": stories[9], "out.tmp-old/x": "", "out.tmp-new/x": "" });
    utimesSync(join(folder, "out.tmp-old"), 0, 0);
    await prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:257" }, join(folder, "out"));
    expect(readdirSync(folder).sort()).toEqual(["a.txt", "out", "out.tmp-new"]);
  });

  test("any other existing folder is an error, and is kept", async () => {
    const folder = temporaryFolder({
      "a.txt": stories[9],
      "home/meta.json": "{}",
      "home/letters": "dear",
      "e/x": "",
    });
    rmSync(join(folder, "e/x"));
    const run = (out: string) =>
      prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:257" }, join(folder, out));
    expect(await errorText("data", () => run("home"))).toContain(
      "home already exists and does not contain prepared tokens",
    );
    expect(await errorText("data", () => run("a.txt"))).toContain("a.txt already exists");
    expect(readFileSync(join(folder, "home/letters"), "utf8")).toBe("dear");
    await run("e");
    await run("e");
    expect(openPrepared(join(folder, "e")).meta.vocabSize).toBe(257);
  });

  test("a folder that cannot be written", async () => {
    const folder = temporaryFolder({ "a.txt": stories[9] });
    const run = () =>
      prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:257" }, join(folder, "a.txt/out"));
    expect(await errorText("data", run)).toContain("could not write");
  });
});

describe("--tokenizer", () => {
  const input = (folder: string, tokenizer: string) => ({ train: [join(folder, "a.txt")], tokenizer });

  test("FILE", async () => {
    const tokenizer = trainBpe(stories, 270);
    const folder = temporaryFolder({ "a.txt": stories[9], "tokenizer.json": JSON.stringify(tokenizer) });
    await prepareData(input(folder, join(folder, "tokenizer.json")), join(folder, "out"));
    expect(JSON.stringify(openPrepared(join(folder, "out")).tokenizer)).toBe(JSON.stringify(tokenizer));
  });

  test("gpt2 requires a network; the error names an alternative", async () => {
    const saved = process.env.npm_config_registry;
    process.env.npm_config_registry = "http://127.0.0.1:1/";
    const folder = temporaryFolder({ "a.txt": stories[9] });
    const run = () => prepareData(input(folder, "gpt2"), join(folder, "out"), { cacheDir: folder });
    expect(await errorText("network", run)).toContain("--tokenizer bpe:N");
    if (saved === undefined) delete process.env.npm_config_registry;
    else process.env.npm_config_registry = saved;
  });

  test("an invalid value", async () => {
    const folder = temporaryFolder({ "a.txt": stories[9], "half.json": "{", "other.json": "{}" });
    const run = (flag: string) => () => prepareData(input(folder, flag), join(folder, "out"));
    for (const flag of ["gpt3", "bpe:", "bpe:1e3", "bpe:-1"]) {
      expect(await errorText("usage", run(flag))).toContain(`--tokenizer ${flag}: no such file`);
    }
    expect(await errorText("config", run("bpe:256"))).toContain("a vocabulary of 256");
    expect(await errorText("format", run(join(folder, "half.json")))).toContain("half.json");
    expect(await errorText("format", run(join(folder, "other.json")))).toContain("other.json");
    expect(existsSync(join(folder, "out"))).toBe(false);
  });

  test("more tokens than the model's vocabulary", async () => {
    const folder = temporaryFolder({ "a.txt": stories[9], "t.json": JSON.stringify(trainBpe(stories, 270)) });
    for (const flag of ["bpe:270", join(folder, "t.json")]) {
      const run = () => prepareData(input(folder, flag), join(folder, "out"), { vocabSize: 269 });
      expect(await errorText("usage", run)).toContain("has 270 tokens, but the model's vocabulary only 269");
    }
  });
});

describe("ShardWriter", () => {
  test("starts a new file when one is full", () => {
    for (const tokens of [1, 9, 10, 11, 20, 25]) {
      const folder = temporaryFolder();
      const writer = new ShardWriter(folder, "train", "uint32", 10);
      const ids = Array.from({ length: tokens }, (_, i) => 70_000 + i);
      writer.write(ids.slice(0, 3));
      writer.write(ids.slice(3));
      writer.close();
      const files = readdirSync(folder).sort();
      expect(files).toEqual(
        ["train-000.bin", "train-001.bin", "train-002.bin"].slice(0, Math.ceil(tokens / 10)),
      );
      const source = openTokens(
        files.map((file) => join(folder, file)),
        { vocabSize: 80_000, type: "uint32" },
      );
      expect([...readAll(source)]).toEqual(ids);
      source.close();
    }
  });
});

test("a shard may end in the middle of a buffer", () => {
  const folder = temporaryFolder();
  const writer = new ShardWriter(folder, "train", "uint16", 300_000);
  writer.write(Uint16Array.from({ length: 650_000 }, (_, i) => i % 1000));
  writer.close();
  const sizes = readdirSync(folder)
    .sort()
    .map((file) => statSync(join(folder, file)).size);
  expect(sizes).toEqual([600_000, 600_000, 100_000]);
});

describe("openPrepared", () => {
  const damages: Record<string, [(out: string) => void, string]> = {
    "no meta.json": [(out) => rmSync(join(out, "meta.json")), "meta.json: no such file"],
    "a truncated meta.json": [(out) => truncateSync(join(out, "meta.json"), 30), "meta.json: "],
    "an invalid meta.json": [(out) => writeFileSync(join(out, "meta.json"), "{}"), "meta.json: "],
    "a replaced tokenizer": [
      (out) => writeFileSync(join(out, "tokenizer.json"), JSON.stringify(trainBpe([], 257))),
      "tokenizer.json does not match",
    ],
    "a truncated shard": [
      (out) => truncateSync(join(out, "train-000.bin"), 10),
      "train-*.bin contain 5 tokens, but meta.json says",
    ],
    "a missing shard": [(out) => rmSync(join(out, "val-000.bin")), "val-*.bin contain 0 tokens"],
    "an extra shard": [
      (out) => renameSync(join(out, "val-000.bin"), join(out, "train-001.bin")),
      "train-*.bin contain",
    ],
  };
  for (const [name, [damage, expected]] of Object.entries(damages)) {
    test(name, async () => {
      const folder = temporaryFolder({ "a.txt": stories.join(SEPARATOR) });
      const out = join(folder, "out");
      await prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:260" }, out);
      damage(out);
      expect(await errorText("data", () => openPrepared(out))).toContain(expected);
    });
  }
});

test("the key depends on the contents, not on names or times", () => {
  const folder = temporaryFolder({ "a.txt": "one", "b.txt": "one", "c.txt": "two", "a.jsonl": "one" });
  const key = (train: string[], tokenizer: string, val?: string[]) =>
    preparedKey({
      train: train.map((name) => join(folder, name)),
      val: val?.map((name) => join(folder, name)),
      tokenizer,
    });
  const first = key(["a.txt"], "bpe:300");
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  utimesSync(join(folder, "b.txt"), 1, 1);
  expect(key(["b.txt"], "bpe:300")).toBe(first);
  writeFileSync(join(folder, "tokenizer.json"), "{}");
  const others = [
    key(["c.txt"], "bpe:300"),
    key(["a.jsonl"], "bpe:300"),
    key(["a.txt", "b.txt"], "bpe:300"),
    key(["a.txt"], "bpe:300", ["b.txt"]),
    key(["a.txt"], "bpe:301"),
    key(["a.txt"], "gpt2"),
    key(["a.txt"], join(folder, "tokenizer.json")),
  ];
  expect(new Set([first, ...others]).size).toBe(8);
});

test("Tokenizer.fromJSON reads the tokenizer.json written", async () => {
  const folder = temporaryFolder({ "a.txt": stories.join("\n") });
  await prepareData({ train: [join(folder, "a.txt")], tokenizer: "bpe:300" }, join(folder, "out"));
  const json = JSON.parse(readFileSync(join(folder, "out/tokenizer.json"), "utf8"));
  expect(Tokenizer.fromJSON(json).vocabSize).toBe(300);
});
