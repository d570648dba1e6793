/** Durable files: what reaches the disk, in which order, and what to say when it doesn't. */
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ReflowError } from "../common/errors.ts";

/** A file as `manifest.json` lists it. */
export interface FileRecord {
  /** bytes */
  size: number;
  /** hexadecimal */
  sha256: string;
}

/** A name beside `path` that nobody else uses, for what is not complete yet or is being deleted. */
export const temporary = (path: string): string =>
  join(dirname(path), `.${basename(path)}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`);

/** Removes what interrupted writes left in a folder under {@link temporary}'s names. */
export function removeTemporaries(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (/^\..+\.tmp-\d+-[0-9a-f]{8}$/.test(name))
      rmSync(join(folder, name), { recursive: true, force: true });
  }
}

export const codeOf = (error: unknown): string | undefined =>
  (error as NodeJS.ErrnoException | null | undefined)?.code;

/** Writes all bytes; a single write may stop short, where the disk fills up for example. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
}

/** Writes a file that is on the disk when this returns; its name is only after {@link syncFolder}. */
export function writeDurably(path: string, bytes: Uint8Array): FileRecord {
  const fd = openSync(path, "w");
  try {
    writeFully(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** Puts `from` in the place of `to` for good: at every instant `to` is the old file or the new one. */
export function replaceDurably(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
}

/** Makes the creations, renames and removals in a folder durable. Windows can't and needn't. */
export function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some network and user-space file systems don't know fsync on folders.
    if (codeOf(error) !== "EINVAL") throw error;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file for reading.
 *
 * @throws ReflowError `format` where it is not there, or may not be read
 */
export function openToRead(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw readError(cause, path);
  }
}

/** A file's SHA-256 in hexadecimal, through 1 MiB of memory. */
export function hashFile(path: string): string {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(2 ** 20);
  const fd = openToRead(path);
  try {
    for (let n = 1; n > 0; ) {
      n = readSync(fd, buffer, 0, buffer.length, null);
      hash.update(buffer.subarray(0, n));
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

/** A file's text, or undefined where there is no such file. */
export function readTextIfAny(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw readError(cause, path);
  }
}

const readError = (cause: unknown, path: string): ReflowError =>
  new ReflowError(
    "format",
    `${path} could not be opened (${codeOf(cause)})`,
    "check the path and its permissions",
    { cause },
  );

/** Removes what a failed write left behind. That this may fail too must not hide why the write did. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {}
}

const FULL = "remove old checkpoints there, or write elsewhere; what was saved before is still there";
const CLOSED = "give a folder that can be written to, or mend its permissions";
/** Why a write fails, and what to do about it, by the system's error code. */
const REASONS: Record<string, [why: string, help: string]> = {
  ENOSPC: ["no space is left on the disk", FULL],
  EDQUOT: ["the disk quota is used up", FULL],
  EFBIG: ["the file is larger than is allowed there", "raise the limit (ulimit -f), or write elsewhere"],
  EACCES: ["there is no permission to write there", CLOSED],
  EPERM: ["there is no permission to write there", CLOSED],
  EROFS: ["the file system is read-only", CLOSED],
  ENOTDIR: ["a part of the path is a file, not a folder", "give another path"],
  ENOENT: ["a part of the path does not exist", "give another path"],
  EEXIST: ["something else is there", "give another path"],
  EISDIR: ["a folder is there", "give another path"],
  ENAMETOOLONG: ["the name is too long", "give a shorter path"],
  ELOOP: ["its links lead in a circle", "give another path"],
  EIO: ["the disk reports an error", "write to another disk"],
};

/**
 * What to throw when writing `path` failed: a ReflowError `checkpoint` where a user can mend it, or the cause
 * itself. An error of a file inside `path` is told of `path`, since the file's folder is a temporary one.
 */
export function diskError(cause: unknown, path: string): unknown {
  const root = cause instanceof ReflowError && cause.code === "checkpoint" ? cause.cause : cause;
  const code = codeOf(root);
  if (!code || !Object.hasOwn(REASONS, code)) return cause;
  const [why, help] = REASONS[code];
  const message = `${path} could not be written: ${why} (${code}${help === FULL ? spaceLeft(path) : ""})`;
  return new ReflowError("checkpoint", message, help, { cause: root });
}

function spaceLeft(path: string): string {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return `, ${Math.floor((bavail * bsize) / 1e6)} MB free`;
  } catch {
    return "";
  }
}
