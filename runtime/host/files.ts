import { createHash, randomUUID } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { ReflowError } from "../common/errors.ts";

/** The folder of downloads and tokenized corpora: `$REFLOW_CACHE`, `$XDG_CACHE_HOME/reflow` or `~/.cache/reflow`. */
export function cacheDirectory(): string {
  const { REFLOW_CACHE, XDG_CACHE_HOME } = process.env;
  return REFLOW_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "reflow");
}

const CHUNK = 1 << 20;

/** Yields the bytes of a file, 1 MiB at a time. All chunks share one buffer, so each overwrites the previous one. */
export function* readChunks(file: string): Generator<Uint8Array> {
  const handle = openFile(file);
  try {
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const length = wrapFileErrors(file, () => readSync(handle, buffer, 0, CHUNK, null));
      if (length === 0) return;
      yield buffer.subarray(0, length);
    }
  } finally {
    closeSync(handle);
  }
}

/** @throws ReflowError `data` if the file does not exist or cannot be read */
export function openFile(file: string): number {
  return wrapFileErrors(file, () => openSync(file, "r"));
}

/** Runs an operation on a file, and converts errors of the system to a ReflowError with code `data`. */
export function wrapFileErrors<T>(file: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === "ENOENT" ? "no such file or folder" : message;
    throw new ReflowError("data", `${file}: ${what}`, "check the path and its permissions", { cause });
  }
}

/** The SHA-256 of a file, in hexadecimal. */
export function hashFile(file: string): string {
  const hash = createHash("sha256");
  for (const chunk of readChunks(file)) hash.update(chunk);
  return hash.digest("hex");
}

/** The SHA-256 of data, in hexadecimal. */
export const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Fills a temporary folder beside `target` and renames it into place, so that `target` is never half-written. An existing
 * folder is replaced, unless another process created it in the meantime, in which case it is kept.
 *
 * @throws ReflowError `data` if the folder cannot be written
 */
export async function writeFolder(target: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const prefix = `${basename(target)}.tmp-`;
  const temporary = join(dirname(target), prefix + randomUUID());
  try {
    await mkdir(temporary, { recursive: true });
    await removeAbandoned(dirname(target), prefix);
    const replaced = await identity(target);
    await fill(temporary);
    if (replaced !== undefined && replaced === (await identity(target))) {
      await rm(target, { recursive: true, force: true });
    }
    await rename(temporary, target).catch(async (error) => {
      if ((await identity(target)) === undefined) throw error;
    });
  } catch (cause) {
    if (cause instanceof ReflowError) throw cause;
    throw new ReflowError(
      "data",
      `could not write ${target}: ${(cause as Error).message}`,
      "free some space or choose another folder; set REFLOW_CACHE to move the cache",
      { cause },
    );
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
  }
}

async function identity(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.ino;
}

/** Removes temporary folders left behind by processes that were killed during {@link writeFolder}. */
async function removeAbandoned(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > DAY_MS) await rm(path, { recursive: true, force: true });
  }
}
