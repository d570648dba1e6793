import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";
import { type FileRecord, hashFile, readTextIfAny, replaceDurably, temporary, writeDurably } from "./disk.ts";

const schema = v.object({
  files: v.record(
    v.pipe(v.string(), v.regex(/^[^/\\]+$/)),
    v.object({
      size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
    }),
  ),
});

/** `manifest.json`: every other file of the folder, by name. */
export type Manifest = Record<string, FileRecord>;

/** What to do about a checkpoint that isn't as its manifest says. */
export const DAMAGED = "copy the checkpoint again, or use another one";

/**
 * A checkpoint folder's manifest, or undefined where it has none.
 *
 * @throws ReflowError `checkpoint` where it can't be understood
 */
export function readManifest(folder: string): Manifest | undefined {
  const path = join(folder, "manifest.json");
  const text = readTextIfAny(path);
  if (text === undefined) return undefined;
  try {
    return v.parse(schema, JSON.parse(text)).files;
  } catch (cause) {
    throw new ReflowError("checkpoint", `${path} lists no files with sizes and hashes`, DAMAGED, { cause });
  }
}

/** Writes the manifest so that at every instant the old or the new one is there. */
export function replaceManifest(folder: string, files: Manifest): void {
  const path = join(folder, "manifest.json");
  const draft = temporary(path);
  writeDurably(draft, encodeManifest(files));
  replaceDurably(draft, path);
}

export const encodeManifest = (files: Manifest): Uint8Array =>
  new TextEncoder().encode(`${JSON.stringify({ files }, null, 2)}\n`);

/**
 * Compares sizes with the manifest's. Listed files may be missing, so that a checkpoint can be passed on
 * without its optimizer's state, or with its int8 weights alone; {@link checkFile} looks for those that are
 * needed.
 *
 * @throws ReflowError `checkpoint` naming the file
 */
export function checkSizes(folder: string, manifest: Manifest): void {
  for (const [name, { size }] of Object.entries(manifest)) {
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found && found.size !== size) {
      const message = `${path} has ${found.size} bytes where manifest.json says ${size}`;
      throw new ReflowError("checkpoint", message, DAMAGED);
    }
  }
}

/**
 * Checks a file that is about to be read: it must be there if it is listed, and have the listed hash.
 *
 * @throws ReflowError `checkpoint` naming the file
 */
export function checkFile(folder: string, name: string, manifest: Manifest): void {
  if (!Object.hasOwn(manifest, name)) return;
  const path = join(folder, name);
  if (!existsSync(path)) {
    throw new ReflowError("checkpoint", `${path} is missing, though manifest.json lists it`, DAMAGED);
  }
  if (hashFile(path) !== manifest[name].sha256) {
    const message = `${path} is corrupt: its SHA-256 is not the one in manifest.json`;
    throw new ReflowError("checkpoint", message, DAMAGED);
  }
}
