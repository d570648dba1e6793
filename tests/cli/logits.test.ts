import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parameterSpecs } from "../../runtime/config/parameter-specs.ts";
import { readSafetensors, type TensorData, writeSafetensors } from "../../runtime/formats/safetensors.ts";
import { ORACLE_CASES, readOracle } from "../runtime/transformer/oracle-suite.ts";
import { assertClose } from "../support/compare.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, json, refused } from "./support.ts";

const root = temporaryFolder();
const file = (name: string, content: unknown): string => {
  const path = join(root, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const read = (path: string) => readSafetensors(readFileSync(path)).tensors;

describe("matches the oracle on a folder with only config.json and model.safetensors", () => {
  for (const name of ORACLE_CASES) {
    test(name, async () => {
      const oracle = await readOracle(name);
      const folder = join(root, name);
      mkdirSync(folder);
      const shapes = new Map(parameterSpecs(oracle.config).map(({ name, shape }) => [name, shape]));
      const parameters = oracle
        .parameters("param")
        .map(([name, data]): [string, TensorData] => [
          name,
          { dtype: "F32", shape: shapes.get(name)!, data },
        ]);
      writeFileSync(join(folder, "config.json"), JSON.stringify(oracle.config));
      writeFileSync(join(folder, "model.safetensors"), writeSafetensors(new Map(parameters)));
      const { batch: B, length: T, config } = oracle;
      const flat = [...oracle.tensor("ids")];
      const ids = Array.from({ length: B }, (_, b) => flat.slice(b * T, (b + 1) * T));
      const out = join(root, `${name}.safetensors`);
      const { tensors } = await json<{ tensors: { name: string; shape: number[] }[] }>(
        ...(["logits", folder, "--ids", file(`${name}.json`, ids), "--out", out, "--hidden"] as const),
      );
      const found = read(out);
      expect(tensors.map(({ name }) => name)).toEqual([...found.keys()]);
      const hidden = Array.from({ length: config.n_layers + 1 }, (_, l) => `hidden.${l}`);
      expect([...found.keys()]).toEqual(["logits", ...hidden]);
      for (const [key, { shape, data }] of found) {
        expect(shape).toEqual([B, T, key === "logits" ? config.vocab_size : config.d_model]);
        assertClose(data as Float32Array, oracle.tensor(key), { relative: 1e-4 }, key);
      }
    });
  }
});

describe("files", async () => {
  const folder = join(root, "tiny");
  const config = await writeTinyCheckpoint(folder);
  const ids = file("ids.json", [
    [1, 2, 3],
    [299, 0, 4],
  ]);
  const out = join(root, "out.safetensors");

  test("without --hidden writes only logits, and replaces an existing file", async () => {
    writeFileSync(out, "earlier");
    const { code, stdout } = await cli("logits", folder, "--ids", ids, "--out", out);
    expect(code).toBe(0);
    expect(stdout).toBe(`${out}\nlogits  2×3×300\n`);
    expect([...read(out).keys()]).toEqual(["logits"]);
  });

  test("rejects invalid input, and writes nothing", async () => {
    writeFileSync(out, "earlier");
    const before = readdirSync(root);
    const wrong: [unknown, string | RegExp][] = [
      [[[1, 2], [3]], "sequence 1 has 1 ids, sequence 0 has 2"],
      [
        [
          [1, 2],
          [3, config.vocab_size],
        ],
        "token id 300, at position 1, is outside the vocabulary of 300",
      ],
      [[[1.5]], "token id 1.5"],
      [[["1"]], "sequence 0 is not a list of numbers"],
      [[1, 2, 3], "sequence 0 is not a list of numbers"],
      [[], "not a list of sequences"],
      [[[]], "a sequence of 0 ids"],
      [[Array(49).fill(1)], "a sequence of 49 ids"],
      ["[[1,2", /wrong.json: .*JSON/],
    ];
    for (const [content, message] of wrong) {
      const path = file("wrong.json", content);
      expect(await refused("logits", folder, "--ids", path, "--out", out)).toMatch(message);
    }
    const none = join(root, "none");
    expect(await refused("logits", folder, "--ids", none, "--out", out)).toContain("no such file");
    expect(await refused("logits", none, "--ids", ids, "--out", out)).toContain("does not exist");
    expect(await refused("logits", folder, "--ids", ids, "--out", join(none, "x"))).toContain(
      "does not exist",
    );
    expect(await refused("logits", folder, "--ids", ids, "--out", root)).toContain("is not a file");
    expect(await refused("logits", folder, "--ids", ids)).toContain("'--out <file>' not specified");
    expect(readFileSync(out, "utf8")).toBe("earlier");
    expect(readdirSync(root).filter((name) => name !== "wrong.json")).toEqual(before);
  });
});
