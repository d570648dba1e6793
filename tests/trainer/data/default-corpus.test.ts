import { afterEach, expect, test } from "bun:test";
import { defaultCorpus, gpt2Files, splitByYear } from "../../../trainer/data/default-corpus.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

const saved = process.env.npm_config_registry;

afterEach(() => {
  if (saved === undefined) delete process.env.npm_config_registry;
  else process.env.npm_config_registry = saved;
});

test("every 40th year is held out", () => {
  const files = Array.from({ length: 232 }, (_, i) => `data/${1790 + i}_somebody_w_${i}.txt`);
  const { train, val } = splitByYear(files);
  expect(val.map((file) => file.slice(5, 9))).toEqual(["1820", "1860", "1900", "1940", "1980", "2020"]);
  expect([...train, ...val].sort()).toEqual(files);
});

test("without a network, errors name the alternative", async () => {
  process.env.npm_config_registry = "http://127.0.0.1:1/";
  const options = { cacheDir: temporaryFolder() };
  expect(await errorText("network", () => defaultCorpus(options))).toContain("--data FILE|FOLDER");
  expect(await errorText("network", () => gpt2Files(options))).toContain("--tokenizer FILE");
});
