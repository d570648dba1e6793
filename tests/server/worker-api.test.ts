import { afterAll, beforeAll, describe, test } from "bun:test";
import { join } from "node:path";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { Api } from "./api.ts";
import { apiTests } from "./api-suite.ts";
import { startWorker } from "./worker-support.ts";

let worker: Awaited<ReturnType<typeof startWorker>>;
beforeAll(async () => {
  const model = join(temporaryFolder(), "tiny");
  await writeTinyCheckpoint(model);
  worker = await startWorker({ REFLOW_RATE: "" }, model);
});
afterAll(() => worker.mf.dispose());

describe("the common API suite on workerd", () => {
  const api = new Api(async (request) => {
    const { pathname, search } = new URL(request.url);
    const body = request.method === "POST" ? await request.text() : undefined;
    const { method, headers } = request;
    return fetch(new URL(pathname + search, worker.url), { method, headers, body });
  });
  for (const [name, run] of Object.entries(apiTests)) test(name, () => run(api));
});
