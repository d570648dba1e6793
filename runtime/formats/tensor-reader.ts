import type { HostArray } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { bf16ToF32, f16ToF32 } from "./f16.ts";
import { arrayOf, elementsOf, type SafetensorsHeader, type TensorInfo } from "./safetensors.ts";

/** Elements per chunk: 1 MiB of f32. Larger chunks are not faster. */
const CHUNK = 2 ** 18;

/** Receives each chunk of a tensor and the index of its first element. The chunk's memory is reused for the next. */
export type Into<Chunk> = (chunk: Chunk, offset: number) => void;

/** A safetensors file open for reading from any source: synchronously from disk, or asynchronously from a stream. */
export abstract class TensorReader {
  readonly metadata: SafetensorsHeader["metadata"];
  /** In the order of their bytes. */
  readonly tensors: SafetensorsHeader["tensors"];
  #buffer = new ArrayBuffer(0);

  constructor(
    /** The name of the file in errors. */
    readonly path: string,
    header: SafetensorsHeader,
  ) {
    this.metadata = header.metadata;
    this.tensors = header.tensors;
  }

  /**
   * Reads a tensor in chunks as it is stored: F32 as Float32Array, F16 and BF16 as bits in Uint16Array, I8 as
   * Int8Array, I32 as Int32Array.
   *
   * @param chunkElements the maximum number of elements in a chunk
   * @throws ReflowError `format` for another dtype, or if there is no such tensor
   */
  abstract read(name: string, into: Into<HostArray>, chunkElements?: number): void | Promise<void>;

  /** As {@link read} for F32, F16 and BF16 tensors, the last two widened to f32. */
  abstract readF32(name: string, into: Into<Float32Array>, chunkElements?: number): void | Promise<void>;

  /** Implements {@link read} without I/O: yields a buffer, and continues when the caller has filled it with the next bytes. */
  protected *chunks(name: string, into: Into<HostArray>, chunkElements = CHUNK): Generator<Uint8Array> {
    const { dtype, shape } = this.info(name);
    if (dtype === "U8" || dtype === "I64") {
      throw this.#wrong(name, `has the dtype ${dtype}`, "convert it to I32 or F32");
    }
    const elements = elementsOf(shape);
    const ElementArray = arrayOf(dtype);
    const width = ElementArray.BYTES_PER_ELEMENT;
    const most = Math.min(elements, chunkElements);
    if (this.#buffer.byteLength < most * width) this.#buffer = new ArrayBuffer(most * width);
    for (let offset = 0; offset < elements; offset += most) {
      const n = Math.min(most, elements - offset);
      yield new Uint8Array(this.#buffer, 0, n * width);
      into(new ElementArray(this.#buffer, 0, n), offset);
    }
  }

  /** As {@link chunks}, for {@link readF32}. */
  protected f32Chunks(name: string, into: Into<Float32Array>, chunkElements = CHUNK): Generator<Uint8Array> {
    const { dtype, shape } = this.info(name);
    if (dtype === "F32") {
      return this.chunks(name, (chunk, offset) => into(chunk as Float32Array, offset), chunkElements);
    }
    if (dtype !== "F16" && dtype !== "BF16") {
      throw this.#wrong(name, `has the dtype ${dtype}`, "expected F32, F16 or BF16");
    }
    const widen = dtype === "F16" ? f16ToF32 : bf16ToF32;
    const wide = new Float32Array(Math.min(elementsOf(shape), chunkElements));
    return this.chunks(
      name,
      (chunk, offset) => into(widen(chunk as Uint16Array, wide.subarray(0, chunk.length)), offset),
      chunkElements,
    );
  }

  protected info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw this.#wrong(name, "does not exist", "is it a file of another model?");
    return info;
  }

  #wrong(name: string, what: string, help: string): ReflowError {
    return new ReflowError("format", `${this.path}: tensor "${name}" ${what}`, help);
  }
}
