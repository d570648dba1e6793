import { describe, expect, test } from "bun:test";
import {
  type BenchResult,
  bestRates,
  formatResult,
  type Measurement,
  measurement,
  rateSampler,
  type Skipped,
} from "../../../cli/bench/measure.ts";
import { benchmarksFor } from "../../../cli/bench/suite.ts";
import { checkTargets, type GpuResults, peakOf, targetTable } from "../../../cli/bench/targets.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { json, refused } from "../support.ts";

interface Report {
  device: string;
  notes: string[];
  engine: string;
  rows: BenchResult[];
}

test("formats results with their peak", () => {
  const gemm = measurement("gemm/nn/512", 2, "GFLOP/s", 75, 100);
  expect(gemm).toMatchObject({ value: 75, roof: 100, fraction: 0.75, threads: 2 });
  expect(formatResult(gemm)).toBe("gemm/nn/512                        75 GFLOP/s  2 threads   75% of 100");
  const step = {
    ...measurement("train-step/nano", undefined, "tokens/s", 2000, 4000),
    batch: 8,
    length: 256,
  };
  expect(formatResult({ ...step, also: { value: 92.44, unit: "GFLOP/s" } })).toBe(
    "train-step/nano                 2,000 tokens/s   50% of 4,000  92.44 GFLOP/s  8 × 256 tokens",
  );
  expect(formatResult({ name: "peer", note: "unavailable" })).toBe(
    "peer                         unavailable",
  );
});

describe("timing", () => {
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

  test("repeats short runs until synchronisation is negligible", async () => {
    let [runs, waits] = [0, 0];
    const clock = { synchronize: async () => void waits++, minSeconds: 0.03 };
    const sample = rateSampler(clock, 10, () => {
      runs++;
      return sleep(1);
    });
    await sample();
    expect({ runs, waits }).toEqual({ runs: 1, waits: 1 });
    await sample();
    expect(runs).toBeGreaterThan(5);
    expect(waits).toBe(2);
    // 10 units of work take at least one millisecond.
    expect(await sample()).toBeLessThanOrEqual(10_000);
  });

  test("does not repeat synchronous runs", async () => {
    let runs = 0;
    const sample = rateSampler({ synchronize: async () => {}, minSeconds: 0 }, 1, () => void runs++);
    for (let i = 0; i < 3; i++) await sample();
    expect(runs).toBe(3);
  });

  test("bestRates alternates, keeps the maxima, and ignores the warm-up round", async () => {
    const order: string[] = [];
    const rates = { a: [100, 3, 5, 4], b: [100, 1, 1, 2] };
    const sampler = (name: "a" | "b") => () => {
      order.push(name);
      return rates[name].shift()!;
    };
    expect(await bestRates({ a: sampler("a"), b: sampler("b") }, { seconds: 0, rounds: 3 })).toEqual({
      a: 5,
      b: 2,
    });
    expect(order.join("")).toBe("abababab");
  });
});

describe("benchmarks", () => {
  const names = (kind: "cpu" | "gpu" | "fallback") => benchmarksFor(kind).map(({ name }) => name);

  test("a GPU has the CPU's benchmarks and larger matrix products", () => {
    const more = ["nn", "nt", "tn"].flatMap((kind) => [2048, 4096].map((size) => `gemm/${kind}/${size}`));
    expect(names("gpu").toSorted()).toEqual([...names("cpu"), ...more].toSorted());
    for (const preset of ["nano", "small", "reflow-1"]) {
      expect(names("fallback")).toContain(`train-step/${preset}`);
    }
    for (const size of ["1M", "7.3M", "46M"]) {
      for (const world of [2, 4]) expect(names("cpu")).toContain(`all-reduce/${size}/${world}`);
    }
  });

  test("rejects an unknown prefix and lists the benchmarks", async () => {
    const message = await refused("bench", "gem", "train", "decoed");
    expect(message).toContain('no benchmark\'s name begins with "decoed"');
    expect(message).toContain("gemm/nn/512, ");
  });

  test("CPU: reports one thread, all threads and the speed-up, and models that do not fit", async () => {
    const names = ["gemm/nn/512", "train-step/reflow-1"];
    const { device, engine, rows } = await json<Report>("bench", ...names, "--threads", "2");
    expect(device).toStartWith("wasm (");
    expect(engine).toStartWith("Bun ");
    expect(rows.map(({ name }) => name)).toEqual([
      ...["gemm/nn/512", "gemm/nn/512", "gemm/nn/512/speed-up"],
      "train-step/reflow-1",
    ]);
    const [one, all, gain] = rows as Measurement[];
    expect(one.threads).toBe(1);
    expect(one.fraction).toBeGreaterThan(0.2);
    expect(one.fraction).toBeLessThan(1.1);
    expect(gain.value).toBeCloseTo(all.value / one.value);
    expect((rows[3] as Skipped).note).toContain("more than WebAssembly's 4 GiB");
  }, 60_000);

  test("all-reduce between processes", async () => {
    const { rows } = await json<Report>("bench", "all-reduce/1M/2");
    expect(rows).toMatchObject([{ name: "all-reduce/1M/2", unit: "ms", also: { unit: "GB/s" } }]);
    const [{ value, also }] = rows as Measurement[];
    expect(value * also!.value).toBeCloseTo((4 * 2 ** 20) / 1e6);
  }, 60_000);

  test.skipIf(Boolean(noAdapter))(
    "WebGPU: names the adapter",
    async () => {
      const { device, notes, rows } = await json<Report>("bench", "gemm/nn/", "peer", "--device", "webgpu");
      expect(device).toStartWith("webgpu (");
      expect(notes[0]).toStartWith("adapter: ");
      expect((rows.at(-1) as Skipped).note).toContain("--device wasm");
      for (const each of rows.slice(0, -1) as Measurement[]) {
        expect(each.value).toBeGreaterThan(0);
        expect(each.roof).toBeGreaterThan(0);
        expect(each).not.toHaveProperty("threads");
      }
    },
    60_000,
  );
});

describe("GPU targets", () => {
  const targets = { product: "gemm/nn/4096", training: "train-step/small", shown: ["train-step/reflow-1"] };
  const training = (name: string, tokens: number, gigaflops: number): Measurement => ({
    ...measurement(name, undefined, "tokens/s", tokens),
    also: { value: gigaflops, unit: "GFLOP/s" },
  });
  const results: GpuResults = {
    adapter: "NVIDIA H100 80GB HBM3",
    f32: [
      measurement("gemm/nn/4096", undefined, "GFLOP/s", 23_450, 60_000),
      training("train-step/small", 50_000, 15_000),
    ],
    f16: [
      measurement("gemm/nn/4096", undefined, "GFLOP/s", 46_899, 60_000),
      training("train-step/small", 60_000, 18_000),
    ],
    torch: {
      version: "PyTorch",
      rows: [
        { name: "gemm/nn/4096", precision: "fp32", value: 46_900 },
        { name: "train-step/small", precision: "fp32", value: 100_000 },
        { name: "train-step/small", precision: "bf16", note: "out of memory" },
      ],
    },
  };

  test("fractions of the published peak, f16 against f32, and PyTorch's tokens/s in GFLOP/s", () => {
    const [matmul, matmulHalf, small, smallHalf, ...shown] = checkTargets(results, targets);
    expect(matmul).toEqual({
      name: "gemm/nn/4096",
      precision: "f32",
      measured: 23_450,
      target: 0.35 * 67_000,
      met: true,
      torch: 46_900,
    });
    expect(matmulHalf).toMatchObject({
      precision: "f16",
      target: 0.7 * 67_000,
      met: false,
      torch: undefined,
    });
    expect(small).toMatchObject({ measured: 15_000, target: 16_750, met: false, torch: 30_000 });
    expect(smallHalf).toMatchObject({ measured: 18_000, target: 15_000, met: true, torch: undefined });
    for (const each of shown) expect(each).toMatchObject({ measured: undefined, met: undefined });
    const lines = targetTable(checkTargets(results, targets));
    expect(lines[1]).toMatch(/^gemm\/nn\/4096 f32 +23,450 +23,450 {2}met +46,900 +0\.50$/);
    expect(lines[2]).toMatch(/^gemm\/nn\/4096 f16 +46,899 +46,900 {2}not met +– +–$/);
  });

  test("unlisted adapters use the measured peak; unmeasured adapters have no targets", () => {
    expect(peakOf({ ...results, adapter: "GPU" })).toEqual({ peak: 60_000, source: "measured" });
    const nothing = { adapter: "GPU", f32: [{ name: "gemm/nn/4096", note: "the GPU was lost" }] };
    expect(peakOf(nothing)).toBeUndefined();
    for (const verdict of checkTargets(nothing, targets)) {
      expect(verdict).toMatchObject({ measured: undefined, target: undefined, met: undefined });
    }
  });
});
