const NAN = 0x7fc0;

/**
 * Converts f32 to bf16 bits, rounding to nearest, ties to even: the relative error of normal values is at most 2^-8. Values
 * nearer to ±2^128 than to the largest bf16 become ±Infinity. NaN loses its payload.
 */
export function f32ToBf16(
  values: Float32Array,
  out = new Uint16Array(values.length),
): Uint16Array<ArrayBuffer> {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i];
    // Adds half a unit, less one if the upper half is even. A carry out of the mantissa is correct, including to Infinity.
    out[i] = (x & 0x7fffffff) > 0x7f800000 ? NAN : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}
