/**
 * Mounts the whole reFlow API under /reflow in a hono application that has a route of its own, and sends it one request.
 *
 * Run: bun docs/examples/serve-inside-hono.ts [PORT]
 */
import { Hono } from "hono";
import { bundledModel, loadModel } from "reflow";
import { createApp, memoryStore, patchStore } from "reflow/server";

// Not `using`: the model is needed for as long as the server runs.
const model = await loadModel(bundledModel());
const pool = model.pool({ slots: 4 });
const api = createApp({
  model,
  name: "nano",
  pool,
  patches: patchStore(memoryStore()),
  keys: ["secret"],
  origins: [],
  log() {},
});

const app = new Hono();
app.get("/", (c) => c.text("My application"));
app.mount("/reflow", api.fetch);

const [port] = process.argv.slice(2);
if (port) {
  const server = Bun.serve({ port: Number(port), hostname: "127.0.0.1", fetch: app.fetch });
  console.log(`Listening on ${server.url}`);
} else {
  // Without a port the example calls the application directly.
  const response = await app.request("/reflow/v1/completions", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer secret" },
    body: JSON.stringify({ prompt: "Once upon a time", max_tokens: 10, temperature: 0 }),
  });
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  console.log(`${response.status}: ${choices[0].text}`);
  await pool.drain();
  model.dispose();
}
