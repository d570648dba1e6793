import type { BenchResult, Measurement } from "./measure.ts";

/** What a GPU did, in our kernels and in PyTorch's. */
export interface GpuResults {
  adapter: string;
  /** By `--precision`; no rows of f16 where products stay f32. */
  f32?: BenchResult[];
  f16?: BenchResult[];
  torch?: { version: string; rows: TorchRow[] };
}

/** A line of peer_torch.py's. */
export interface TorchRow {
  name: string;
  precision: "fp32" | "bf16";
  value?: number;
  note?: string;
}

/** A figure and what it should be, in GFLOP/s. */
export interface Verdict {
  name: string;
  precision: "f32" | "f16";
  measured?: number;
  target?: number;
  met?: boolean;
  /** The same in PyTorch: fp32 beside f32, bf16 beside f16. */
  torch?: number;
}

/** Published rates of f32 without matrix units, in GFLOP/s. */
const PEAKS: [name: RegExp, peak: number][] = [[/\bH[12]00\b/, 67_000]];

/** A published rate, or of an adapter that isn't listed the roof as measured. */
export function peakOf({ adapter, f32 = [] }: GpuResults): { peak: number; source: string } | undefined {
  const published = PEAKS.find(([name]) => name.test(adapter))?.[1];
  if (published) return { peak: published, source: "published" };
  const roofs = f32.filter(isFigure).filter(({ name }) => name.startsWith("gemm/"));
  const peak = Math.max(...roofs.map(({ roof = 0 }) => roof));
  return peak > 0 ? { peak, source: "the roof as measured" } : undefined;
}

/**
 * Products of f32 reach 0.35 of its peak, and of f16 twice as much; training reaches 0.25 in f32, and more in f16.
 *
 * @param product the row that is judged of products, and `training` of training; `shown` has no target
 */
export function checkTargets(results: GpuResults, { product, training, shown }: TargetNames): Verdict[] {
  const peak = peakOf(results)?.peak;
  const verdict = (name: string, precision: "f32" | "f16", target?: number): Verdict => {
    const measured = gigaflops(results, name, precision);
    const met = measured === undefined || target === undefined ? undefined : measured >= target;
    return { name, precision, measured, target, met, torch: torchGigaflops(results, name, precision) };
  };
  const of = (share: number) => peak && share * peak;
  return [
    verdict(product, "f32", of(0.35)),
    verdict(product, "f16", of(2 * 0.35)),
    verdict(training, "f32", of(0.25)),
    verdict(training, "f16", gigaflops(results, training, "f32")),
    ...shown.flatMap((name) => [verdict(name, "f32"), verdict(name, "f16")]),
  ];
}

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

/** PyTorch counts tokens: its model has as many operations a token as ours. */
function torchGigaflops(results: GpuResults, name: string, precision: "f32" | "f16"): number | undefined {
  const theirs = precision === "f32" ? "fp32" : "bf16";
  const value = results.torch?.rows.find((row) => row.name === name && row.precision === theirs)?.value;
  const ours = find(results, name, "f32") ?? find(results, name, "f16");
  if (value === undefined || !ours) return undefined;
  return ours.also ? (value * ours.also.value) / ours.value : value;
}

/** Lines for people. */
export function targetTable(verdicts: readonly Verdict[]): string[] {
  const figure = (n: number | undefined) => {
    if (n === undefined) return "–";
    return n.toLocaleString("en", n < 1000 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 });
  };
  const met = ({ met }: Verdict) => (met === undefined ? "–" : met ? "met" : "not met");
  const share = ({ measured, torch }: Verdict) =>
    measured === undefined || torch === undefined ? "–" : (measured / torch).toFixed(2);
  const header = ["GFLOP/s", "measured", "target", "", "PyTorch", "ours / PyTorch's"];
  const cells = verdicts.map((each) => [
    `${each.name} ${each.precision}`,
    figure(each.measured),
    figure(each.target),
    met(each),
    figure(each.torch),
    share(each),
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
