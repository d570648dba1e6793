/** A number with its sign. The minus sign is as wide as the plus. */
export const signed = (x: number, digits = 2): string => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;

/** A probability or a fraction, from 0 to 1. */
export function percent(x: number): string {
  // Percentages are useless for very rare tokens.
  if (x > 0 && x < 1e-5) return `1 in ${Number((1 / x).toPrecision(2)).toLocaleString("en")}`;
  return `${(100 * x).toFixed(x < 0.001 ? 3 : x < 0.1 ? 1 : 0)} %`;
}
