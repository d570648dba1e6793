import { createHash, randomUUID } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import { ReflowError } from "../common/errors.ts";

/** Where downloads and tokenized corpora are kept: `$REFLOW_CACHE`, `$XDG_CACHE_HOME/reflow` or `~/.cache/reflow`. */
export function cacheDirectory(): string {
  const { REFLOW_CACHE, XDG_CACHE_HOME } = process.env;
  return REFLOW_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "reflow");
}

const CHUNK = 1 << 20;

/** A file's bytes, 1 MiB at a time. A chunk is overwritten by the next one. */
export function* readChunks(file: string): Generator<Uint8Array> {
  const handle = openFile(file);
  try {
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const length = asData(file, () => readSync(handle, buffer, 0, CHUNK, null));
      if (length === 0) return;
      yield buffer.subarray(0, length);
    }
  } finally {
    closeSync(handle);
  }
}

/** @throws ReflowError `data` where there is no such file, or it can't be read */
export function openFile(file: string): number {
  return asData(file, () => openSync(file, "r"));
}

/** Runs something on a file; what the system has against it becomes a ReflowError. */
export function asData<T>(file: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === "ENOENT" ? "there is no such file or folder" : message;
    throw new ReflowError("data", `${file}: ${what}`, "check the path, and that you may read it", { cause });
  }
}

export function hashFile(file: string): string {
  const hash = createHash("sha256");
  for (const chunk of readChunks(file)) hash.update(chunk);
  return hash.digest("hex");
}

export const sha256 = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");

const DAY = 24 * 60 * 60 * 1000;

/**
 * Fills a temporary folder beside `target` and renames it into place, so that `target` is never half-written. A folder
 * already there is replaced, unless somebody else has put it there in the meantime: then theirs is as good.
 *
 * @throws ReflowError `data` where the folder can't be written
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
      "free some space or choose another folder; REFLOW_CACHE says where the cache is",
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

/** Whatever was killed in the middle of {@link writeFolder} left its temporary folder behind. */
async function removeAbandoned(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix)) continue;
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > DAY) await rm(path, { recursive: true, force: true });
  }
}
