import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createTarGzip } from "nanotar";
import { type DataPackage, fetchPackage } from "../../../trainer/data/registry.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

const tarball = await createTarGzip([
  { name: "package/package.json", data: "{}" },
  { name: "package/data/a.txt", data: "Fellow citizens" },
  { name: "package/data/empty.txt", data: "" },
]);
const integrityOf = (data: Uint8Array) => `sha512-${createHash("sha512").update(data).digest("base64")}`;
const pinned: DataPackage = {
  name: "@scope/corpus",
  version: "1.2.3",
  integrity: integrityOf(tarball),
  alternative: "pass your own text with --data FILE|FOLDER",
};

let server: Server;
let requests: string[];
let respond: RequestListener;
const settings = ["npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig"];
const saved = Object.fromEntries(settings.map((name) => [name, process.env[name]]));
const cwd = process.cwd();

beforeEach(async () => {
  requests = [];
  respond = (_, response) => response.end(tarball);
  server = createServer((request, response) => {
    requests.push(request.url!);
    respond(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.env.npm_config_registry = address();
});

afterEach(async () => {
  process.chdir(cwd);
  for (const name of settings) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
  await stopServer();
});

const address = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

async function stopServer(): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

const readA = (folder: string) => readFileSync(join(folder, "data/a.txt"), "utf8");

describe("fetching", () => {
  test("unpacks the package into the cache, which later calls use without a network", async () => {
    const cacheDir = temporaryFolder();
    const progress: number[][] = [];
    const onProgress = (done: number, of: number) => progress.push([done, of]);
    const folder = await fetchPackage(pinned, { cacheDir, onProgress });
    expect(requests).toEqual(["/@scope/corpus/-/corpus-1.2.3.tgz"]);
    expect(readA(folder)).toBe("Fellow citizens");
    expect(existsSync(join(folder, "data/empty.txt"))).toBe(true);
    expect(progress.at(-1)).toEqual([tarball.length, tarball.length]);
    await stopServer();
    expect(await fetchPackage(pinned, { cacheDir })).toBe(folder);
    expect(readdirSync(join(cacheDir, "packages"))).toEqual(["scope-corpus-1.2.3"]);
  });

  test("concurrent calls all succeed", async () => {
    const cacheDir = temporaryFolder();
    const folders = await Promise.all([1, 2, 3].map(() => fetchPackage(pinned, { cacheDir })));
    expect(folders.map(readA)).toEqual(["Fellow citizens", "Fellow citizens", "Fellow citizens"]);
    expect(readdirSync(join(cacheDir, "packages"))).toHaveLength(1);
  });

  test("the registry may be set in the user's .npmrc, for the scope or globally", async () => {
    for (const line of [`registry=${address()}`, `@scope:registry = ${address().slice(0, -1)}`]) {
      delete process.env.npm_config_registry;
      delete process.env.NPM_CONFIG_REGISTRY;
      const folder = temporaryFolder({ ".npmrc": "save=false\n", "home/.npmrc": `save=false\n${line}\n` });
      process.chdir(folder);
      process.env.npm_config_userconfig = join(folder, "home/.npmrc");
      expect(readA(await fetchPackage(pinned, { cacheDir: folder }))).toBe("Fellow citizens");
      process.chdir(cwd);
    }
  });
});

describe("a damaged cache entry is fetched again", () => {
  const damages: Record<string, (folder: string) => void> = {
    "a truncated file": (folder) => truncateSync(join(folder, "package/data/a.txt"), 3),
    "a missing file": (folder) => rmSync(join(folder, "package/data/a.txt")),
    "another text of the same length": (folder) =>
      writeFileSync(join(folder, "package/data/a.txt"), "fellow citizens"),
    "no manifest": (folder) => rmSync(join(folder, "manifest.json")),
    "a truncated manifest": (folder) => truncateSync(join(folder, "manifest.json"), 20),
    "an invalid manifest": (folder) => writeFileSync(join(folder, "manifest.json"), "[]"),
  };
  for (const [name, damage] of Object.entries(damages)) {
    test(name, async () => {
      const cacheDir = temporaryFolder();
      const folder = await fetchPackage(pinned, { cacheDir });
      damage(join(folder, ".."));
      expect(readA(await fetchPackage(pinned, { cacheDir }))).toBe("Fellow citizens");
      expect(requests).toHaveLength(2);
    });
  }

  test("without a network, the error reports the damage and keeps the files", async () => {
    const cacheDir = temporaryFolder();
    const folder = await fetchPackage(pinned, { cacheDir });
    truncateSync(join(folder, "data/a.txt"), 3);
    await stopServer();
    const text = await errorText("network", () => fetchPackage(pinned, { cacheDir }));
    expect(text).toContain("is damaged");
    expect(text).toContain("--data FILE|FOLDER");
    expect(readA(folder)).toBe("Fel");
  });
});

describe("errors name the cause and the alternative", () => {
  const fails = async (code: "network" | "data", expected: RegExp, timeoutMs?: number) => {
    const cacheDir = temporaryFolder();
    const text = await errorText(code, () => fetchPackage(pinned, { cacheDir, timeoutMs }));
    expect(text).toMatch(expected);
    expect(text).toContain("@scope/corpus@1.2.3");
    expect(text).toContain("pass your own text with --data FILE|FOLDER");
    expect(existsSync(join(cacheDir, "packages"))).toBe(false);
  };

  test("no server", async () => {
    await stopServer();
    await fails("network", /could not fetch .* from http:\/\/127\.0\.0\.1/);
  });

  test("a registry with a password, which is omitted from the error", async () => {
    process.env.npm_config_registry = "http://user:secret@127.0.0.1:1/";
    await fails("network", /from http:\/\/127\.0\.0\.1:1\/: /);
  });

  test("an HTTP error", async () => {
    respond = (_, response) => response.writeHead(404).end("not found");
    await fails("network", /HTTP 404/);
  });

  test("other contents", async () => {
    respond = (_, response) => response.end(tarball.slice(0, -1));
    await fails("data", /not the published package: its hash is sha512-/);
  });

  test("a connection closed half-way", async () => {
    respond = (_, response) => {
      response.writeHead(200, { "content-length": tarball.length });
      response.write(tarball.slice(0, 100), () => response.destroy());
    };
    await fails("network", /could not fetch/);
  });

  test("a server that stops sending", async () => {
    respond = (_, response) => {
      response.writeHead(200, { "content-length": tarball.length });
      response.write(tarball.slice(0, 100));
    };
    await fails("network", /no data received for 0\.1 s/, 100);
  });

  test("a server that never answers", async () => {
    respond = () => {};
    await fails("network", /no data received for 0\.1 s/, 100);
  });
});

test("a slow download succeeds as long as data keeps arriving", async () => {
  respond = async (_, response) => {
    for (let at = 0; at < tarball.length; at += 64) {
      response.write(tarball.slice(at, at + 64));
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    response.end();
  };
  expect(tarball.length).toBeGreaterThan(128);
  const folder = await fetchPackage(pinned, { cacheDir: temporaryFolder(), timeoutMs: 150 });
  expect(readA(folder)).toBe("Fellow citizens");
});

test("a file outside the package is an error, and nothing is written", async () => {
  for (const name of ["package/../../evil.txt", "/evil.txt", "../evil.txt", "evil.txt"]) {
    const evil = await createTarGzip([
      { name: "package/a.txt", data: "a" },
      { name, data: "evil" },
    ]);
    respond = (_, response) => response.end(evil);
    const cacheDir = temporaryFolder();
    const run = () => fetchPackage({ ...pinned, integrity: integrityOf(evil) }, { cacheDir });
    expect(await errorText("data", run)).toContain("outside its folder: evil.txt");
    expect(readdirSync(cacheDir)).toEqual([]);
  }
});

test("a cache that cannot be written", async () => {
  const cacheDir = join(temporaryFolder({ file: "" }), "file");
  const text = await errorText("data", () => fetchPackage(pinned, { cacheDir }));
  expect(text).toContain(`could not write ${cacheDir}`);
  expect(text).toContain("REFLOW_CACHE");
});
