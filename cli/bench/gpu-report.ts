/**
 * `bun run bench:gpu`: tests the ops on a GPU, measures our kernels in f32 and f16, measures the same model in PyTorch if Python
 * has it, and compares the results with the targets. Each step runs in its own process, so that a crash does not affect the
 * others; `--out` is written after each step.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Argument, Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { note, runCommand } from "../../runtime/host/command.ts";
import { device } from "../shared/options.ts";
import { type BenchResult, formatResult } from "./measure.ts";
import { checkTargets, type GpuResults, peakOf, targetTable } from "./targets.ts";
import { trainingSetup } from "./training.ts";

const STEPS = ["ops", "f32", "f16", "torch"] as const;
type Step = (typeof STEPS)[number];

const root = fileURLToPath(new URL("../..", import.meta.url));
const MINUTES = 15;

/** Everything that has a target. */
const FULL = {
  kind: "gpu",
  tests: [],
  // One process per entry, so that a crash affects only that entry.
  benches: [
    ["gemm"],
    ["decode", "read-bandwidth"],
    ...["nano", "small", "reflow-1"].map((p) => [`train-step/${p}`]),
  ],
  targets: { product: "gemm/nn/4096", training: "train-step/small", shown: ["train-step/reflow-1"] },
  torch: { gemm: 4096, presets: ["small", "reflow-1"], seconds: 5, rounds: 5, compile: true, onCpu: false },
} as const;
/** The smallest plan that exercises the whole script. */
const TINY = {
  kind: "fallback",
  tests: ["-t", "rope"],
  benches: [["gemm/nn", "train-step"]],
  targets: { product: "gemm/nn/128", training: "train-step/nano", shown: [] },
  torch: { gemm: 128, presets: ["nano"], seconds: 0, rounds: 1, compile: false, onCpu: true },
} as const;
type Plan = typeof FULL | typeof TINY;

await runCommand(
  new Command("bun run bench:gpu")
    .description(
      "Test and benchmark a GPU, compare it with PyTorch on the same GPU, and report which targets are met.",
    )
    .addArgument(new Argument("[steps...]", "steps to run (default: all)").choices(STEPS))
    .option(
      "--device <name>",
      "webgpu:N, as listed by `bun run cli devices` (default: the first GPU)",
      device,
    )
    .option("--tiny", "test this script with tiny shapes on a software renderer")
    .option("--out <file>", "also write the results as JSON")
    .action(report),
);

interface Options {
  device?: string;
  tiny?: boolean;
  out?: string;
}

async function report(steps: Step[], options: Options): Promise<void> {
  const plan = options.tiny ? TINY : FULL;
  const gpu = await chooseGpu(options);
  const results: GpuResults & { date: string; driver?: string; ops?: string } = {
    date: new Date().toISOString(),
    adapter: gpu.name,
    driver: await nvidia(),
  };
  console.log([gpu.name, results.driver, ""].filter((line) => line !== undefined).join("\n"));
  const save = (more: object) => {
    if (options.out) writeFileSync(options.out, `${JSON.stringify({ ...results, ...more }, undefined, 2)}\n`);
  };
  for (const step of STEPS) {
    if (steps.length > 0 && !steps.includes(step)) continue;
    console.log(`${step}:`);
    if (step === "ops") results.ops = await testOps(plan);
    else if (step === "torch") results.torch = await measureTorch(plan);
    else results[step] = await measure(plan, gpu.select, step);
    console.log("");
    save({});
  }

  const peak = peakOf(results);
  const verdicts = checkTargets(results, plan.targets);
  console.log(targetTable(verdicts).join("\n"));
  if (peak) console.log(`\nf32 peak: ${peak.peak.toLocaleString("en")} GFLOP/s, ${peak.source}`);
  if (options.tiny) console.log("Tiny shapes: the comparison with targets is not meaningful.");
  save({ peak, verdicts });
}

/** An adapter in the output of `devices --json`. */
interface Gpu {
  select: string;
  name: string;
  fallback?: boolean;
  error?: string;
}

/** Selects the adapter. @throws ReflowError `device` if there is no suitable adapter */
async function chooseGpu({ device: name, tiny }: Options): Promise<Gpu> {
  const { stdout } = await run([process.execPath, "cli/main.ts", "devices", "--json"]);
  const { devices, problem } = JSON.parse(stdout) as { devices: Gpu[]; problem?: string };
  const adapters = devices.filter(({ select }) => select.startsWith("webgpu:"));
  const usable = adapters.filter(({ fallback, error }) => !error && Boolean(fallback) === Boolean(tiny));
  const gpu = usable.find(({ select }) => name === undefined || name === "webgpu" || name === select);
  if (gpu) return gpu;
  const found = adapters.map(({ select, name, error }) => `${select} is ${name}${error ? `: ${error}` : ""}`);
  const reason = problem ?? (found.join(", ") || "no adapter found");
  throw new ReflowError(
    "device",
    `no ${tiny ? "software renderer" : "GPU"} available: ${reason}`,
    (await nvidia())
      ? "NVIDIA's driver is installed without Vulkan: install libvulkan1, and in a container set NVIDIA_DRIVER_CAPABILITIES=all"
      : "run it on a machine with a GPU; --tiny tests this script on a software renderer",
  );
}

/** GPUs, driver version and memory as reported by nvidia-smi. */
async function nvidia(): Promise<string | undefined> {
  const query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"];
  const { code, stdout } = await run(["nvidia-smi", ...query]);
  return code === 0 ? stdout.trim() : undefined;
}

/** Runs the test suites of the ops and summarises the results. */
async function testOps({ tests }: Plan): Promise<string> {
  const files = ["tests/runtime/backend/op-webgpu.test.ts", "tests/runtime/model/oracle-webgpu.test.ts"];
  const { code, stderr } = await run([process.execPath, "test", ...files, "--timeout", "600000", ...tests]);
  const count = (what: string) => Number(stderr.match(new RegExp(`^ *(\\d+) ${what}$`, "m"))?.[1] ?? 0);
  const summary = `${count("pass")} tests pass, ${count("fail")} fail`;
  console.log(summary);
  if (code !== 0 || count("pass") === 0) {
    process.exitCode = 1;
    note(stderr.trim());
  }
  return summary;
}

async function measure({ benches }: Plan, name: string, precision: "f32" | "f16"): Promise<BenchResult[]> {
  const rows: BenchResult[] = [];
  for (const names of benches) {
    const flags = ["--device", name, "--precision", precision, "--json"];
    const bench = [process.execPath, "cli/main.ts", "bench", ...names, ...flags];
    const { code, stdout, stderr } = await run(bench);
    const failure = stderr.match(/^error: (.*)$/m)?.[1] ?? `exited with code ${code}`;
    const {
      device,
      notes,
      products,
      rows: more,
    } = code === 0 ? JSON.parse(stdout) : { rows: names.map((name) => ({ name, note: failure })) };
    if (precision === "f16" && products === "f32") {
      console.log(`${device}: not supported, skipped`);
      return [];
    }
    if (names === benches[0] && device) console.log([device, ...notes].join("\n"));
    for (const each of more) console.log(formatResult(each));
    rows.push(...more);
  }
  return rows;
}

async function measureTorch({ kind, torch }: Plan): Promise<GpuResults["torch"]> {
  const usable = `import torch; assert ${torch.onCpu ? "True" : "torch.cuda.is_available()"}`;
  if ((await run(["python3", "-c", usable])).code !== 0) {
    console.log(`python3 has no PyTorch${torch.onCpu ? "" : " with access to a GPU"}`);
    return undefined;
  }
  const models = torch.presets.map((preset) => {
    const { config, shape } = trainingSetup(kind, preset);
    return [preset, { config, ...shape }];
  });
  const request = JSON.stringify({ ...torch, models: Object.fromEntries(models) });
  const measured: GpuResults["torch"] = { version: "", rows: [] };
  const { code, stderr } = await run(["python3", "cli/bench/peer_torch.py", request], (line) => {
    const message = JSON.parse(line);
    if ("version" in message) {
      measured.version = message.version;
      console.log(message.version);
      return;
    }
    measured.rows.push(message);
    console.log(formatResult({ ...message, name: `${message.name} ${message.precision}` }));
  });
  if (code !== 0) note(stderr.trim());
  return measured;
}

interface ProcessResult {
  /** Exit code, or null if a signal ended the process. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program in the project's folder until it exits. A program that does not exist gives code 127. */
async function run(
  [program, ...args]: readonly string[],
  onLine?: (line: string) => void,
): Promise<ProcessResult> {
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: MINUTES * 60_000,
    killSignal: "SIGKILL",
  });
  let [stdout, stderr] = ["", ""];
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  if (onLine) createInterface(child.stdout).on("line", onLine);
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  const code = await new Promise<number | null>((resolve) => {
    child.on("error", () => resolve(127));
    child.on("close", resolve);
  });
  return { code, stdout, stderr };
}
