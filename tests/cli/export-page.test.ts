import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { loadModel } from "../../runtime/mod.ts";
import { launchChromium, noChromium } from "../browser/chromium.ts";
import { open, overflow, runsOf, SHIPPED, START, textOf } from "../server/playground/support.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { json, refused } from "./support.ts";

describe("export-page", () => {
  test("quantises the weights of an f32 checkpoint without modifying it", async () => {
    const folder = temporaryFolder();
    const checkpoint = join(folder, "tiny");
    await writeTinyCheckpoint(checkpoint);
    const before = readdirSync(checkpoint).sort();
    const { files } = await json<{ files: Record<string, number> }>(
      "export-page",
      checkpoint,
      "--out",
      join(folder, "site"),
    );
    expect(files["model/model.int8.safetensors"]).toBeGreaterThan(0);
    expect(readdirSync(checkpoint).sort()).toEqual(before);
    using model = await loadModel(join(folder, "site/model"), { device: "wasm", threads: 1 });
    expect(model.checkpoint).toMatch(/^[0-9a-f]{64}$/);
  }, 20_000);

  test("rejects a folder that is not empty, and invalid checkpoints", async () => {
    const folder = temporaryFolder({ "site/index.html": "mine" });
    expect(await refused("export-page", "--out", join(folder, "site"))).toContain("is not empty");
    expect(await refused("export-page", join(folder, "nothing"), "--out", join(folder, "new"))).toContain(
      "does not exist",
    );
    expect(readdirSync(folder)).toEqual(["site"]);
  }, 20_000);
});

describe.skipIf(noChromium !== undefined)(`an offline copy${noChromium ? `: ${noChromium}` : ""}`, () => {
  let server: Bun.Server<undefined>;
  let browser: Browser;
  const missing: string[] = [];

  beforeAll(async () => {
    const site = join(temporaryFolder(), "site");
    await json("export-page", "--out", site);
    // A static file server, below a path of its address, without additional headers.
    server = Bun.serve({
      hostname: "localhost",
      port: 0,
      async fetch({ url }) {
        const path = new URL(url).pathname.replace(/^\/demo\//, "") || "index.html";
        const file = Bun.file(join(site, path));
        if (await file.exists()) return new Response(file);
        missing.push(path);
        return new Response("Not found", { status: 404 });
      },
    });
    browser = await launchChromium();
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await server?.stop(true);
  });

  test("generates and steers on one thread, requests nothing from other hosts, and opens links", async () => {
    using model = await loadModel(SHIPPED, { device: "wasm", threads: 1 });
    const expected = await runsOf(model);
    const { page, problems, loaded } = await open(browser, `${server.url}demo/${START}`, 390);
    expect(await textOf(page, "steered")).toBe(expected.steered);
    expect(await textOf(page, "default")).toBe(expected.default);
    expect(await page.getByText("Running in the browser").count()).toBe(1);
    expect(await overflow(page)).toBe(0);
    await page.getByRole("tab", { name: "Lens" }).click();
    await page.getByRole("table").waitFor();
    await page.waitForFunction(() => location.hash.includes("lens"));
    await page.reload();
    await page.getByRole("table").waitFor();
    expect([...loaded.keys()].every((path) => path.startsWith("/demo/"))).toBe(true);
    expect(missing).toEqual([]);
    expect(problems).toEqual([]);
    await page.close();
  }, 30_000);
});
