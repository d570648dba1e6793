import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** The reason to skip tests in Chromium, or undefined if they can run. */
export const noChromium = existsSync(executablePath)
  ? undefined
  : `${executablePath} not found: install Debian's chromium, or set CHROMIUM to the path of another one`;

/** Starts Chromium headless, with WebGPU on its built-in software adapter. */
export function launchChromium(): Promise<Browser> {
  const args = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
  return chromium.launch({ executablePath, args, timeout: 120_000 });
}

/** The files of a server, by path. */
export type Files = Record<string, Blob>;

/** The files of a folder and its subfolders, with `prefix` before their paths. */
export function filesIn(folder: string, prefix: string): Files {
  const names = [...new Bun.Glob("**/*").scanSync(folder)];
  return Object.fromEntries(names.map((name) => [`${prefix}/${name}`, Bun.file(join(folder, name))]));
}

/**
 * Serves files, opens an address among them and waits for the promise that the page's script stores in `report`.
 *
 * @param options.isolated whether the page is cross-origin isolated, which threads require
 * @returns the value of the promise, and the errors that the page logged or threw
 */
export async function visit<Report>(
  browser: Browser,
  files: Files,
  address: string,
  options: { isolated: boolean },
): Promise<{ report: Report; problems: string[] }> {
  const server = serve(files, options.isolated ? ISOLATED : {});
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  try {
    await page.goto(new URL(address, server.url).href);
    return { report: await page.evaluate<Report>("report"), problems };
  } catch (cause) {
    throw new Error([`${address}: ${(cause as Error).message}`, ...problems].join("\n"), { cause });
  } finally {
    await page.close();
    await server.stop(true);
  }
}

const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** Starts a server on a free port. */
function serve(files: Files, headers: HeadersInit): Bun.Server<undefined> {
  return Bun.serve({
    hostname: "localhost",
    port: 0,
    fetch({ url }) {
      const file = files[new URL(url).pathname];
      return file ? new Response(file, { headers }) : new Response("Not found", { status: 404 });
    },
  });
}
