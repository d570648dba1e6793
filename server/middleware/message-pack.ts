/** MessagePack for JSON values and typed arrays of numbers. Decoding is safe for untrusted input. */
import { Packr, Unpackr } from "msgpackr";

const packr = new Packr({ useRecords: false, moreTypes: true });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

/** msgpackr's extension for typed arrays: an element code, then the elements. */
const TYPED_ARRAY = 0x74;
/** Element size in bytes by element code: Int8, Uint8, Uint8Clamped, Int16, Uint16, Int32, Uint32, Float32, Float64. */
const ELEMENT_BYTES = [1, 1, 1, 2, 2, 4, 4, 4, 8];

/** Rejects invalid UTF-8, which msgpackr would replace with U+FFFD. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Encodes a value; typed arrays are kept. */
export function encodeMessagePack(value: unknown): Uint8Array<ArrayBuffer> {
  return packr.pack(plain(value, undefined, (numbers) => numbers)) as Uint8Array<ArrayBuffer>;
}

/**
 * Decodes one value. The bytes are validated first, because msgpackr would allocate the length that an array's header declares,
 * follow references, and build sets, regular expressions and records.
 *
 * @param depth maximum nesting depth
 * @throws Error naming the problem and the byte
 */
export function decodeMessagePack(bytes: Uint8Array, depth: number): unknown {
  const end = skip(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, depth);
  if (end !== bytes.length) throw new Error(`${bytes.length - end} bytes follow the value`);
  return unpackr.unpack(bytes);
}

/** Validates the value at `at` and returns the position after it. */
function skip(view: DataView, at: number, depth: number): number {
  const left = view.byteLength - at;
  const need = (bytes: number) => {
    if (bytes > left) throw new Error(`the input ends inside the value at byte ${at}`);
    return at + bytes;
  };
  need(1);
  const head = view.getUint8(at);
  /** The unsigned integer of 1, 2 or 4 bytes that follows the type byte. */
  const size = (bytes: 1 | 2 | 4) => {
    need(1 + bytes);
    return bytes === 1
      ? view.getUint8(at + 1)
      : bytes === 2
        ? view.getUint16(at + 1)
        : view.getUint32(at + 1);
  };
  const wide = (log: number) => (1 << log) as 1 | 2 | 4;

  const values = (start: number, count: number, isMap: boolean) => {
    if (depth === 0) throw new Error(`the value is nested too deeply at byte ${at}`);
    let position = start;
    for (let i = 0; i < count; i++) {
      if (isMap) {
        const key = position < view.byteLength ? view.getUint8(position) : 0xa0;
        if (!isText(key)) throw new Error(`the key at byte ${position} is not a string`);
        position = skip(view, position, depth - 1);
      }
      position = skip(view, position, depth - 1);
    }
    return position;
  };
  const extension = (start: number, bytes: number) => {
    const end = need(start - at + 1 + bytes);
    const type = view.getUint8(start);
    const width = type === TYPED_ARRAY && bytes > 0 ? ELEMENT_BYTES[view.getUint8(start + 1)] : undefined;
    if (width === undefined) throw new Error(`extension ${type} at byte ${at} is not supported`);
    if ((bytes - 1) % width !== 0) throw new Error(`the typed array at byte ${at} ends inside an element`);
    return end;
  };

  const text = (bytes: number, length: number) => {
    const end = need(bytes + length);
    try {
      utf8.decode(new Uint8Array(view.buffer, view.byteOffset + at + bytes, length));
    } catch {
      throw new Error(`the text at byte ${at} is not UTF-8`);
    }
    return end;
  };

  if (head < 0x80 || head >= 0xe0) return at + 1;
  if (head < 0x90) return values(at + 1, head & 15, true);
  if (head < 0xa0) return values(at + 1, head & 15, false);
  if (head < 0xc0) return text(1, head & 31);
  if (head === 0xc1) throw new Error(`byte ${at} is not a valid type`);
  if (head < 0xc4) return at + 1;
  if (head < 0xc7) return need(1 + wide(head - 0xc4) + size(wide(head - 0xc4)));
  if (head < 0xca) return extension(at + 1 + wide(head - 0xc7), size(wide(head - 0xc7)));
  if (head < 0xcc) return need(head === 0xca ? 5 : 9);
  if (head < 0xd4) return need(1 + (1 << (head & 3)));
  if (head < 0xd9) return extension(at + 1, 1 << (head - 0xd4));
  if (head < 0xdc) return text(1 + wide(head - 0xd9), size(wide(head - 0xd9)));
  return values(at + (head & 1 ? 5 : 3), size(head & 1 ? 4 : 2), head >= 0xde);
}

const isText = (head: number) => (head >= 0xa0 && head < 0xc0) || (head >= 0xd9 && head < 0xdc);

/**
 * Converts a value to plain JSON: drops undefined properties, and turns typed arrays into number[].
 *
 * @param numbers converts a typed array
 * @throws Error if the value has more than `depth` levels
 */
export function plain(
  value: unknown,
  depth = Number.POSITIVE_INFINITY,
  numbers: (values: Float32Array) => unknown = (values) => Array.from(values),
): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value)) return numbers(value as Float32Array);
  if (depth === 0) throw new Error("the value is nested too deeply");
  if (Array.isArray(value)) return value.map((item) => plain(item, depth - 1, numbers));
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [key, plain(item, depth - 1, numbers)]));
}
