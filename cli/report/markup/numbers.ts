/** Number formatting, with a true minus sign and significant digits only. */

/** Formats with three significant digits: "0.228", "−12.4", "11,300". Integers are kept exact. */
export function short(x: number, digits = 3): string {
  if (x === 0 || Number.isInteger(x)) return grouped(x, 0);
  const size = Math.floor(Math.log10(Math.abs(x)));
  if (size < SMALLEST) return scientific(x, digits - 1);
  return grouped(x, Math.max(0, digits - 1 - Math.min(size, digits - 1)));
}

/** Formats with `decimals` digits after the point and commas between thousands. */
export function grouped(x: number, decimals: number): string {
  if (Math.abs(x) >= LONGEST) return scientific(x, 2);
  const text = Math.abs(x).toFixed(decimals);
  const isNegative = x < 0 && Number(text) !== 0;
  const [whole, fraction] = text.split(".");
  const commas = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return (isNegative ? "−" : "") + commas + (fraction ? `.${fraction}` : "");
}

/** Numbers from `LONGEST` on, and those whose exponent is below `SMALLEST`, use scientific notation. */
const LONGEST = 1e15;
const SMALLEST = -5;

function scientific(x: number, decimals: number): string {
  const [mantissa, exponent] = x.toExponential(decimals).split("e");
  return `${mantissa.replace("-", "−")} × ${power(Number(exponent))}`;
}

/** Formats a power of ten: "10⁻⁶". */
export const power = (exponent: number): string =>
  `10${String(exponent).replace(/./g, (digit) => SUPERSCRIPTS[digit])}`;

const SUPERSCRIPTS: Record<string, string> = {
  "-": "⁻",
  ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((digit, i) => [i, digit])),
};

/** Formats a p-value: "0.001", "0.22", "1". */
export const pText = (p: number): string => (p > 0.995 ? "1" : p.toFixed(p < 0.0995 ? 3 : 2));

/** The common number of decimals for a column, or undefined if its values differ too much in magnitude to share one. */
export function decimalsOf(column: readonly number[]): number | undefined {
  if (column.every(Number.isInteger)) return 0;
  const sizes = column.filter((x) => x !== 0).map((x) => Math.floor(Math.log10(Math.abs(x))));
  const largest = Math.max(...sizes);
  if (largest < SMALLEST) return undefined;
  const decimals = largest < 0 ? 2 - largest : Math.max(0, 3 - largest);
  // If magnitudes differ too much, each row is formatted on its own.
  return Math.min(...sizes) < -decimals ? undefined : Math.max(decimals, 1);
}
