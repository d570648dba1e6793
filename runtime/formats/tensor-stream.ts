import type { HostArray } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { headerLength, parseHeader, type SafetensorsHeader } from "./safetensors.ts";
import { type Into, TensorReader } from "./tensor-reader.ts";

/**
 * Opens a safetensors file that arrives as a stream: bytes are read as they arrive and not kept.
 *
 * @param path the name of the file in errors
 * @throws ReflowError `format` if its header is invalid, `network` if the stream breaks off
 * @example
 * const file = await openTensorStream((await fetch(url)).body!, url.href);
 * for (const name of file.tensors.keys()) {
 *   await file.readF32(name, (chunk, offset) => backend.write(weights[name], chunk, offset));
 * }
 * await file.close();
 */
export async function openTensorStream(
  stream: ReadableStream<Uint8Array>,
  path: string,
): Promise<TensorStream> {
  const bytes = new ByteReader(stream, path);
  try {
    const start = new Uint8Array(8);
    await bytes.fill(start);
    // With compression, Content-Length is not the file's size, so the size is taken from the header of the file.
    const header = new Uint8Array(8 + headerLength(start, Number.POSITIVE_INFINITY, path));
    header.set(start);
    await bytes.fill(header.subarray(8));
    return new TensorStream(path, bytes, parseHeader(header, Number.POSITIVE_INFINITY, path));
  } catch (error) {
    await bytes.cancel();
    throw error;
  }
}

/** A streamed safetensors file, created by {@link openTensorStream}. Its tensors are read once, in order. */
export class TensorStream extends TensorReader {
  readonly #bytes: ByteReader;
  #position = 0;

  constructor(path: string, bytes: ByteReader, header: SafetensorsHeader) {
    super(path, header);
    this.#bytes = bytes;
  }

  override read(name: string, into: Into<HostArray>, chunkElements?: number): Promise<void> {
    return this.#fill(name, this.chunks(name, into, chunkElements));
  }

  override readF32(name: string, into: Into<Float32Array>, chunkElements?: number): Promise<void> {
    return this.#fill(name, this.f32Chunks(name, into, chunkElements));
  }

  /** Releases the stream, whether or not it was read to its end. */
  close(): Promise<void> {
    return this.#bytes.cancel();
  }

  async #fill(name: string, chunks: Iterable<Uint8Array>): Promise<void> {
    if (this.info(name).begin !== this.#position)
      throw new RangeError(`tensor "${name}" is not the next one`);
    for (const bytes of chunks) {
      await this.#bytes.fill(bytes);
      this.#position += bytes.length;
    }
  }
}

/** Reads a requested number of bytes from a stream. */
class ByteReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #path: string;
  /** Bytes that have arrived but were not requested yet. */
  #rest = new Uint8Array(0);
  #taken = 0;

  constructor(stream: ReadableStream<Uint8Array>, path: string) {
    this.#reader = stream.getReader();
    this.#path = path;
  }

  async fill(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#rest.length === 0) this.#rest = await this.#next();
      const part = this.#rest.subarray(0, bytes.length - at);
      bytes.set(part, at);
      at += part.length;
      this.#taken += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
  }

  async #next(): Promise<Uint8Array<ArrayBuffer>> {
    const { done, value } = await this.#reader.read().catch((cause: unknown) => {
      throw this.#broken(`(${(cause as Error).message})`, { cause });
    });
    if (done) throw this.#broken("(the stream ended)");
    return value as Uint8Array<ArrayBuffer>;
  }

  #broken(how: string, options?: ErrorOptions): ReflowError {
    const message = `${this.#path} broke off after ${this.#taken} bytes ${how}`;
    return new ReflowError(
      "network",
      message,
      "retry, and check that the file is complete on the server",
      options,
    );
  }

  async cancel(): Promise<void> {
    // A stream that broke off cannot be cancelled and does not need to be.
    await this.#reader.cancel().catch(() => {});
  }
}
