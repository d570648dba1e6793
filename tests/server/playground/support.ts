import { afterAll, beforeAll, describe } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { HELD_OUT } from "../../../runtime/formats/checkpoint-tensors.ts";
import { type Intervention, loadModel, type Model } from "../../../runtime/mod.ts";
import { createApp } from "../../../server/app.ts";
import { assets } from "../../../server/assets.ts";
import { launchChromium, noChromium } from "../../browser/chromium.ts";
import { servicesOf } from "../services-support.ts";

export const SHIPPED = fileURLToPath(new URL("../../../server/model", import.meta.url));

/** The text that standard deviations and means are computed on. */
export const HELD_OUT_TEXT = readFileSync(`${SHIPPED}/${HELD_OUT}`, "utf8");

/** The initial state of the page, but with greedy sampling, so that rounding differences between engines do not change the text. */
export const PROMPT = "The food was";
export const SAMPLING = { maxTokens: 8, temperature: 0 };
export const START = `#prompt="${PROMPT}"&length=${SAMPLING.maxTokens}&temperature=${SAMPLING.temperature}`;
/** The default intervention of the page, without its target. */
export const STEERING = {
  op: "add",
  hook: "hook_resid_post",
  layers: [0, 3],
  strength: 0.1,
  unit: "residNorm",
} as const;
export const interventions: Intervention[] = [{ ...STEERING, target: { expression: "happy - sad" } }];

/** The expected texts of both runs. */
export async function runsOf(model: Model): Promise<{ default: string; steered: string }> {
  const texts = { default: PROMPT, steered: PROMPT };
  for await (const event of model.steer(PROMPT, { ...SAMPLING, interventions })) {
    texts[event.run] += event.text;
  }
  return texts;
}

/** Serves the app with its page, as the entry points do. */
export function serveApp(model: Model, keys: readonly string[] = []): Bun.Server<undefined> {
  const reference = model.tokenizer.encode(HELD_OUT_TEXT, { allowSpecial: true });
  const app = createApp(servicesOf(model, { name: "nano", reference, keys, assets: assets(SHIPPED) }));
  return Bun.serve({
    hostname: "localhost",
    port: 0,
    idleTimeout: 60,
    fetch: (request) => app.fetch(request),
  });
}

export interface Setting {
  model: Model;
  server: Bun.Server<undefined>;
  browser: Browser;
}

/** Tests with the app and a browser; skipped if no browser is installed. The setting is filled in before the tests run. */
export function playgroundSuite(name: string, tests: (setting: Setting) => void): void {
  describe.skipIf(noChromium !== undefined)(`${name}${noChromium ? `: ${noChromium}` : ""}`, () => {
    const setting = {} as Setting;
    beforeAll(async () => {
      setting.model = await loadModel(SHIPPED, { device: "wasm", threads: 2 });
      setting.server = serveApp(setting.model);
      setting.browser = await launchChromium();
    }, 60_000);
    afterAll(async () => {
      await setting.browser?.close();
      await setting.server?.stop(true);
      setting.model?.dispose();
    });
    tests(setting);
  });
}

/** Opens an address, and collects the errors of the page and the gzipped size of every file that it loads. */
export async function open(browser: Browser, address: string | URL, width = 1280) {
  const page = await browser.newPage({ viewport: { width, height: 860 }, reducedMotion: "reduce" });
  page.setDefaultTimeout(10_000);
  const problems: string[] = [];
  const loaded = new Map<string, Promise<number>>();
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("response", (response) => {
    const { pathname } = new URL(response.url());
    const size = () => response.body().then((body) => Bun.gzipSync(new Uint8Array(body)).length);
    // Streams have no body to measure, and the model is excluded.
    if (!pathname.includes("/model/"))
      loaded.set(
        pathname,
        size().catch(() => 0),
      );
  });
  await page.goto(String(address));
  return { page, problems, loaded };
}

/** The text of a run, once the run has ended. */
export async function textOf(page: Page, run: "default" | "steered"): Promise<string> {
  await page.waitForSelector(`[data-run=${run}][aria-busy=false] .token`);
  return (await page.locator(`[data-run=${run}]`).textContent())!.replaceAll("↵", "");
}

/** Width in pixels by which the page scrolls horizontally; it must be 0 on a phone. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
