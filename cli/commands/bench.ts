import { Command } from "commander";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import type { BackendOptions } from "../../runtime/backend/create.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { type BenchResult, formatResult } from "../bench/measure.ts";
import type { Benchmark } from "../bench/suite.ts";
import { withDevice } from "../shared/options.ts";

export function benchCommand(): Command {
  return withDevice(
    new Command("bench")
      .summary("Benchmark the kernels.")
      .description("Benchmark the kernels against the device's peak rate and against other libraries.")
      .argument(
        "[names...]",
        "prefixes of the benchmarks to run: gemm, train-step, decode, peer, … (default: all)",
      ),
  )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
The default device is the CPU. The peak is the rate of f32 multiply-adds in
registers, measured alternately with each benchmark. For decoding, it is a bare
loop of int8 dot products over the same bytes; on a GPU, reading those bytes.
Each result is the best of several runs.

Example: bun run cli bench gemm/nn --json`,
    )
    .action(bench);
}

interface Options extends Pick<BackendOptions, "threads" | "precision"> {
  device?: DeviceName;
  json?: boolean;
}

async function bench(names: string[], { device: name = "wasm", json, ...options }: Options): Promise<void> {
  const { openBenchDevices } = await import("../bench/device.ts");
  const { benchmarksFor } = await import("../bench/suite.ts");
  let devices = await openBenchDevices(name, options);
  const { backend, notes, kind, products } = devices.at(-1)!;
  const device = backend.description;
  const entries = select(benchmarksFor(kind), names);
  if (!json) console.log([device, ...notes, ""].join("\n"));
  const rows: BenchResult[] = [];
  for (const { name: row, measure } of entries) {
    const more = await measure(devices).catch(async (error): Promise<BenchResult[]> => {
      if (!(error instanceof ReflowError)) throw error;
      // The device may be unusable after an error: reopen it, which also frees its tensors.
      for (const { backend } of devices) backend.dispose();
      devices = await openBenchDevices(name, options);
      return [{ name: row, note: error.message }];
    });
    rows.push(...more);
    if (!json) for (const each of more) console.log(formatResult(each));
  }
  if (json) console.log(JSON.stringify({ device, notes, products, engine: engine(), rows }));
}

/** Benchmarks whose names begin with one of `names`. @throws ReflowError `usage` if a prefix matches none */
function select(entries: Benchmark[], names: string[]): Benchmark[] {
  const unknown = names.find((prefix) => !entries.some(({ name }) => name.startsWith(prefix)));
  if (unknown !== undefined) {
    const all = entries.map(({ name }) => name).join(", ");
    throw new ReflowError("usage", `no benchmark's name begins with "${unknown}"`, `choose from ${all}`);
  }
  return names.length === 0
    ? entries
    : entries.filter(({ name }) => names.some((prefix) => name.startsWith(prefix)));
}

function engine(): string {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  if (bun) return `Bun ${bun}`;
  return deno ? `Deno ${deno}` : `Node ${node}`;
}
