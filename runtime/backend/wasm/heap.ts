import { ReflowError } from "../../common/errors.ts";

const PAGE = 65536;
/** Address space of wasm32: 65,536 pages of 64 KiB. */
export const MAX_BYTES = 65536 * PAGE;
/** Bytes of it available to tensors: the rest is reserved for the kernels' scratch memory. */
export const TENSOR_BYTES = MAX_BYTES - 2 ** 26;
const ALIGN = 64;
/** Bytes after every block that vector loads may read, for example the rest of a group of 32 int8 weights. */
const PADDING = 64;

/**
 * Allocates blocks of a WebAssembly memory: first fit among freed blocks, otherwise from the top, growing the memory.
 * Pages that were never written use no resident memory, so growing is cheap and new blocks need no clearing.
 */
export class Heap {
  /** Freed blocks in order of address, with neighbours merged. */
  #free: { at: number; bytes: number }[] = [];
  #sizes = new Map<number, number>();
  #top: number;
  allocated = 0;
  peak = 0;

  constructor(
    readonly memory: WebAssembly.Memory,
    base: number,
    /** Called after the memory has grown: views of a plain (not shared) memory are detached by then. */
    readonly onGrow: () => void,
  ) {
    this.#top = Math.ceil(base / ALIGN) * ALIGN;
  }

  /**
   * Allocates `size` zero bytes and returns their address.
   *
   * @throws ReflowError `memory` if the block does not fit into wasm32's 4 GiB, or into the machine's memory
   */
  alloc(size: number): number {
    const bytes = Math.ceil((size + PADDING) / ALIGN) * ALIGN;
    const index = this.#free.findIndex((block) => block.bytes >= bytes);
    let at: number;
    if (index >= 0) {
      const block = this.#free[index];
      at = block.at;
      if (block.bytes === bytes) this.#free.splice(index, 1);
      else this.#free[index] = { at: at + bytes, bytes: block.bytes - bytes };
      new Uint8Array(this.memory.buffer, at, bytes).fill(0);
    } else {
      at = this.#top;
      this.#growTo(at + bytes, size);
      this.#top = at + bytes;
    }
    this.#sizes.set(at, bytes);
    this.allocated += bytes;
    this.peak = Math.max(this.peak, this.allocated);
    return at;
  }

  free(at: number): void {
    const bytes = this.#sizes.get(at);
    if (bytes === undefined) throw new RangeError("free: there is no allocated block at this address");
    this.#sizes.delete(at);
    this.allocated -= bytes;
    const next = this.#free.findIndex((block) => block.at > at);
    const index = next < 0 ? this.#free.length : next;
    this.#free.splice(index, 0, { at, bytes });
    for (const i of [index, index - 1]) {
      const block = this.#free[i];
      const after = this.#free[i + 1];
      if (block && after && block.at + block.bytes === after.at) {
        block.bytes += after.bytes;
        this.#free.splice(i + 1, 1);
      }
    }
  }

  /** Grows the memory to `end` bytes, if it is smaller. */
  #growTo(end: number, size: number): void {
    const missing = end - this.memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      if (end > MAX_BYTES) throw new RangeError("wasm32 is limited to 4 GiB");
      this.memory.grow(Math.ceil(missing / PAGE));
    } catch (cause) {
      const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
      throw new ReflowError(
        "memory",
        `cannot allocate ${mib(size)} in addition to ${mib(this.allocated)} in use: ${(cause as Error).message}`,
        "use a smaller model, batch or context, or int8 weights",
        { cause },
      );
    }
    this.onGrow();
  }
}
