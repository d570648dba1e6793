import { Command } from "commander";
import { bytes, columnsOf, wrap } from "../shared/format.ts";

/** Adapter limits that determine which tensors fit and how kernels are tiled. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
] as const;

export function devicesCommand(): Command {
  return new Command("devices")
    .summary("List the available devices.")
    .description("List the devices that can run models, how to select each, and the kernel tier it supports.")
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample: bun run cli devices --json")
    .action(devices);
}

async function devices({ json }: { json?: boolean }): Promise<void> {
  const cpu = await describeCpu();
  const { gpus, problem } = await describeGpus();
  if (json) {
    console.log(JSON.stringify({ devices: [cpu, ...gpus], ...(problem && { problem }) }));
    return;
  }
  const width = columnsOf(process.stdout);
  const print = (line: string, indent = "") => {
    const text = wrap(line, width - indent.length - 2);
    console.log(indent + text.replaceAll("\n", `\n${indent}  `));
  };
  print(`--device ${cpu.select}: ${cpu.name}, ${cpu.build}, ${cpu.threads} threads`);
  for (const gpu of gpus) {
    console.log("");
    print(
      `--device ${gpu.select}: ${gpu.name}${gpu.fallback ? " (software renderer, runs on the CPU)" : ""}`,
    );
    if (gpu.error) print(`unusable: ${gpu.error}`, "  ");
    if (!gpu.tiers || !gpu.limits) continue;
    for (const [precision, { tier, reasons }] of Object.entries(gpu.tiers)) {
      print(`--precision ${precision}: ${tier}${reasons.length > 0 ? `; ${reasons.join("; ")}` : ""}`, "  ");
    }
    print(`largest buffer: ${bytes(gpu.limits.maxStorageBufferBindingSize)}`, "  ");
  }
  if (problem) print(`no WebGPU: ${problem}`);
}

async function describeCpu() {
  const { createWasmBackend } = await import("../../runtime/backend/wasm/mod.ts");
  const backend = await createWasmBackend();
  const { build, threads } = backend;
  backend.dispose();
  return { select: "wasm", name: "CPU", backend: "wasm", build, threads };
}

interface Gpu {
  select: string;
  name: string;
  backend: string;
  pci?: string;
  vendor?: string;
  architecture?: string;
  fallback?: boolean;
  features?: string[];
  limits?: Record<(typeof LIMITS)[number], number>;
  /** Kernel tier for each value of `--precision`. */
  tiers?: Record<"f32" | "f16", { tier: string; reasons: readonly string[] }>;
  error?: string;
}

async function describeGpus(): Promise<{ gpus: Gpu[]; problem?: string }> {
  const { listAdapters } = await import("../../runtime/backend/webgpu/device/adapters.ts");
  const gpus: Gpu[] = [];
  try {
    for (const [index, { name, pci }] of (await listAdapters()).entries()) {
      const listed = { select: `webgpu:${index}`, name, backend: "webgpu", ...(pci && { pci }) };
      try {
        gpus.push({ ...listed, ...(await describeAdapter(index)) });
      } catch (error) {
        gpus.push({ ...listed, error: (error as Error).message });
      }
    }
  } catch (error) {
    return { gpus, problem: (error as Error).message };
  }
  return gpus.length > 0
    ? { gpus }
    : { gpus, problem: "no adapter found; on Debian, install libvulkan1 and a Vulkan driver" };
}

async function describeAdapter(index: number): Promise<Partial<Gpu>> {
  const { requestAdapter } = await import("../../runtime/backend/webgpu/device/adapters.ts");
  const { info, features, limits } = await requestAdapter(index);
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    fallback: info.isFallbackAdapter,
    features: [...features].sort(),
    limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name]])) as Gpu["limits"],
    tiers: { f32: await tierOf(index, "f32"), f16: await tierOf(index, "f16") },
  };
}

async function tierOf(adapter: number, precision: "f32" | "f16") {
  const { createWebgpuBackend } = await import("../../runtime/backend/webgpu/mod.ts");
  const { describeTier } = await import("../../runtime/backend/webgpu/device/tier.ts");
  const backend = await createWebgpuBackend({ adapter, precision });
  const { tier, reasons } = backend;
  backend.dispose();
  return { tier: describeTier(tier), reasons };
}
