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

/** Help for a checkpoint that does not match its manifest. */
export const DAMAGED = "copy the checkpoint again, or use another one";

/**
 * The manifest of a checkpoint folder, or undefined if it has none.
 *
 * @throws ReflowError `checkpoint` if it cannot be parsed
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

/** Writes the manifest so that at every instant either the old or the new one exists. */
export function replaceManifest(folder: string, files: Manifest): void {
  const path = join(folder, "manifest.json");
  const draft = temporary(path);
  writeDurably(draft, encodeManifest(files));
  replaceDurably(draft, path);
}

export const encodeManifest = (files: Manifest): Uint8Array =>
  new TextEncoder().encode(`${JSON.stringify({ files }, null, 2)}\n`);

/**
 * Compares file sizes with the manifest. Listed files may be missing, so that a checkpoint can be shared without its
 * optimizer state or with its int8 weights only; {@link checkFile} checks those that are needed.
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
 * Checks a file that is about to be read: if listed, it must exist and have the listed hash.
 *
 * @throws ReflowError `checkpoint` naming the file
 */
export function checkFile(folder: string, name: string, manifest: Manifest): void {
  if (!Object.hasOwn(manifest, name)) return;
  const path = join(folder, name);
  if (!existsSync(path)) {
    throw new ReflowError("checkpoint", `${path} is missing, but manifest.json lists it`, DAMAGED);
  }
  if (hashFile(path) !== manifest[name].sha256) {
    const message = `${path} is corrupt: its SHA-256 differs from the one in manifest.json`;
    throw new ReflowError("checkpoint", message, DAMAGED);
  }
}
