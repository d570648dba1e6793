/** Runs the common API suite in this process, under Bun and under Deno. */
import { after, before, test } from "node:test";
import type { Model } from "../../runtime/model/model.ts";
import { createApp } from "../../server/app.ts";
import { Api } from "./api.ts";
import { apiTests } from "./api-suite.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

let model: Model;
let api: Api;

before(async () => {
  model = await tinyModel();
  const app = createApp(servicesOf(model));
  api = new Api(async (request) => app.fetch(request));
});
after(() => model.dispose());

for (const [name, run] of Object.entries(apiTests)) test(name, () => run(api));
