/** Checks of `--out` before a long computation, and writes that leave no half-written files. */
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { discard, diskError, replaceDurably, temporary, writeDurably } from "../../runtime/formats/disk.ts";

/** Checks `--out` before anything is computed. @throws ReflowError `usage` if `path` cannot be written as a file */
export function checkOutputFile(path: string): void {
  const wrong = (what: string) =>
    new ReflowError("usage", `--out ${path}: ${what}`, "give the path of a file");
  if (existsSync(path) && !statSync(path).isFile()) throw wrong("exists and is not a file");
  if (!existsSync(dirname(path))) throw wrong(`folder ${dirname(path)} does not exist`);
}

/** Checks `--out` before anything is computed. @throws ReflowError `usage` if `folder` cannot be created */
export function checkOutputFolder(folder: string): void {
  let path = resolve(folder);
  while (!existsSync(path)) path = dirname(path);
  if (statSync(path).isDirectory()) return;
  throw new ReflowError("usage", `--out ${folder}: ${path} is not a folder`, "give the path of a folder");
}

/**
 * Writes files into a folder, creating it if needed and replacing files of the same names. Each file is replaced atomically, and
 * none is replaced before all of them have been written to disk.
 *
 * @throws ReflowError `checkpoint` if the disk refuses a write
 */
export function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  let created: string | undefined; // the topmost folder that was created
  const drafts: [draft: string, path: string][] = [];
  try {
    created = mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      const path = join(folder, name);
      const draft = temporary(path);
      drafts.push([draft, path]);
      writeDurably(draft, new TextEncoder().encode(text));
    }
    for (const [draft, path] of drafts) replaceDurably(draft, path);
  } catch (cause) {
    for (const [draft] of drafts) discard(draft);
    if (created !== undefined) rmSync(created, { recursive: true, force: true });
    throw diskError(cause, folder);
  }
}
