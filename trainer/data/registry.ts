import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parseTarGzip } from "nanotar";
import registryUrl, { defaultUrl } from "registry-url";
import * as v from "valibot";
import { ReflowError } from "../../runtime/common/errors.ts";
import { cacheDirectory, sha256, writeFolder } from "../../runtime/host/files.ts";

/** A package of data files, pinned to a version and hash. */
export interface DataPackage {
  /** Name, with the scope if it has one. */
  name: string;
  version: string;
  /** `sha512-…`, as in a lock file. */
  integrity: string;
  /** The alternative for a user without a network, for the help text of errors. */
  alternative: string;
}

export interface FetchOptions {
  cacheDir?: string;
  /** Called with the number of bytes received and their total, which is 0 if the server does not report it. */
  onProgress?(done: number, of: number): void;
  /** Longest time without receiving any byte. Default: 30,000. */
  timeoutMs?: number;
}

const manifestSchema = v.object({
  integrity: v.string(),
  files: v.record(v.string(), v.object({ size: v.number(), sha256: v.string() })),
});

/**
 * Fetches a package from the user's npm registry into the cache, without its dependencies and without running its scripts.
 * Only the first call requires a network. A cached package is verified, and fetched again if it is damaged.
 *
 * @returns the folder with the package's files
 * @throws ReflowError `network` if it cannot be fetched; `data` if its hash differs, or if it cannot be written
 */
export async function fetchPackage(pinned: DataPackage, options: FetchOptions = {}): Promise<string> {
  const { cacheDir = cacheDirectory() } = options;
  const { name, version, integrity, alternative } = pinned;
  const folder = join(cacheDir, "packages", `${name.replace("@", "").replace("/", "-")}-${version}`);
  const state = await inspectCache(folder, integrity);
  if (state !== "whole") {
    const tarball = await download(pinned, options).catch((error) => {
      if (state === "absent" || !(error instanceof ReflowError)) throw error;
      throw new ReflowError(
        error.code,
        `${error.message}; the cached copy in ${folder} is damaged`,
        error.help,
        {
          cause: error,
        },
      );
    });
    const found = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
    if (found !== integrity) {
      throw new ReflowError(
        "data",
        `${name}@${version} is not the published package: its hash is ${found}, expected ${integrity}`,
        `contact the administrator of the registry, or ${alternative}`,
      );
    }
    await unpack(tarball, folder, integrity);
  }
  return join(folder, "package");
}

async function inspectCache(folder: string, integrity: string): Promise<"whole" | "broken" | "absent"> {
  let text: string;
  try {
    text = await readFile(join(folder, "manifest.json"), "utf8");
  } catch {
    return "absent";
  }
  try {
    const manifest = v.parse(manifestSchema, JSON.parse(text));
    if (manifest.integrity !== integrity) return "broken";
    for (const [file, expected] of Object.entries(manifest.files)) {
      const data = await readFile(join(folder, file));
      if (data.length !== expected.size || sha256(data) !== expected.sha256) return "broken";
    }
    return "whole";
  } catch {
    return "broken";
  }
}

/** The registry that `npm install` would use. registry-url only searches the working directory and its parents. */
async function registryOf(name: string): Promise<string> {
  const scope = name.startsWith("@") ? name.slice(0, name.indexOf("/")) : undefined;
  const found = registryUrl(scope);
  if (found !== defaultUrl) return found;
  const file = process.env.npm_config_userconfig || join(homedir(), ".npmrc");
  const settings = await readFile(file, "utf8").catch(() => "");
  const setting = (key: string) =>
    settings.match(new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*["']?([^\\s"']+)`, "m"))?.[1];
  const url = (scope && setting(`${scope}:registry`)) || setting("registry") || found;
  return url.endsWith("/") ? url : `${url}/`;
}

async function download(pinned: DataPackage, options: FetchOptions): Promise<Uint8Array> {
  const { name, version, alternative } = pinned;
  const { onProgress, timeoutMs = 30_000 } = options;
  const registry = await registryOf(name);
  const url = `${registry}${name}/-/${name.slice(name.indexOf("/") + 1)}-${version}.tgz`;
  const fail = (what: string, cause?: unknown): never => {
    const message = `could not fetch ${name}@${version} from ${withoutPassword(registry)}: ${what}`;
    throw new ReflowError(
      "network",
      message,
      `check the network and npm's registry setting, or ${alternative}`,
      {
        cause,
      },
    );
  };

  const stop = new AbortController();
  const late = () => stop.abort();
  let timer = setTimeout(late, timeoutMs);
  try {
    const response = await fetch(url, { signal: stop.signal });
    if (!response.ok) fail(`HTTP ${response.status} ${response.statusText}`);
    const of = Number(response.headers.get("content-length") ?? 0);
    const chunks: Uint8Array[] = [];
    let done = 0;
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer);
      timer = setTimeout(late, timeoutMs);
      chunks.push(chunk);
      done += chunk.length;
      onProgress?.(done, of);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (error instanceof ReflowError) throw error;
    if (stop.signal.aborted) return fail(`no data received for ${timeoutMs / 1000} s`, error);
    const { message, cause } = error as Error;
    return fail(cause instanceof Error ? `${message} (${cause.message})` : message, error);
  } finally {
    clearTimeout(timer);
  }
}

const withoutPassword = (url: string): string => url.replace(/\/\/[^/@]*@/, "//");

/** Writes the files to `folder`/package, beside a manifest of their sizes and hashes. */
async function unpack(tarball: Uint8Array, folder: string, integrity: string): Promise<void> {
  const entries = (await parseTarGzip(tarball)).filter((entry) => entry.type === "file");
  // nanotar resolves "..", so a path that would escape the package lacks the prefix of all npm packages.
  const outside = entries.find((entry) => !entry.name.startsWith("package/"));
  if (outside) {
    throw new ReflowError(
      "data",
      `the package contains a file outside its folder: ${outside.name}`,
      "pin another version of the package",
    );
  }
  await writeFolder(folder, async (temporary) => {
    const files: v.InferOutput<typeof manifestSchema>["files"] = {};
    for (const { name, data = new Uint8Array() } of entries) {
      await mkdir(dirname(join(temporary, name)), { recursive: true });
      await writeFile(join(temporary, name), data);
      files[name] = { size: data.length, sha256: sha256(data) };
    }
    await writeFile(join(temporary, "manifest.json"), JSON.stringify({ integrity, files }));
  });
}
