import { afterAll, beforeAll, describe } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { HELD_OUT } from "../../runtime/formats/checkpoint-tensors.ts";
import { type Intervention, loadModel, type Model } from "../../runtime/mod.ts";
import { createApp } from "../../server/app.ts";
import { assets } from "../../server/assets.ts";
import { launchChromium, noChromium } from "../browser/chromium.ts";
import { servicesOf } from "./services.ts";

export const SHIPPED = fileURLToPath(new URL("../../server/model", import.meta.url));

/** What standard deviations and means are taken from. */
export const HELD_OUT_TEXT = readFileSync(`${SHIPPED}/${HELD_OUT}`, "utf8");

/** The page as it starts, but for what is drawn at random: of the likeliest tokens engines' rounding makes no others. */
export const PROMPT = "The food was";
export const SAMPLING = { maxTokens: 8, temperature: 0 };
export const START = `#prompt="${PROMPT}"&length=${SAMPLING.maxTokens}&temperature=${SAMPLING.temperature}`;
/** How the page adds a direction, unless it is told otherwise. */
export const STEERING = {
  op: "add",
  hook: "hook_resid_post",
  layers: [0, 3],
  strength: 0.1,
  unit: "residNorm",
} as const;
export const interventions: Intervention[] = [{ ...STEERING, target: { expression: "happy - sad" } }];

/** What both runs of it should say. */
export async function runsOf(model: Model): Promise<{ default: string; steered: string }> {
  const texts = { default: PROMPT, steered: PROMPT };
  for await (const event of model.steer(PROMPT, { ...SAMPLING, interventions })) {
    texts[event.run] += event.text;
  }
  return texts;
}

/** The app with its page, as the entries serve it. */
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

/** Tests with the app and a browser, where there is one; the setting is there once they run. */
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

/** Opens an address; what goes wrong in it, and bytes that it loads as they would travel, are collected. */
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
    // Of streams there is nothing to weigh; of the model too much.
    if (!pathname.includes("/model/"))
      loaded.set(
        pathname,
        size().catch(() => 0),
      );
  });
  await page.goto(String(address));
  return { page, problems, loaded };
}

/** A run's text, once it has ended. */
export async function textOf(page: Page, run: "default" | "steered"): Promise<string> {
  await page.waitForSelector(`[data-run=${run}][aria-busy=false] .token`);
  return (await page.locator(`[data-run=${run}]`).textContent())!.replaceAll("↵", "");
}

/** What a page must not do on a telephone: scroll sideways. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
