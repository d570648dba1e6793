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

test("a row has its roof, and says so in a line", () => {
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
  expect(formatResult({ name: "peer", note: "not here" })).toBe("peer                         not here");
});

describe("timing", () => {
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

  test("a run is repeated until the wait at its end is short beside it", async () => {
    let [runs, waits] = [0, 0];
    const clock = { synchronize: async () => void waits++, minSeconds: 0.03 };
    const turn = rateSampler(clock, 10, () => {
      runs++;
      return sleep(1);
    });
    await turn();
    expect({ runs, waits }).toEqual({ runs: 1, waits: 1 });
    await turn();
    expect(runs).toBeGreaterThan(5);
    expect(waits).toBe(2);
    // 10 of something in a millisecond or more
    expect(await turn()).toBeLessThanOrEqual(10_000);
  });

  test("what runs at once is not repeated", async () => {
    let runs = 0;
    const turn = rateSampler({ synchronize: async () => {}, minSeconds: 0 }, 1, () => void runs++);
    for (let i = 0; i < 3; i++) await turn();
    expect(runs).toBe(3);
  });

  test("a race takes turns and keeps the best, but for the first round", async () => {
    const order: string[] = [];
    const rates = { a: [100, 3, 5, 4], b: [100, 1, 1, 2] };
    const turn = (name: "a" | "b") => () => {
      order.push(name);
      return rates[name].shift()!;
    };
    expect(await bestRates({ a: turn("a"), b: turn("b") }, { seconds: 0, rounds: 3 })).toEqual({
      a: 5,
      b: 2,
    });
    expect(order.join("")).toBe("abababab");
  });
});

describe("rows", () => {
  const names = (kind: "cpu" | "gpu" | "fallback") => benchmarksFor(kind).map(({ name }) => name);

  test("a GPU has the CPU's, and larger products", () => {
    const more = ["nn", "nt", "tn"].flatMap((kind) => [2048, 4096].map((size) => `gemm/${kind}/${size}`));
    expect(names("gpu").toSorted()).toEqual([...names("cpu"), ...more].toSorted());
    for (const preset of ["nano", "small", "reflow-1"]) {
      expect(names("fallback")).toContain(`train-step/${preset}`);
    }
    for (const size of ["1M", "7.3M", "46M"]) {
      for (const world of [2, 4]) expect(names("cpu")).toContain(`all-reduce/${size}/${world}`);
    }
  });

  test("an unknown one is refused with those that there are", async () => {
    const message = await refused("bench", "gem", "train", "decoed");
    expect(message).toContain('no row\'s name begins with "decoed"');
    expect(message).toContain("gemm/nn/512, ");
  });

  test("on the CPU: one thread and the gain of more; what doesn't fit says so", async () => {
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
    expect((rows[3] as Skipped).note).toContain("WebAssembly's memory ends at 4 GiB");
  }, 60_000);

  test("sums over processes", async () => {
    const { rows } = await json<Report>("bench", "all-reduce/1M/2");
    expect(rows).toMatchObject([{ name: "all-reduce/1M/2", unit: "ms", also: { unit: "GB/s" } }]);
    const [{ value, also }] = rows as Measurement[];
    expect(value * also!.value).toBeCloseTo((4 * 2 ** 20) / 1e6);
  }, 60_000);

  test.skipIf(Boolean(noAdapter))(
    "on WebGPU, whose adapter is named",
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

describe("what a GPU is judged by", () => {
  const judged = { product: "gemm/nn/4096", training: "train-step/small", shown: ["train-step/reflow-1"] };
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

  test("shares of the published peak; f16 against f32; PyTorch's tokens in the same unit", () => {
    const [product, half, small, smallHalf, ...shown] = checkTargets(results, judged);
    expect(product).toEqual({
      name: "gemm/nn/4096",
      precision: "f32",
      measured: 23_450,
      target: 0.35 * 67_000,
      met: true,
      torch: 46_900,
    });
    expect(half).toMatchObject({ precision: "f16", target: 0.7 * 67_000, met: false, torch: undefined });
    expect(small).toMatchObject({ measured: 15_000, target: 16_750, met: false, torch: 30_000 });
    expect(smallHalf).toMatchObject({ measured: 18_000, target: 15_000, met: true, torch: undefined });
    for (const each of shown) expect(each).toMatchObject({ measured: undefined, met: undefined });
    const lines = targetTable(checkTargets(results, judged));
    expect(lines[1]).toMatch(/^gemm\/nn\/4096 f32 +23,450 +23,450 {2}met +46,900 +0\.50$/);
    expect(lines[2]).toMatch(/^gemm\/nn\/4096 f16 +46,899 +46,900 {2}not met +– +–$/);
  });

  test("of an unlisted adapter the peak is the roof; of one that wasn't measured nothing is said", () => {
    expect(peakOf({ ...results, adapter: "GPU" })).toEqual({ peak: 60_000, source: "the roof as measured" });
    const nothing = { adapter: "GPU", f32: [{ name: "gemm/nn/4096", note: "the GPU was lost" }] };
    expect(peakOf(nothing)).toBeUndefined();
    for (const verdict of checkTargets(nothing, judged)) {
      expect(verdict).toMatchObject({ measured: undefined, target: undefined, met: undefined });
    }
  });
});
