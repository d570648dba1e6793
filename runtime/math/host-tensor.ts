/** A shape and its values, row-major: the minimal form of a tensor on the host that functions accept. */
export interface TensorData {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * A tensor of float32 values on the host, row-major.
 *
 * @example
 * const z = cache.get("hook_signals")!; // (B,T,S)
 * z.at(0, -1, 17); // signal 17 at the last position of the first sequence
 * z.slice(0, -1).data; // all signals there, (S)
 */
export class HostTensor implements TensorData {
  constructor(
    readonly shape: readonly number[],
    readonly data: Float32Array,
  ) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== data.length) {
      throw new RangeError(`shape [${shape}] holds ${size} values, but data has ${data.length}`);
    }
  }

  /**
   * One value. A negative index counts from the end of its dimension.
   *
   * @throws RangeError for another number of indices than dimensions, and for an index out of range
   */
  at(...indices: number[]): number {
    if (indices.length !== this.shape.length) {
      throw new RangeError(
        `${indices.length} indices for the ${this.shape.length} dimensions of [${this.shape}]`,
      );
    }
    return this.data[offsetOf(this.shape, indices)];
  }

  /**
   * The part at some leading indices, without copying: of a (B,T,d) tensor, `slice(0)` is (T,d) and `slice(0, 3)` is (d).
   *
   * @throws RangeError for more indices than dimensions, and for an index out of range
   */
  slice(...indices: number[]): HostTensor {
    const shape = this.shape.slice(indices.length);
    const from = offsetOf(this.shape, indices);
    return new HostTensor(shape, this.data.subarray(from, from + shape.reduce((a, b) => a * b, 1)));
  }
}

/** The offset of the part at some leading indices. */
function offsetOf(shape: readonly number[], indices: readonly number[]): number {
  if (indices.length > shape.length) {
    throw new RangeError(`${indices.length} indices for the ${shape.length} dimensions of [${shape}]`);
  }
  let stride = shape.reduce((a, b) => a * b, 1);
  let offset = 0;
  for (const [dimension, index] of indices.entries()) {
    const size = shape[dimension];
    const i = index < 0 ? index + size : index;
    if (!(Number.isInteger(i) && i >= 0 && i < size)) {
      throw new RangeError(`index ${index} is outside dimension ${dimension} of [${shape}]`);
    }
    stride /= size;
    offset += i * stride;
  }
  return offset;
}
