/**
 * The safetensors format: a u64 header length, a JSON header, then the tensors' bytes, little-endian (as
 * every host of a JavaScript engine is), in row-major order and without gaps.
 *
 * @see https://huggingface.co/docs/safetensors
 */
import { ReflowError } from "../common/errors.ts";

const ARRAYS = {
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I8: Int8Array,
  I32: Int32Array,
  I64: BigInt64Array,
  U8: Uint8Array,
} as const;

export type SafetensorsDType = keyof typeof ARRAYS;
/** The arrays that hold tensor elements; F16 and BF16 are bit patterns in a Uint16Array. */
export type TensorArray = Float32Array | Uint16Array | Int8Array | Int32Array | BigInt64Array | Uint8Array;

/** A tensor to be written. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** The location of a tensor: bytes [begin, end), relative to the header's `dataStart`. */
export interface TensorInfo {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly metadata: Record<string, string>;
  /** In the order of their bytes, so that a loop over it reads the file from front to back. */
  readonly tensors: Map<string, TensorInfo>;
  /** Bytes before the first tensor. */
  readonly dataStart: number;
}

export interface TensorData {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly data: TensorArray;
}

/** 64 MiB holds the names of half a million tensors; more is an attack or an accident. */
const MAX_HEADER = 64 * 2 ** 20;

/** The typed array that holds elements of a dtype. */
export const arrayOf = <D extends SafetensorsDType>(dtype: D): (typeof ARRAYS)[D] => ARRAYS[dtype];

/** Elements of a tensor; 1 for a scalar's shape []. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Bytes of a tensor. */
export const bytesOf = ({ dtype, shape }: { dtype: SafetensorsDType; shape: readonly number[] }): number =>
  elementsOf(shape) * ARRAYS[dtype].BYTES_PER_ELEMENT;

function wrong(where: string, what: string, help: string): ReflowError {
  return new ReflowError("format", `${where}: ${what}`, help);
}

const DAMAGED = "the file is damaged or truncated: copy it or create it again";
const MALFORMED = "write the file again with a tool that follows the safetensors format";

/**
 * The length of the header in bytes, without its eight-byte length prefix: how much to read before {@link parseHeader}.
 *
 * @param bytes at least the file's first eight bytes
 * @throws ReflowError `format`
 */
export function headerLength(bytes: Uint8Array, fileSize: number, where = "safetensors"): number {
  if (bytes.length < 8 || fileSize < 8) {
    throw wrong(where, `${fileSize} bytes are too few for a safetensors file`, DAMAGED);
  }
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > MAX_HEADER) {
    throw wrong(where, `a header of ${length} bytes, more than 64 MiB`, "is it a safetensors file?");
  }
  if (8 + length > fileSize) {
    throw wrong(where, `a header of ${length} bytes in a file of ${fileSize} bytes`, DAMAGED);
  }
  return length;
}

/**
 * Parses and checks a header: every tensor lies inside the file and has the size of its shape, and together they cover the
 * data without overlaps or gaps.
 *
 * @param bytes the file, or at least its start up to the end of the header
 * @param fileSize the size of the whole file in bytes; Infinity if unknown
 * @param where the name of the file in errors
 * @throws ReflowError `format` naming the tensor
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, where = "safetensors"): SafetensorsHeader {
  const dataStart = 8 + headerLength(bytes, fileSize, where);
  if (bytes.length < dataStart) {
    throw new RangeError(`${bytes.length} bytes do not hold a header of ${dataStart}`);
  }
  const json = parseJson(bytes.subarray(8, dataStart), where);
  let metadata: Record<string, string> = {};
  const tensors: [string, TensorInfo][] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = checkMetadata(value, where);
    else tensors.push([name, checkTensor(value, fileSize - dataStart, `${where}: tensor ${show(name)}`)]);
  }
  // Stable, so that empty tensors, which share their offset with a neighbour, keep the header's order.
  tensors.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  let previous = "the header";
  for (const [name, info] of tensors) {
    if (info.begin !== end) {
      const what = info.begin < end ? "overlaps" : `leaves a hole of ${info.begin - end} bytes after`;
      throw wrong(where, `tensor ${show(name)} ${what} ${previous}`, MALFORMED);
    }
    end = info.end;
    previous = show(name);
  }
  if (Number.isFinite(fileSize) && end !== fileSize - dataStart) {
    throw wrong(where, `${fileSize - dataStart - end} bytes follow the last tensor, ${previous}`, MALFORMED);
  }
  return { metadata, tensors: new Map(tensors), dataStart };
}

/** A value from the file for an error message: as JSON, truncated. */
function show(value: unknown): string {
  const text = String(JSON.stringify(value));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parseJson(bytes: Uint8Array, where: string): Record<string, unknown> {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    json = JSON.parse(text);
  } catch (cause) {
    throw new ReflowError("format", `${where}: the header is not JSON`, DAMAGED, { cause });
  }
  if (!isObject(json)) throw wrong(where, "the header is not a JSON object", MALFORMED);
  checkKeys(text, where);
  return json;
}

/**
 * JSON.parse silently keeps the last of duplicate keys; here `text`, known to be valid JSON, is searched for them.
 */
function checkKeys(text: string, where: string): void {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "{") open.push(new Set());
    else if (text[i] === "}") open.pop();
    else if (text[i] === '"') {
      const begin = i++;
      for (; text[i] !== '"'; i++) if (text[i] === "\\") i++;
      let next = i + 1;
      while (/\s/.test(text[next])) next++;
      if (text[next] !== ":") continue;
      const key: string = JSON.parse(text.slice(begin, i + 1));
      const keys = open[open.length - 1];
      if (keys.has(key)) throw wrong(where, `${show(key)} appears twice`, MALFORMED);
      if (key === "__proto__") throw wrong(where, `${show(key)} is not a valid name`, MALFORMED);
      keys.add(key);
    }
  }
}

function checkMetadata(value: unknown, where: string): Record<string, string> {
  if (!isObject(value)) throw wrong(where, "__metadata__ is not an object", MALFORMED);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw wrong(where, `__metadata__ ${show(key)} is not a string`, MALFORMED);
  }
  return value as Record<string, string>;
}

function checkTensor(value: unknown, dataBytes: number, where: string): TensorInfo {
  if (!isObject(value)) throw wrong(where, "is not an object", MALFORMED);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAYS, dtype)) {
    const known = Object.keys(ARRAYS).join(", ");
    throw wrong(where, `the dtype is ${show(dtype)}`, `it can be ${known}: convert the tensor`);
  }
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw wrong(where, "the shape is not a list of integers from 0 on", MALFORMED);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw wrong(where, "data_offsets are not two integers from 0 on", MALFORMED);
  }
  const [begin, end] = offsets;
  if (begin > end) throw wrong(where, `begins at ${begin}, after its end ${end}`, MALFORMED);
  if (end > dataBytes) throw wrong(where, `ends at ${end}, the file's data at ${dataBytes}`, DAMAGED);
  const info: TensorInfo = { dtype: dtype as SafetensorsDType, shape, begin, end };
  // A dimension of 0 must not hide an overflow before it: the partial products are checked, not the product.
  let needed = ARRAYS[info.dtype].BYTES_PER_ELEMENT;
  for (const dimension of shape) needed *= isCount(needed * dimension) ? dimension : Number.NaN;
  if (needed !== end - begin) {
    const size = Number.isNaN(needed) ? "more bytes than can be counted" : `${needed} bytes`;
    throw wrong(
      where,
      `${dtype} ${show(shape)} needs ${size}, the offsets give it ${end - begin}`,
      MALFORMED,
    );
  }
  return info;
}

/**
 * A header for tensors that follow in the order of `entries`: its length, the JSON, and spaces up to a
 * multiple of eight bytes.
 *
 * @throws RangeError if two entries share a name, or a name is invalid
 */
export function encodeHeader(
  entries: Iterable<TensorEntry>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: Record<string, unknown> = Object.keys(metadata).length ? { __metadata__: metadata } : {};
  let begin = 0;
  for (const { name, dtype, shape } of entries) {
    if (Object.hasOwn(header, name) || name === "__proto__" || name === "__metadata__") {
      throw new RangeError(`tensor ${show(name)}: the name is taken`);
    }
    const end = begin + bytesOf({ dtype, shape });
    header[name] = { dtype, shape, data_offsets: [begin, end] };
    begin = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return bytes;
}

/**
 * Reads a small file that is already in memory; each tensor gets its own buffer.
 *
 * @throws ReflowError `format`, as {@link parseHeader}
 */
export function readSafetensors(
  bytes: Uint8Array,
  where?: string,
): { metadata: Record<string, string>; tensors: Map<string, TensorData> } {
  const { metadata, tensors, dataStart } = parseHeader(bytes, bytes.length, where);
  const read = new Map<string, TensorData>();
  for (const [name, { dtype, shape, begin, end }] of tensors) {
    // Copied, because a tensor may be unaligned.
    const { buffer } = new Uint8Array(bytes.subarray(dataStart + begin, dataStart + end));
    read.set(name, { dtype, shape, data: new ARRAYS[dtype](buffer) });
  }
  return { metadata, tensors: read };
}

/**
 * Encodes a safetensors file with the tensors in the order of the map.
 *
 * @throws RangeError if an array does not have its dtype or does not fill its shape
 * @example
 * writeSafetensors(new Map([["ids", { dtype: "I32", shape: [1, 3], data: Int32Array.of(1, 2, 3) }]]))
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, TensorData>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const header = encodeHeader(
    [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    metadata,
  );
  const parts = [header];
  for (const [name, { dtype, shape, data }] of tensors) {
    if (!(data instanceof ARRAYS[dtype]) || data.length !== elementsOf(shape)) {
      throw new RangeError(
        `tensor ${show(name)}: ${data.constructor.name}(${data.length}) is not ${dtype} [${shape}]`,
      );
    }
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
