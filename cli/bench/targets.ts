import type { BenchResult, Measurement } from "./measure.ts";

/** Measurements on a GPU, with our kernels and with PyTorch. */
export interface GpuResults {
  adapter: string;
  /** Results by `--precision`. `f16` is empty if matrix products stay in f32. */
  f32?: BenchResult[];
  f16?: BenchResult[];
  torch?: { version: string; rows: TorchRow[] };
}

/** A line of output of peer_torch.py. */
export interface TorchRow {
  name: string;
  precision: "fp32" | "bf16";
  value?: number;
  note?: string;
}

/** A measured rate and its target, in GFLOP/s. */
export interface Verdict {
  name: string;
  precision: "f32" | "f16";
  measured?: number;
  target?: number;
  met?: boolean;
  /** PyTorch's rate: fp32 for f32, bf16 for f16. */
  torch?: number;
}

/** Published f32 peak rates without matrix units, in GFLOP/s. */
const PEAKS: [name: RegExp, peak: number][] = [[/\bH[12]00\b/, 67_000]];

/** The published peak rate of the adapter, or the measured peak if the adapter is not listed. */
export function peakOf({ adapter, f32 = [] }: GpuResults): { peak: number; source: string } | undefined {
  const published = PEAKS.find(([name]) => name.test(adapter))?.[1];
  if (published) return { peak: published, source: "published" };
  const roofs = f32.filter(isFigure).filter(({ name }) => name.startsWith("gemm/"));
  const peak = Math.max(...roofs.map(({ roof = 0 }) => roof));
  return peak > 0 ? { peak, source: "measured" } : undefined;
}

/**
 * Compares measurements with the targets: matrix products reach 0.35 of the f32 peak in f32 and twice that in f16; training
 * reaches 0.25 of it in f32, and at least its own f32 rate in f16.
 */
export function checkTargets(results: GpuResults, { product, training, shown }: TargetNames): Verdict[] {
  const peak = peakOf(results)?.peak;
  const verdict = (name: string, precision: "f32" | "f16", target?: number): Verdict => {
    const measured = gigaflops(results, name, precision);
    const met = measured === undefined || target === undefined ? undefined : measured >= target;
    return { name, precision, measured, target, met, torch: torchGigaflops(results, name, precision) };
  };
  const ofPeak = (fraction: number) => peak && fraction * peak;
  return [
    verdict(product, "f32", ofPeak(0.35)),
    verdict(product, "f16", ofPeak(2 * 0.35)),
    verdict(training, "f32", ofPeak(0.25)),
    verdict(training, "f16", gigaflops(results, training, "f32")),
    ...shown.flatMap((name) => [verdict(name, "f32"), verdict(name, "f16")]),
  ];
}

/** Names of the benchmarks that have targets, and of those that are only shown. */
interface TargetNames {
  product: string;
  training: string;
  shown: readonly string[];
}

const isFigure = (row: BenchResult): row is Measurement => "value" in row;

const find = (results: GpuResults, name: string, precision: "f32" | "f16"): Measurement | undefined =>
  results[precision]?.filter(isFigure).find((row) => row.name === name);

function gigaflops(results: GpuResults, name: string, precision: "f32" | "f16"): number | undefined {
  const figure = find(results, name, precision);
  return figure?.also?.value ?? figure?.value;
}

/** PyTorch's rate in GFLOP/s. Training is reported in tokens/s; both models have the same number of operations per token. */
function torchGigaflops(results: GpuResults, name: string, precision: "f32" | "f16"): number | undefined {
  const torchPrecision = precision === "f32" ? "fp32" : "bf16";
  const value = results.torch?.rows.find(
    (row) => row.name === name && row.precision === torchPrecision,
  )?.value;
  const ours = find(results, name, "f32") ?? find(results, name, "f16");
  if (value === undefined || !ours) return undefined;
  return ours.also ? (value * ours.also.value) / ours.value : value;
}

/** Formats verdicts as lines of a table. */
export function targetTable(verdicts: readonly Verdict[]): string[] {
  const figure = (n: number | undefined) => {
    if (n === undefined) return "–";
    return n.toLocaleString("en", n < 1000 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 });
  };
  const met = ({ met }: Verdict) => (met === undefined ? "–" : met ? "met" : "not met");
  const ratio = ({ measured, torch }: Verdict) =>
    measured === undefined || torch === undefined ? "–" : (measured / torch).toFixed(2);
  const header = ["GFLOP/s", "measured", "target", "", "PyTorch", "ours / PyTorch"];
  const cells = verdicts.map((each) => [
    `${each.name} ${each.precision}`,
    figure(each.measured),
    figure(each.target),
    met(each),
    figure(each.torch),
    ratio(each),
  ]);
  const rows = [header, ...cells];
  const widths = header.map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 || i === 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join("  ")
      .trimEnd(),
  );
}
