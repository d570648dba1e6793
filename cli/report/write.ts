import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { discard, diskError, replaceDurably, temporary, writeDurably } from "../../runtime/formats/disk.ts";

/** Before anything is computed for `--out`. @throws ReflowError `usage` where no folder can be */
export function checkFolder(folder: string): void {
  let path = resolve(folder);
  while (!existsSync(path)) path = dirname(path);
  if (statSync(path).isDirectory()) return;
  throw new ReflowError("usage", `--out ${folder}: ${path} is no folder`, "give a folder's path");
}

/**
 * Writes files into a folder, which is made where there is none; what has their names is replaced. Each is whole or as it was
 * before, and where one can't be written, none is.
 *
 * @throws ReflowError `checkpoint` where the disk refuses
 */
export function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  let made: string | undefined; // the topmost folder that wasn't there
  const drafts: [draft: string, path: string][] = [];
  try {
    made = mkdirSync(folder, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      const path = join(folder, name);
      const draft = temporary(path);
      drafts.push([draft, path]);
      writeDurably(draft, new TextEncoder().encode(text));
    }
    for (const [draft, path] of drafts) replaceDurably(draft, path);
  } catch (cause) {
    for (const [draft] of drafts) discard(draft);
    if (made !== undefined) rmSync(made, { recursive: true, force: true });
    throw diskError(cause, folder);
  }
}
