/** The suite of every server, in this process: under Bun, and under Deno. */
import { after, before, test } from "node:test";
import { loadModel } from "../../runtime/mod.ts";
import type { Model } from "../../runtime/model/model.ts";
import { createApp } from "../../server/app.ts";
import { memoryTexts, patchStore } from "../../server/patches/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { Api } from "./api.ts";
import { apiTests } from "./api-suite.ts";

let model: Model;
let api: Api;

before(async () => {
  const folder = temporaryFolder();
  await writeTinyCheckpoint(`${folder}/tiny`);
  model = await loadModel(`${folder}/tiny`, { device: "wasm", threads: 1 });
  const app = createApp({
    model,
    name: "tiny",
    pool: model.pool({ slots: 8 }),
    patches: patchStore(memoryTexts()),
    keys: [],
    origins: [],
    log() {},
  });
  api = new Api(async (request) => app.fetch(request));
});
after(() => model.dispose());

for (const [name, run] of Object.entries(apiTests)) test(name, () => run(api));
