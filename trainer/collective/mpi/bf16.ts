const NAN = 0x7fc0;

/**
 * f32 to bf16 bits, rounded to nearest, ties to even: within 2^-8 of a normal value. What is nearer to 2^128 than to the
 * largest bf16 becomes ±Infinity, NaN stays NaN without its payload.
 */
export function f32ToBf16(
  values: Float32Array,
  out = new Uint16Array(values.length),
): Uint16Array<ArrayBuffer> {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i];
    // Half a unit, less one where the upper half is even; a carry out of the mantissa is right, up to Infinity.
    out[i] = (x & 0x7fffffff) > 0x7f800000 ? NAN : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}
