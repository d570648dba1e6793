import { createHash } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, openSync, readSync } from "node:fs";
import type { HostArray } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { diskError, type FileRecord, openToRead, writeFully } from "./disk.ts";
import {
  arrayOf,
  elementsOf,
  encodeHeader,
  headerLength,
  parseHeader,
  type SafetensorsHeader,
  type TensorArray,
  type TensorEntry,
} from "./safetensors.ts";
import { type Into, TensorReader } from "./tensor-reader.ts";

/**
 * Opens a safetensors file of any size for reading in chunks.
 *
 * @throws ReflowError `format` if the file does not exist or its header is invalid
 * @example
 * const file = openTensorFile("model.safetensors");
 * for (const name of file.tensors.keys()) {
 *   file.readF32(name, (chunk, offset) => backend.write(weights[name], chunk, offset));
 * }
 * file.close();
 */
export function openTensorFile(path: string): TensorFile {
  const fd = openToRead(path);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ReflowError("format", `${path} is not a file`, "give a safetensors file");
    const start = new Uint8Array(Math.min(8, stat.size));
    readFully(fd, start, 0, path);
    const bytes = new Uint8Array(8 + headerLength(start, stat.size, path));
    readFully(fd, bytes, 0, path);
    return new TensorFile(path, fd, parseHeader(bytes, stat.size, path));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function readFully(fd: number, bytes: Uint8Array, position: number, path: string): void {
  for (let at = 0; at < bytes.length; ) {
    const n = readSync(fd, bytes, at, bytes.length - at, position + at);
    if (n === 0) throw new ReflowError("format", `${path} was truncated while it was read`, "read it again");
    at += n;
  }
}

/** A safetensors file on disk, open for reading, created by {@link openTensorFile}. */
export class TensorFile extends TensorReader {
  readonly #fd: number;
  readonly #dataStart: number;

  constructor(path: string, fd: number, header: SafetensorsHeader) {
    super(path, header);
    this.#fd = fd;
    this.#dataStart = header.dataStart;
  }

  override read(name: string, into: Into<HostArray>, chunkElements?: number): void {
    this.#fill(name, this.chunks(name, into, chunkElements));
  }

  override readF32(name: string, into: Into<Float32Array>, chunkElements?: number): void {
    this.#fill(name, this.f32Chunks(name, into, chunkElements));
  }

  close(): void {
    closeSync(this.#fd);
  }

  #fill(name: string, chunks: Iterable<Uint8Array>): void {
    let position = this.#dataStart + this.info(name).begin;
    for (const bytes of chunks) {
      readFully(this.#fd, bytes, position, this.path);
      position += bytes.length;
    }
  }
}

/**
 * Creates a safetensors file that is written in chunks.
 *
 * @throws ReflowError `checkpoint` if it cannot be written
 * @example
 * const file = createTensorFile("a.safetensors", [{ name: "x", dtype: "F32", shape: [2, 2] }]);
 * file.write("x", Float32Array.of(1, 2));
 * file.write("x", Float32Array.of(3, 4));
 * const { size, sha256 } = file.close();
 */
export function createTensorFile(
  path: string,
  entries: readonly TensorEntry[],
  metadata?: Readonly<Record<string, string>>,
): TensorFileWriter {
  const header = encodeHeader(entries, metadata);
  let fd: number;
  try {
    fd = openSync(path, "w");
  } catch (cause) {
    throw diskError(cause, path);
  }
  return new TensorFileWriter(path, fd, entries, header);
}

/** A safetensors file being written, created by {@link createTensorFile}. */
export class TensorFileWriter {
  readonly #fd: number;
  #open = true;
  readonly #hash = createHash("sha256");
  #size = 0;
  /** The remaining tensors in order, with the number of elements missing from each. */
  readonly #pending: { name: string; dtype: TensorEntry["dtype"]; missing: number }[];

  constructor(
    readonly path: string,
    fd: number,
    entries: readonly TensorEntry[],
    header: Uint8Array,
  ) {
    this.#fd = fd;
    this.#pending = entries
      .map(({ name, dtype, shape }) => ({ name, dtype, missing: elementsOf(shape) }))
      .filter(({ missing }) => missing > 0);
    this.#append(header);
  }

  /**
   * Appends the next elements of a tensor. Tensors follow in the order of the header, each complete before the next.
   *
   * @throws RangeError if the chunk does not come next
   * @throws ReflowError `checkpoint` if the write fails, for example because the disk is full
   */
  write(name: string, chunk: TensorArray): void {
    if (chunk.length === 0) return;
    const next = this.#pending[0];
    if (next?.name !== name) {
      throw new RangeError(
        `tensor "${name}" is written where ${next ? `"${next.name}"` : "the end"} comes next`,
      );
    }
    if (!(chunk instanceof arrayOf(next.dtype)) || chunk.length > next.missing) {
      const got = `${chunk.constructor.name}(${chunk.length})`;
      throw new RangeError(
        `tensor "${name}": ${got} where at most ${next.missing} of ${next.dtype} are missing`,
      );
    }
    this.#append(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    next.missing -= chunk.length;
    if (next.missing === 0) this.#pending.shift();
  }

  /** Flushes the file to disk and closes it. */
  close(): FileRecord {
    if (this.#pending.length) throw new RangeError(`tensor "${this.#pending[0].name}" is not complete`);
    this.#orAbort(() => fsyncSync(this.#fd));
    this.abort();
    return { size: this.#size, sha256: this.#hash.digest("hex") };
  }

  /** Closes the file, complete or not; may be called repeatedly. */
  abort(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #append(bytes: Uint8Array): void {
    this.#orAbort(() => writeFully(this.#fd, bytes));
    this.#hash.update(bytes);
    this.#size += bytes.length;
  }

  #orAbort(write: () => void): void {
    try {
      write();
    } catch (cause) {
      this.abort();
      throw diskError(cause, this.path);
    }
  }
}
