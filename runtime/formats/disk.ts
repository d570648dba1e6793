/** Durable file operations, and errors that say why a write failed. */
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

/** A unique name beside `path`, for a file that is incomplete or being deleted. */
export const temporary = (path: string): string =>
  join(dirname(path), `.${basename(path)}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`);

/** Removes the remains of interrupted writes: files named by {@link temporary}. */
export function removeTemporaries(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (/^\..+\.tmp-\d+-[0-9a-f]{8}$/.test(name))
      rmSync(join(folder, name), { recursive: true, force: true });
  }
}

export const codeOf = (error: unknown): string | undefined =>
  (error as NodeJS.ErrnoException | null | undefined)?.code;

/** Writes all bytes; a single write may be partial, for example when the disk fills up. */
export function writeFully(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
}

/** Writes a file whose content is on disk when this returns; its name is durable only after {@link syncFolder}. */
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

/** Replaces `to` by `from` atomically and durably: at every instant `to` is either the old file or the new one. */
export function replaceDurably(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
}

/** Makes creations, renames and removals in a folder durable. Windows neither supports nor needs this. */
export function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some network and user-space file systems do not support fsync on folders.
    if (codeOf(error) !== "EINVAL") throw error;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file for reading.
 *
 * @throws ReflowError `format` if it does not exist or cannot be read
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

/** A file's text, or undefined if the file does not exist. */
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

/** Removes the remains of a failed write, ignoring further errors so that they do not hide the first. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {}
}

const FULL = "remove old checkpoints there, or write to another disk; earlier checkpoints are intact";
const CLOSED = "use a writable folder, or change its permissions";
/** Why a write fails, and what to do about it, by the system's error code. */
const REASONS: Record<string, [why: string, help: string]> = {
  ENOSPC: ["no space is left on the disk", FULL],
  EDQUOT: ["the disk quota is used up", FULL],
  EFBIG: ["the file exceeds the allowed size", "raise the limit (ulimit -f), or write elsewhere"],
  EACCES: ["permission to write is denied", CLOSED],
  EPERM: ["permission to write is denied", CLOSED],
  EROFS: ["the file system is read-only", CLOSED],
  ENOTDIR: ["a part of the path is a file, not a folder", "give another path"],
  ENOENT: ["a part of the path does not exist", "give another path"],
  EEXIST: ["the path already exists", "give another path"],
  EISDIR: ["it is a folder", "give another path"],
  ENAMETOOLONG: ["the name is too long", "give a shorter path"],
  ELOOP: ["its symbolic links form a loop", "give another path"],
  EIO: ["the disk reports an error", "write to another disk"],
};

/**
 * The error to throw when writing `path` failed: a ReflowError `checkpoint` if a user can fix it, otherwise the cause itself.
 * An error of a file inside `path` is reported for `path`, because the file's folder is temporary.
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
