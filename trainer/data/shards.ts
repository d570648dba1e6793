import { closeSync, fstatSync, readSync } from "node:fs";
import { basename } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { openFile, wrapFileErrors } from "../../runtime/host/files.ts";

export type TokenType = "uint16" | "uint32";

export const tokenBytes = (type: TokenType): number => (type === "uint16" ? 2 : 4);

/** A long sequence of token ids on the disk. */
export interface TokenSource {
  /** Number of tokens. */
  readonly length: number;
  /** The name used in errors. */
  readonly name: string;
  /**
   * Fills `into` with the tokens from `position` on.
   *
   * @throws RangeError if the range exceeds the source
   * @throws ReflowError `data` for an id outside the vocabulary, with its file, position and value
   */
  read(position: number, into: Int32Array): void;
  close(): void;
}

export interface OpenTokensOptions {
  /** V: ids must be from 0 to V − 1, which is checked on reading. */
  vocabSize: number;
  /** The type of files without a header. Default: `uint16`. */
  type?: TokenType;
}

/**
 * Opens shards as one sequence, in the given order. A file that starts with a magic number of llm.c has its header of 256
 * int32 [magic, version, count]: 20240520 and 1 for uint16, 20240801 and 7 for uint32. Any other file is read as bare
 * little-endian ids, as written by nanoGPT and {@link prepareData}.
 *
 * @throws ReflowError `data` if a file is empty, is not a whole number of ids, or does not match its header
 */
export function openTokens(paths: string | readonly string[], options: OpenTokensOptions): TokenSource {
  const shards: Shard[] = [];
  try {
    for (const path of [paths].flat()) shards.push(openShard(path, options.type ?? "uint16"));
  } catch (error) {
    for (const { handle } of shards) closeSync(handle);
    throw error;
  }
  const starts = [0];
  for (const { length } of shards) starts.push(starts.at(-1)! + length);
  const length = starts.pop()!;
  return {
    length,
    name: basename(shards[0].path) + (shards.length > 1 ? ` and ${shards.length - 1} more` : ""),
    read(position, into) {
      if (position < 0 || position + into.length > length) {
        throw new RangeError(`tokens ${position} to ${position + into.length} of ${length}`);
      }
      let shard = starts.findLastIndex((start) => start <= position);
      for (let done = 0; done < into.length; shard++) {
        const from = position + done - starts[shard];
        const count = Math.min(into.length - done, shards[shard].length - from);
        readShard(shards[shard], from, into.subarray(done, done + count), options.vocabSize);
        done += count;
      }
    },
    close() {
      for (const { handle } of shards) closeSync(handle);
    },
  };
}

/** A range of a source's tokens. Closing the source closes the slice as well; closing the slice has no effect. */
export function sliceTokens(source: TokenSource, start: number, length: number): TokenSource {
  if (start < 0 || length < 0 || start + length > source.length) {
    throw new RangeError(`tokens ${start} to ${start + length} of ${source.length}`);
  }
  return {
    length,
    name: source.name,
    read(position, into) {
      if (position < 0 || position + into.length > length) {
        throw new RangeError(`tokens ${position} to ${position + into.length} of ${length}`);
      }
      source.read(start + position, into);
    },
    close() {},
  };
}

interface Shard {
  path: string;
  handle: number;
  type: TokenType;
  /** Bytes before the first token. */
  header: number;
  /** Number of tokens. */
  length: number;
}

const HEADER_BYTES = 256 * 4;
const LLMC: { magic: number; version: number; type: TokenType }[] = [
  { magic: 20240520, version: 1, type: "uint16" },
  { magic: 20240801, version: 7, type: "uint32" },
];

function openShard(path: string, bareType: TokenType): Shard {
  const handle = openFile(path);
  const refuse = (what: string, help: string): never => {
    closeSync(handle);
    throw new ReflowError("data", `${path}: ${what}`, help);
  };
  const { size } = fstatSync(handle);
  if (size === 0) refuse("the file is empty", "pass a file of token ids");
  const header = new Int32Array(3);
  wrapFileErrors(path, () => readSync(handle, header, 0, 12, 0));
  const [magic, version, count] = header;
  const format = LLMC.find((known) => known.magic === magic);
  if (!format) {
    const width = tokenBytes(bareType);
    if (size % width) {
      refuse(
        `${size} bytes are not a whole number of ${bareType} ids`,
        "the file may be truncated; create it again",
      );
    }
    return { path, handle, type: bareType, header: 0, length: size / width };
  }
  if (version !== format.version) {
    refuse(
      `version ${version} of llm.c's format ${magic} is not supported`,
      `expected version ${format.version}`,
    );
  }
  const expected = HEADER_BYTES + count * tokenBytes(format.type);
  if (count <= 0 || size !== expected) {
    refuse(
      `the header says ${count} tokens (${expected} bytes), but the file has ${size} bytes`,
      "the file may be truncated; create it again",
    );
  }
  return { path, handle, type: format.type, header: HEADER_BYTES, length: count };
}

/** Size in bytes of the buffer through which tokens are read. */
const SCRATCH = 1 << 16;
const bytes = new Uint8Array(SCRATCH);
const asUint16 = new Uint16Array(bytes.buffer);
const asUint32 = new Uint32Array(bytes.buffer);

function readShard(shard: Shard, from: number, into: Int32Array, vocabSize: number): void {
  const { path, handle, type, header } = shard;
  const width = tokenBytes(type);
  const ids = type === "uint16" ? asUint16 : asUint32;
  for (let done = 0; done < into.length; ) {
    const count = Math.min(into.length - done, SCRATCH / width);
    const at = header + (from + done) * width;
    const found = wrapFileErrors(path, () => readSync(handle, bytes, 0, count * width, at));
    if (found !== count * width) {
      throw new ReflowError(
        "data",
        `${path} ends before byte ${at + count * width}`,
        "the file was truncated while in use; create it again",
      );
    }
    for (let i = 0; i < count; i++) {
      const id = ids[i];
      if (id >= vocabSize) {
        throw new ReflowError(
          "data",
          `${path}: token ${from + done + i} is ${id}, but the vocabulary has ${vocabSize} tokens`,
          "use the tokenizer and vocabulary size with which the file was created",
        );
      }
      into[done + i] = id;
    }
    done += count;
  }
}
